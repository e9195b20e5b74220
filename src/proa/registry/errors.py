"""Refuse a registry's request with a code of the distribution specification ("Error Codes")."""

from __future__ import annotations

import json

STATUSES = {
    "BLOB_UNKNOWN": 404, "BLOB_UPLOAD_INVALID": 400, "BLOB_UPLOAD_UNKNOWN": 404, "DIGEST_INVALID": 400,
    "MANIFEST_BLOB_UNKNOWN": 404, "MANIFEST_INVALID": 400, "MANIFEST_UNKNOWN": 404, "NAME_INVALID": 400,
    "NAME_UNKNOWN": 404, "SIZE_INVALID": 400, "UNAUTHORIZED": 401, "DENIED": 403, "UNSUPPORTED": 405,
    "TOOMANYREQUESTS": 429,
}  # fmt: skip


class Refused(Exception):
    """A request that is not carried out. `status` is the code's usual one unless it is given."""

    def __init__(
        self, code: str, message: str, status: int = 0, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status or STATUSES[code]
        self.headers = headers or {}

    @property
    def body(self) -> bytes:
        """What the client reads."""
        return json.dumps({"errors": [{"code": self.code, "message": self.message, "detail": None}]}).encode()
