"""Ask HTTP servers for files: bounded redirects, a token only for whom it is, no more patience than is useful.

Standard library only. A redirect leads to http and https alone, never from https to http; headers that let somebody
in are not passed on to another host.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from typing import IO, Any

from proa.ml.serving.storage.pieces import Interrupted, Opened, StorageError

TIMEOUT_SECONDS = 30
MAX_REDIRECTS = 5
CHUNK_BYTES = 1 << 20
MAX_ANSWER_BYTES = 64 << 20
"""Of an API's answer; files are streams."""
_PLAIN_HEADERS = ("user-agent", "accept", "accept-encoding", "range", "if-range")
"""All others are for the host that was named: a secret's may have any name."""
_AGAIN = (408, 425, 429, 500, 502, 503, 504)


class Refused(StorageError):
    """A server has answered that it will not."""

    def __init__(self, status: int, url: str, words: str, challenge: str = "") -> None:
        """`words` is what the server said, shortened; `challenge` how it would let one in."""
        self.status, self.challenge = status, challenge
        super().__init__(
            f"{_plain(url)} answered {status} {http.client.responses.get(status, '')}{words}".rstrip()
        )


class Answer:
    """A response whose body has not been read."""

    def __init__(self, response: Any) -> None:
        """`response` is http.client's."""
        self._response = response
        self.status: int = response.status
        self.headers: http.client.HTTPMessage = response.headers
        self.url: str = response.url

    @property
    def size(self) -> int | None:
        """Return how many bytes the body has, None where the server does not say."""
        found = self.headers.get("Content-Length")
        return int(found) if found is not None and found.isdigit() else None

    def chunks(self) -> Iterator[bytes]:
        """Yield the body; raise Interrupted where it ends before its end."""
        left = self.size
        with contextlib.closing(self._response):
            while True:
                try:
                    chunk = self._response.read1(CHUNK_BYTES)
                except (OSError, http.client.HTTPException) as error:
                    raise Interrupted(f"{_plain(self.url)}: {_words(error)}") from None
                if not chunk:
                    break
                left = None if left is None else left - len(chunk)
                yield chunk
        if left:
            raise Interrupted(f"{_plain(self.url)}: the connection ended {left} bytes too early")

    def read(self) -> bytes:
        """Return the whole body, of MAX_ANSWER_BYTES at most."""
        body = bytearray()
        for chunk in self.chunks():
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise StorageError(f"{_plain(self.url)}: an answer of more than {MAX_ANSWER_BYTES >> 20} MiB")
        return bytes(body)

    def close(self) -> None:
        """Read no further."""
        self._response.close()


