"""One message before and after it is in HTTP/2's frames, and the words of gRPC's headers. Pure.

Source: doc/PROTOCOL-HTTP2.md of grpc/grpc.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from proa.ml.grpc.status import CallFailed, Code

CONTENT_TYPE = "application/grpc"
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""As much as gRPC's own servers take unless told otherwise."""
HEAD_BYTES = 5
_TIMEOUT = re.compile(r"(\d{1,8})([HMSmun])")
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


def frame(message: bytes) -> bytes:
    """Return a message with its five bytes before it."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def unframe(body: bytes | bytearray) -> bytes:
    """Return the one message of a body; raise CallFailed."""
    if len(body) < HEAD_BYTES or len(body) != HEAD_BYTES + int.from_bytes(body[1:HEAD_BYTES], "big"):
        raise CallFailed(Code.INTERNAL, f"{len(body)} bytes are not one message")
    if body[0]:
        raise CallFailed(Code.UNIMPLEMENTED, "compressed messages are not understood here: send it as it is")
    return bytes(body[HEAD_BYTES:])


def read_timeout(text: str) -> float | None:
    """Return the seconds of a `grpc-timeout`, None for none."""
    found = _TIMEOUT.fullmatch(text)
    return int(found[1]) * _UNITS[found[2]] if found else None


def write_timeout(seconds: float) -> str:
    """Return a `grpc-timeout`."""
    return f"{max(1, min(99_999_999, round(seconds * 1000)))}m"


def write_message(text: str) -> str:
    """Return words as `grpc-message` has them."""
    return quote(text, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")


def read_status(headers: dict[str, str]) -> None:
    """Raise CallFailed unless the headers of an answer say OK."""
    status = headers.get("grpc-status", "")
    if not status.isdigit():
        words = f"HTTP {headers.get(':status')}, content-type {headers.get('content-type', '')!r}"
        raise CallFailed(Code.UNKNOWN, f"the answer is none of gRPC's: {words}")
    if status != "0":
        code = Code(int(status)) if int(status) <= max(Code) else Code.UNKNOWN
        raise CallFailed(code, unquote(headers.get("grpc-message", "")))
