"""Copy a request's body and its answer for the payload logger, while they pass."""

from __future__ import annotations

from proa.ml.serving.payloads.logger import MAX_PAYLOAD_BYTES, Logged, PayloadLogger
from proa.ml.serving.wire.http1_client import Headers


class Copy:
    """Of one request and its answer. What is too long is let go, and counted."""

    __slots__ = ("_content_type", "_kept", "_logged", "_logger", "_pieces", "_size")

    def __init__(self, logger: PayloadLogger, logged: Logged) -> None:
        self._logger, self._logged = logger, logged
        self._content_type = ""
        self._pieces: list[bytes] = []
        self._size = 0
        self._kept = logger.logs_requests

    def body_came(self, data: bytes) -> None:
        """Take a piece of the request's body."""
        self._keep(data)

    def body_ended(self) -> None:
        """Log the request."""
        if self._kept:
            self._logger.request(self._logged, b"".join(self._pieces))
        self._pieces, self._size, self._kept = [], 0, False

    def answer_began(self, status: int, headers: Headers) -> None:
        """Only of a success is the body logged, as upstream does."""
        self._pieces, self._size = [], 0
        self._kept = self._logger.logs_responses and status == 200
        for name, value in headers:
            if name == b"content-type":
                self._content_type = value.decode("latin-1")

    def answer_came(self, data: bytes) -> None:
        """Take a piece of the answer's body."""
        self._keep(data)

    def answer_ended(self) -> None:
        """Log the answer."""
        if self._kept:
            self._logger.response(self._logged, b"".join(self._pieces), self._content_type)
        self._kept = False

    def _keep(self, data: bytes) -> None:
        if not self._kept:
            return
        self._pieces.append(data)
        self._size += len(data)
        if self._size > MAX_PAYLOAD_BYTES:
            self._kept, self._pieces = False, []
            self._logger.dropped()