class Web:
    """How this process asks servers: with which certificates, by which proxies."""

    def __init__(self, env: Mapping[str, str], *, verify: bool = True) -> None:
        """CA bundles are those of the environment, beside the system's own."""
        self._opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.UnknownHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(context=_tls(env, verify)),
            _Redirects(),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.HTTPDefaultErrorHandler(),
        ):
            self._opener.add_handler(handler)

    def get(self, url: str, headers: Mapping[str, str] = {}, *, offset: int = 0, tag: str = "") -> Answer:
        """Return the answer to a GET, from a byte on if it still has that tag; raise Refused, Interrupted."""
        more = {"Range": f"bytes={offset}-", **({"If-Range": tag} if tag else {})} if offset else {}
        asked = {"User-Agent": "proa-storage", "Accept-Encoding": "identity", **headers, **more}
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise StorageError(f"{_plain(url)}: only http and https can be asked")
        try:
            request = urllib.request.Request(url, headers=asked)  # noqa: S310  the scheme is checked
            return Answer(self._opener.open(request, timeout=TIMEOUT_SECONDS))
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 416 and offset:
                    return self.get(url, headers)
                words = _said(error)
            if error.code in _AGAIN:
                raise Interrupted(str(Refused(error.code, url, words))) from None
            challenge = error.headers.get("WWW-Authenticate", "")
            raise Refused(error.code, error.url or url, words, challenge) from None
        except urllib.error.URLError as error:
            raise _unreachable(url, error.reason) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _unreachable(url, error) from None

    def get_json(self, url: str, headers: Mapping[str, str] = {}) -> Any:
        """Return an API's answer; raise Refused, Interrupted, StorageError."""
        body = self.get(url, {"Accept": "application/json", **headers}).read()
        try:
            return json.loads(body)
        except ValueError:
            raise StorageError(
                f"{_plain(url)} answered something that is no JSON: is it the right address?"
            ) from None

    def stream(self, url: str, headers: Mapping[str, str] = {}, *, offset: int = 0, tag: str = "") -> Opened:
        """Return a file's bytes from `offset` on, from the beginning where the server says so."""
        answer = self.get(url, headers, offset=offset, tag=tag)
        return Opened(offset if answer.status == 206 else 0, answer.chunks())


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = MAX_REDIRECTS
    max_repeats = 2

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        old, new = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        if new.scheme not in ("http", "https") or (old.scheme, new.scheme) == ("https", "http"):
            raise StorageError(f"{_plain(req.full_url)} leads on to {_plain(newurl)}, which is not followed")
        made = super().redirect_request(req, fp, code, msg, headers, newurl)
        if made is not None and (old.scheme, old.netloc) != (new.scheme, new.netloc):
            for name in list(made.headers):
                if name.lower() not in _PLAIN_HEADERS:
                    made.remove_header(name)
        return made


def quoted(path: str) -> str:
    """Return a path for a URL."""
    return urllib.parse.quote(path, safe="/")


def basic(user: str, password: str) -> str:
    """Return the header Authorization of a user with a password."""
    import base64

    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _tls(env: Mapping[str, str], verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for bundle in ca_bundles(env):
        try:
            context.load_verify_locations(bundle)
        except (OSError, ssl.SSLError) as error:
            raise StorageError(f"CA bundle {bundle} cannot be used: {error}") from None
    return context


def ca_bundles(env: Mapping[str, str]) -> list[str]:
    """Return the files of certificates that are trusted beside the system's own."""
    named = [env.get(name, "") for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "AWS_CA_BUNDLE")]
    if env.get("CA_BUNDLE_CONFIGMAP_NAME"):
        folder = env.get("CA_BUNDLE_VOLUME_MOUNT_POINT") or "/etc/ssl/custom-certs"
        named.append(os.path.join(folder, "cabundle.crt"))
    return list(dict.fromkeys(one for one in named if one))


def _unreachable(url: str, error: Any) -> Exception:
    if isinstance(error, ssl.SSLCertVerificationError):
        return StorageError(
            f"{_plain(url)}: its certificate is not trusted ({error.verify_message}); name its CA in a ConfigMap"
            " (caBundleConfigMapName of inferenceservice-config, or serving.kserve.io/s3-cabundle-configmap)"
        )
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME:
        return StorageError(f"{_plain(url)}: its name is not known here (DNS)")
    return Interrupted(f"{_plain(url)} does not answer: {_words(error)}")


def _words(error: Any) -> str:
    if isinstance(error, socket.gaierror):
        return "its name cannot be looked up (DNS)"
    if isinstance(error, TimeoutError):
        return f"nothing came for {TIMEOUT_SECONDS} s"
    return str(getattr(error, "strerror", None) or error)[:300]


def _said(error: urllib.error.HTTPError) -> str:
    """Return what the server said of it, as one short line."""
    try:
        body = error.read(2000).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return ""
    kind = error.headers.get("Content-Type", "")
    if "json" in kind:
        with contextlib.suppress(ValueError, AttributeError):
            found = json.loads(body)
            body = str(found.get("message") or found.get("error") or found.get("errors") or "")
    elif "html" in kind:
        body = ""
    line = " ".join(body.split())[:200]
    return f" ({line})" if line else ""


def _plain(url: str) -> str:
    """Return a URL without what may be secret: user, password, query."""
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}{parts.path}"
