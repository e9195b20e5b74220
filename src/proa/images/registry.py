"""Get manifests and blobs of one repository from a registry (OCI distribution 1.1, Docker registry v2).

What fails for the moment (no connection, 429, 5xx, a download that is cut) is tried again, later each time; a download
goes on where it was cut. Nothing is believed: a manifest and a blob are what their digest and size say, or are refused.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import json
import random
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, TypeVar
from urllib.parse import urlencode, urlsplit

from proa.images.authentication import Authenticator
from proa.images.blobs import MAX_DOCUMENT_BYTES
from proa.images.credentials import Credential
from proa.images.digests import digest_of
from proa.images.errors import (
    ImageError,
    ImageNotFound,
    InvalidImage,
    RegistryError,
    RegistryUnavailable,
    TooLarge,
    Unauthorized,
)
from proa.images.manifests import Descriptor
from proa.images.media_types import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from proa.images.registries import Endpoint
from proa.images.transport import Answer, Stop, Transport

ATTEMPTS = 5
FIRST_DELAY_SECONDS = 0.25
MAX_DELAY_SECONDS = 8.0
_ACCEPT = ", ".join((OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST))
_MAX_ERROR_BYTES = 64 << 10
_PIECE = 256 << 10
_LATER = (408, 429, 500, 502, 503, 504)

Progress = Callable[[str, int, int], None]
"""Called with a blob's digest, the bytes that are here, and those that there are to be."""


_Result = TypeVar("_Result")
_LOCAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.EIO)
"""What is wrong with this machine, not with the registry."""


class _TryAgain(Exception):
    """It may work later. `cause` is what to say should it not; `after` is the least to wait, in seconds."""

    def __init__(self, cause: ImageError, after: float = 0.0) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.after = after


class Registry:
    """One repository at one endpoint, asked as one user."""

    def __init__(
        self, endpoint: Endpoint, repository: str, transport: Transport, credential: Credential | None
    ) -> None:
        self._endpoint = endpoint
        self._base = f"{endpoint.url}/v2/{repository}"
        self._scope = f"repository:{repository}:pull"
        self._transport = transport
        self._authenticator = Authenticator(transport, credential)
        self._stop: Stop = transport.stop

    def find_digest(self, reference: str) -> str:
        """Return the digest that a tag has now, without getting what it means; "" where the registry does not say."""

        def once() -> str:
            with self._request("HEAD", f"/manifests/{reference}", {"Accept": _ACCEPT}) as answer:
                if answer.status != 200:
                    return ""
                return answer.headers.get("Docker-Content-Digest") or ""

        return self._persist(once)

    def get_manifest(self, reference: str, expected: str = "") -> tuple[Descriptor, bytes]:
        """Return a manifest or index by tag or digest; raise ImageNotFound, Unauthorized, InvalidImage, …"""

        def once() -> tuple[Descriptor, bytes]:
            with self._request("GET", f"/manifests/{reference}", {"Accept": _ACCEPT}) as answer:
                self._check(answer)
                media_type = (answer.headers.get("Content-Type") or "").partition(";")[0].strip()
                told = answer.headers.get("Docker-Content-Digest") or ""
                data = _read_document(answer)
            digest = digest_of(data)
            wanted = expected or (told if told.startswith("sha256:") else "")
            if wanted and digest != wanted:
                raise InvalidImage(f"the manifest has digest {digest}, not {wanted} as it should")
            return Descriptor(media_type, digest, len(data)), data

        return self._persist(once)

    def get_document(self, descriptor: Descriptor) -> bytes:
        """Return a small blob: an image's configuration."""
        if descriptor.size > MAX_DOCUMENT_BYTES:
            raise TooLarge(f"blob {descriptor.digest} of {descriptor.size} bytes is too large for a document")

        def once() -> bytes:
            with self._request("GET", f"/blobs/{descriptor.digest}", {}) as answer:
                self._check(answer)
                data = _read_document(answer)
            if digest_of(data) != descriptor.digest:
                raise InvalidImage(_not_itself(descriptor, digest_of(data)))
            return data

        return self._persist(once)

    def download(self, descriptor: Descriptor, path: Path, progress: Progress) -> BinaryIO:
        """Bring a blob into a file, which may have its first part already; return the file, verified."""
        file = path.open("a+b")
        try:
            part = _Part(file, descriptor)
            self._persist(lambda: self._continue(part, descriptor, progress), lambda: part.size)
            part.verify()
        except BaseException:
            file.close()
            raise
        return file

    def _continue(self, part: _Part, descriptor: Descriptor, progress: Progress) -> None:
        if part.size == descriptor.size:
            return
        headers = {"Range": f"bytes={part.size}-"} if part.size else {}
        with self._request("GET", f"/blobs/{descriptor.digest}", headers) as answer:
            if answer.status == 416 or not _goes_on_at(answer, part.size):
                part.begin_anew()
                if answer.status in (206, 416):
                    raise _TryAgain(
                        RegistryError("the registry does not continue downloads as it was asked to")
                    )
            self._check(answer, (200, 206))
            while piece := answer.read(_PIECE):
                self._stop.check()
                part.add(piece)
                progress(descriptor.digest, part.size, descriptor.size)
        if part.size < descriptor.size:
            raise http.client.IncompleteRead(b"", descriptor.size - part.size)

    @contextlib.contextmanager
    def _request(self, method: str, path: str, headers: Mapping[str, str]) -> Iterator[Answer]:
        """Yield the answer, after having said who we are when that is asked."""
        query = f"?{urlencode({'ns': self._endpoint.host})}" if self._endpoint.is_mirror else ""
        plain = self._endpoint.may_be_plain or self._endpoint.url.startswith("http:")
        with contextlib.ExitStack() as stack:
            for attempt in range(3):
                sent = {**headers, **self._authenticator.header(self._scope)}
                answer = stack.enter_context(
                    self._transport.request(
                        method, self._base + path + query, sent, may_be_plain=self._endpoint.may_be_plain
                    )
                )
                if answer.status != 401 or attempt == 2:
                    break
                challenges = answer.headers.get_all("WWW-Authenticate") or []
                stack.close()
                if self._authenticator.knows(self._scope):
                    self._authenticator.forget(self._scope)
                    if attempt:
                        raise Unauthorized(f"{self._host} does not know this user, or not with this password")
                self._authenticator.answer(challenges, self._scope, is_plain=plain)
            yield answer

    @property
    def _host(self) -> str:
        return urlsplit(self._endpoint.url).netloc

    def _check(self, answer: Answer, allowed: tuple[int, ...] = (200,)) -> None:
        if answer.status in allowed:
            return
        words = _error_words(answer)
        if answer.status == 404:
            raise ImageNotFound("not found")
        if answer.status in (401, 403):
            raise Unauthorized(
                f"pull access denied, repository does not exist or may require authorization: {words}"
            )
        place = answer.url.partition("?")[0]
        failure = f"unexpected status from GET request to {place}: {answer.status} {words}".rstrip()
        if answer.status in _LATER:
            kind = RegistryError if answer.status == 429 else RegistryUnavailable
            raise _TryAgain(kind(failure), _retry_after(answer))
        raise RegistryError(failure)

    def _persist(self, once: Callable[[], _Result], progress: Callable[[], int] = lambda: 0) -> _Result:
        """Try until it works; what gets further each time (`progress`) is tried as often as it takes."""
        failures, reached = 0, progress()
        while True:
            try:
                return once()
            except _TryAgain as failure:
                cause, after = failure.cause, failure.after
            except ssl.SSLCertVerificationError as error:
                raise RegistryError(f"{self._host} is not trusted: {error.verify_message}") from error
            except (OSError, http.client.HTTPException) as error:
                if isinstance(error, OSError) and error.errno in _LOCAL:
                    raise ImageError(f"{error.strerror}: {error.filename or self._host}") from error
                cause, after = RegistryUnavailable(f"{self._host}: {_words(error)}"), 0.0
            failures = 1 if progress() > reached else failures + 1
            reached = max(reached, progress())
            if failures >= ATTEMPTS:
                raise cause
            delay = min(FIRST_DELAY_SECONDS * 2.0**failures, MAX_DELAY_SECONDS)
            delay *= 0.5 + random.random() / 2  # noqa: S311
            if self._stop.event.wait(max(delay, after)):
                self._stop.check()


