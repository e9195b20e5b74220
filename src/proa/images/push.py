"""Bring an image to a registry: the blobs that it lacks, then the manifest, which makes the name mean it.

POST, then one PUT with the whole blob (OCI distribution 1.1, "Pushing a blob monolithically"). What fails for the
moment is tried again; a blob that is there is not sent.
"""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import BinaryIO, TypeVar
from urllib.parse import urlencode, urljoin, urlsplit

from proa.images.authentication import Authenticator
from proa.images.credentials import Credential, find
from proa.images.errors import ImageError, RegistryError, RegistryUnavailable, Unauthorized
from proa.images.manifests import Descriptor, read_document, read_manifest
from proa.images.reference import Reference
from proa.images.registries import Registries
from proa.images.store import ImageStore, StoredImage
from proa.images.transport import Answer, Stop, Transport

ATTEMPTS = 4
_FIRST_DELAY_SECONDS = 0.25
_MAX_ERROR_BYTES = 64 << 10
_LATER = (408, 429, 500, 502, 503, 504)

Watch = Callable[[Descriptor, str], None]
"""Called with a blob and what becomes of it: `there`, `sending`, `sent`."""
_Result = TypeVar("_Result")


def push(
    store: ImageStore,
    registries: Registries,
    image: StoredImage,
    reference: Reference,
    credentials: Sequence[Credential] = (),
    watch: Watch | None = None,
) -> str:
    """Push this platform's manifest under a name; return its digest. Blocking. Raises ImageError."""
    users: list[Credential | None] = [*find([*credentials, *registries.credentials()], reference)] or [None]
    failure: Unauthorized | None = None
    with store.lease():
        for user in users:
            try:
                _Push(store, registries, image, reference, user, watch or (lambda *_: None)).run()
            except Unauthorized as error:
                failure = error
                continue
            return image.manifest.digest
    assert failure is not None
    raise failure


class _Later(Exception):
    """It may work the next time; `cause` is what to say if not."""

    def __init__(self, cause: ImageError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class _Push:
    def __init__(
        self,
        store: ImageStore,
        registries: Registries,
        image: StoredImage,
        reference: Reference,
        credential: Credential | None,
        watch: Watch,
    ) -> None:
        self._store = store
        self._image = image
        self._reference = reference
        self._watch = watch
        self._stop = Stop()
        self._transport = Transport(registries, self._stop)
        self._authenticator = Authenticator(self._transport, credential)
        self._endpoint = registries.endpoints(reference.registry)[-1]  # mirrors are for pulls
        self._base = f"{self._endpoint.url}/v2/{reference.repository}"
        self._scope = f"repository:{reference.repository}:pull,push"

    def run(self) -> None:
        data = self._store.blobs.read(self._image.manifest.digest)
        manifest = read_manifest(read_document(data))
        for blob in dict.fromkeys((*manifest.layers, manifest.config)):
            self._persist(lambda blob=blob: self._send(blob))  # type: ignore[misc]
        self._persist(lambda: self._put_manifest(data))

    def _send(self, blob: Descriptor) -> None:
        with self._request("HEAD", f"{self._base}/blobs/{blob.digest}") as answer:
            if answer.status == 200:
                self._watch(blob, "there")
                return
        self._watch(blob, "sending")
        with self._request("POST", f"{self._base}/blobs/uploads/", {"Content-Length": "0"}) as answer:
            self._check(answer, (202,))
            place = urljoin(answer.url, answer.headers.get("Location") or "")
        place += ("&" if urlsplit(place).query else "?") + urlencode({"digest": blob.digest})
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size)}
        with (
            self._store.blobs.open(blob.digest) as file,
            self._request("PUT", place, headers, file) as answer,
        ):
            self._check(answer, (201,))
        self._watch(blob, "sent")

    def _put_manifest(self, data: bytes) -> None:
        name = self._reference.tag or self._image.manifest.digest
        headers = {"Content-Type": self._image.manifest.media_type}
        with self._request("PUT", f"{self._base}/manifests/{name}", headers, data) as answer:
            self._check(answer, (201,))

    @contextlib.contextmanager
    def _request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | BinaryIO | None = None,
    ) -> Iterator[Answer]:
        """Yield the answer, after having said who we are when that is asked."""
        plain = self._endpoint.may_be_plain or self._endpoint.url.startswith("http:")
        with contextlib.ExitStack() as stack:
            for attempt in range(2):
                if body is not None and not isinstance(body, bytes):
                    body.seek(0)
                sent = {**(headers or {}), **self._authenticator.header(self._scope)}
                may_be_plain = self._endpoint.may_be_plain
                answer = stack.enter_context(
                    self._transport.request(method, url, sent, body, may_be_plain=may_be_plain)
                )
                if answer.status != 401 or attempt:
                    break
                challenges = answer.headers.get_all("WWW-Authenticate") or []
                stack.close()
                if self._authenticator.knows(self._scope):
                    self._authenticator.forget(self._scope)
                self._authenticator.answer(challenges, self._scope, is_plain=plain)
            yield answer

    def _check(self, answer: Answer, allowed: tuple[int, ...]) -> None:
        if answer.status in allowed:
            return
        words = f"{self._reference.registry} answers {answer.status} {_error_words(answer)}".rstrip()
        if answer.status in (401, 403):
            raise Unauthorized(f"push access denied to {self._reference.name}: {words}")
        if answer.status in _LATER:
            raise _Later(RegistryUnavailable(words))
        raise RegistryError(f"failed to push {self._reference}: {words}")

    def _persist(self, once: Callable[[], _Result]) -> _Result:
        for attempt in range(ATTEMPTS):
            try:
                return once()
            except _Later as error:
                cause: ImageError = error.cause
            except (OSError, http.client.HTTPException) as error:
                words = getattr(error, "strerror", None) or str(error) or type(error).__name__
                cause = RegistryUnavailable(f"{self._reference.registry}: {words.lower()}")
            if attempt + 1 < ATTEMPTS:
                self._stop.event.wait(_FIRST_DELAY_SECONDS * 2**attempt)
        raise cause


def _error_words(answer: Answer) -> str:
    """Return what a registry says of its refusal (distribution-spec, error codes)."""
    try:
        document = json.loads(answer.read_all(_MAX_ERROR_BYTES))
        found = [f"{e.get('code', '')}: {e.get('message', '')}" for e in document["errors"]]
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OSError,
        http.client.HTTPException,
        RegistryError,
    ):
        return ""
    return "".join(c if c.isprintable() else " " for c in "; ".join(found)[:300])
