"""Answer a registry that asks who wants something: by name and password, or by a token that another server gives.

Follows distribution's docs (spec/auth/token.md, oauth.md) and RFC 9110, section 11. A token is kept for its scope until
it ends. What a password is sent to is the registry itself or, over TLS, who it names.
"""

from __future__ import annotations

import json
import re
import threading
import time
from base64 import b64encode
from typing import Any
from urllib.parse import urlencode, urlsplit

from proa.images.credentials import Credential
from proa.images.errors import RegistryError, Unauthorized
from proa.images.transport import Transport

_MAX_BYTES = 1 << 20
_DEFAULT_SECONDS = 60.0
_MARGIN_SECONDS = 5.0
_SCHEME = re.compile(r"\s*,?\s*([A-Za-z][\w-]*)(?=[\s,]|$)")
_PARAMETER = re.compile(r'\s*,?\s*([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


class Authenticator:
    """The answers to one registry's questions, as one user (None: as nobody in particular)."""

    def __init__(self, transport: Transport, credential: Credential | None) -> None:
        self._transport = transport
        self.credential = credential
        self._lock = threading.Lock()
        self._answers: dict[str, tuple[str, float]] = {}

    def header(self, scope: str) -> dict[str, str]:
        """Return what to send along with a request of which the answer to the question is known."""
        with self._lock:
            known, until = self._answers.get(scope) or self._answers.get("") or ("", 0.0)
        return {"Authorization": known} if known and time.monotonic() < until else {}

    def answer(self, challenges: list[str], scope: str, *, is_plain: bool) -> None:
        """Find the answer to a 401's WWW-Authenticate; raise Unauthorized when there is none."""
        found = [one for text in challenges for one in parse_challenges(text)]
        for scheme, parameters in found:
            if scheme == "bearer" and parameters.get("realm"):
                value, seconds = self._token(parameters, scope, is_plain=is_plain)
                self._remember(scope, f"Bearer {value}", seconds)
                return
        if any(scheme == "basic" for scheme, _ in found):
            if self.credential is None or not self.credential.username:
                raise Unauthorized("no basic auth credentials")
            self._remember("", _basic(self.credential), float("inf"))
            return
        raise Unauthorized("authorization is asked for, in no way that is known here")

    def forget(self, scope: str) -> None:
        """An answer was not taken: find another the next time."""
        with self._lock:
            self._answers.pop(scope, None)
            self._answers.pop("", None)

    def knows(self, scope: str) -> bool:
        """Tell whether there is an answer already."""
        return bool(self.header(scope))

    def _remember(self, scope: str, value: str, seconds: float) -> None:
        with self._lock:
            self._answers[scope] = (value, time.monotonic() + seconds)

    def _token(self, parameters: dict[str, str], scope: str, *, is_plain: bool) -> tuple[str, float]:
        credential = self.credential
        if credential is not None and credential.registry_token:
            return credential.registry_token, _DEFAULT_SECONDS
        realm = parameters["realm"]
        if urlsplit(realm).scheme != "https" and not is_plain:
            raise Unauthorized(f"the token server {realm} is not reached by TLS: nothing is told to it")
        query = {"service": parameters.get("service", ""), "scope": parameters.get("scope") or scope}
        if credential is not None and credential.identity_token:
            document = self._post(realm, {
                **query, "grant_type": "refresh_token", "refresh_token": credential.identity_token, "client_id": "proa",
            })  # fmt: skip
        else:
            document = self._get(realm, {key: value for key, value in query.items() if value})
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str) or not token or "\n" in token:
            raise RegistryError(f"{realm} gives no token")
        seconds = document.get("expires_in")
        kept = float(seconds) if isinstance(seconds, int | float) and seconds > 0 else _DEFAULT_SECONDS
        return token, max(kept - _MARGIN_SECONDS, 1.0)

    def _get(self, realm: str, query: dict[str, str]) -> dict[str, Any]:
        headers = {}
        if self.credential is not None and self.credential.username:
            headers["Authorization"] = _basic(self.credential)
            query = {**query, "account": self.credential.username}
        url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}"
        return self._fetch("GET", url, headers, None)

    def _post(self, realm: str, form: dict[str, str]) -> dict[str, Any]:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._fetch("POST", realm, headers, urlencode(form).encode())

    def _fetch(self, method: str, url: str, headers: dict[str, str], body: bytes | None) -> dict[str, Any]:
        with self._transport.request(method, url, headers, body) as answer:
            data = answer.read_all(_MAX_BYTES)
        place = url.partition("?")[0]
        if answer.status in (401, 403):
            raise Unauthorized(
                f"failed to authorize: failed to fetch token: unexpected status from {method} request to {place}: "
                f"{answer.status}"
            )
        if answer.status != 200:
            words = f"unexpected status from {method} request to {place}: {answer.status}"
            raise RegistryError(f"failed to fetch token: {words}")
        try:
            document = json.loads(data)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise RegistryError(f"{place} gives no token")
        return document


def parse_challenges(text: str) -> list[tuple[str, dict[str, str]]]:
    """Return the schemes (in small letters) of a WWW-Authenticate header with their parameters."""
    found: list[tuple[str, dict[str, str]]] = []
    position = 0
    while position < len(text):
        parameter = _PARAMETER.match(text, position) if found else None
        if parameter:
            value = re.sub(r"\\(.)", r"\1", parameter[2]) if parameter[2] is not None else parameter[3]
            found[-1][1][parameter[1].lower()] = value
            position = parameter.end()
            continue
        scheme = _SCHEME.match(text, position)
        if not scheme:
            break
        found.append((scheme[1].lower(), {}))
        position = scheme.end()
    return found


def _basic(credential: Credential) -> str:
    return "Basic " + b64encode(f"{credential.username}:{credential.password}".encode()).decode()