def _goes_on_at(answer: Answer, position: int) -> bool:
    """Tell whether the body begins where we stopped."""
    if answer.status != 206:
        return position == 0 or answer.status not in (200, 206)
    found = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range") or "")
    return found is not None and int(found[1]) == position


class _Part:
    """What is here of a blob, and its hash so far."""

    def __init__(self, file: BinaryIO, descriptor: Descriptor) -> None:
        self._file, self._descriptor = file, descriptor
        self._hash = hashlib.sha256()
        self.size = 0
        file.seek(0)
        while piece := file.read(_PIECE):
            self._hash.update(piece)
            self.size += len(piece)
        if self.size > descriptor.size:
            self.begin_anew()

    def begin_anew(self) -> None:
        """Forget what is here."""
        self._file.truncate(0)
        self._hash = hashlib.sha256()
        self.size = 0

    def add(self, piece: bytes) -> None:
        """Append bytes; raise TooLarge beyond the blob's size."""
        if self.size + len(piece) > self._descriptor.size:
            self.begin_anew()
            raise TooLarge(f"blob {self._descriptor.digest} has more than its {self._descriptor.size} bytes")
        self._file.write(piece)
        self._hash.update(piece)
        self.size += len(piece)

    def verify(self) -> None:
        """Raise InvalidImage when this is not what it should be; then nothing of it is kept."""
        found = f"sha256:{self._hash.hexdigest()}"
        self._file.flush()
        if found != self._descriptor.digest:
            self.begin_anew()
            self._file.flush()
            raise InvalidImage(_not_itself(self._descriptor, found))


def _not_itself(descriptor: Descriptor, found: str) -> str:
    return f"blob {descriptor.digest} has digest {found}: it is not what it should be"


def _read_document(answer: Answer) -> bytes:
    try:
        return answer.read_all(MAX_DOCUMENT_BYTES)
    except RegistryError as error:
        raise TooLarge(str(error)) from None


def _error_words(answer: Answer) -> str:
    """Return what a registry says of its refusal (distribution-spec, error codes)."""
    try:
        document = json.loads(answer.read_all(_MAX_ERROR_BYTES))
        found = [
            f"{e.get('code', '')}: {e.get('message', '')}" for e in document["errors"] if isinstance(e, dict)
        ]
    except (ValueError, KeyError, TypeError, OSError, http.client.HTTPException, RegistryError):
        return ""
    words = "; ".join(found)[:300]
    return "".join(c if c.isprintable() else " " for c in words)


def _retry_after(answer: Answer) -> float:
    text = answer.headers.get("Retry-After") or ""
    return min(float(text), 60.0) if text.isdigit() else 0.0


def _words(error: Exception) -> str:
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower() if error.errno else str(error)
    if isinstance(error, http.client.IncompleteRead):
        return "the connection was cut"
    return str(error) or type(error).__name__
