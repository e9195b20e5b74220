"""Ask the Pipelines API of a cluster: v2beta1, at its API server or, elsewhere, by way of the Service `ml-pipeline`.

Proa's API server has `/apis/v2beta1` itself. On another Kubernetes the Service in namespace `kubeflow` answers, through
the API server's proxy: so a kubeconfig is all that is needed, for Proa's operator and for upstream's backend.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from proa.cli import Failure
from proa.client.protocol import Request, Response
from proa.home import find_home
from proa.objects.errors import ApiError, NotFound, ServiceUnavailable, error_from_status

if TYPE_CHECKING:
    from proa.client.http import HttpTransport

Json = dict[str, Any]
ROOT = "/apis/v2beta1"
SERVICE = "/api/v1/namespaces/{namespace}/services/ml-pipeline:http/proxy"
NAMESPACE = "kubeflow"
"""Where runs are that name no namespace."""
EQUALS, IS_SUBSTRING = "EQUALS", "IS_SUBSTRING"


class PipelinesApi:
    """One cluster's Pipelines. Answers are JSON as the API has them; refusals are raised as ApiError."""

    def __init__(self, transport: HttpTransport, namespace: str = "") -> None:
        self._transport = transport
        self._prefix = ""
        self.namespace = namespace
        """Of what is asked for; "" for the server's default."""
        self.hint = ""
        """The options of commands that people are told of: those that lead here."""

    async def find(self) -> PipelinesApi:
        """Find out where the API is; raise Failure where it is nowhere."""
        for prefix in ("", SERVICE.format(namespace=NAMESPACE)):
            self._prefix = prefix
            try:
                await self.get("/healthz")
                return self
            except NotFound:
                continue
            except ServiceUnavailable as error:
                if prefix or "no endpoints" not in error.message:
                    raise
        raise Failure(
            "there is no Pipelines API in this cluster: neither in its API server nor a Service ml-pipeline"
        )

    async def get(self, path: str, **query: object) -> Json:
        """Return what GET of a path below the API's root answers; arguments that are empty are left out."""
        return await self.send("GET", path, query)

    async def send(
        self, method: str, path: str, query: Mapping[str, object] | None = None, body: object = None
    ) -> Json:
        """Send a request and return the decoded answer, {} for an empty one."""
        import orjson

        data = b"" if body is None else orjson.dumps(body)
        answer = await self._read(method, path, query or {}, data, "application/json")
        if not answer.strip():
            return {}
        decoded = orjson.loads(answer)
        return decoded if isinstance(decoded, dict) else {"value": decoded}

    async def upload(self, path: str, query: Mapping[str, object], name: str, data: bytes) -> Json:
        """POST a file as forms do."""
        import orjson

        boundary = os.urandom(16).hex()
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="uploadfile"; filename="{quote(name)}"\r\n\r\n'
        body = head.encode() + data + f"\r\n--{boundary}--\r\n".encode()
        answer = await self._read("POST", path, query, body, f"multipart/form-data; boundary={boundary}")
        decoded: Json = orjson.loads(answer)
        return decoded

    async def items(
        self,
        path: str,
        field: str,
        limit: int,
        filters: Mapping[str, tuple[str, str]] | None = None,
        **query: object,
    ) -> AsyncIterator[Json]:
        """Yield what a list has, newest first, page by page, `limit` at most (0: all).

        `filters` are key -> (operation, value).
        """
        import orjson

        predicates = [
            {"key": key, "operation": operation, "string_value": value}
            for key, (operation, value) in (filters or {}).items()
        ]
        left, token = limit, ""
        while True:
            page = await self.get(
                path,
                page_size=min(left, 100) if limit else 100,
                page_token=token,
                sort_by="created_at desc",
                filter=orjson.dumps({"predicates": predicates}).decode() if predicates else "",
                **query,
            )
            for item in page.get(field) or ():
                yield item
                left -= 1
                if limit and left <= 0:
                    return
            token = page.get("next_page_token") or ""
            if not token:
                return

    async def stream(self, path: str, *, root: str = ROOT, **query: object) -> AsyncIterator[bytes]:
        """Yield an answer's bytes as they come. `root` "" is the API server's own."""
        prefix = self._prefix + root if root else ""
        response = await self._send(prefix + path, "GET", query, b"", "", "*/*")
        async for chunk in _chunks(response):
            yield chunk

    async def download(self, path: str) -> tuple[str, AsyncIterator[bytes]]:
        """Return the name that the server gives to a file, "" for none, and its bytes as they come."""
        response = await self._send(f"{self._prefix}{ROOT}{path}", "GET", {}, b"", "", "*/*")
        found = re.search('filename="([^"/]+)"', response.headers.get("content-disposition", ""))
        return (found[1] if found else ""), _chunks(response)

    async def close(self) -> None:
        """Let go of connections."""
        await self._transport.close()

    async def _read(
        self, method: str, path: str, query: Mapping[str, object], data: bytes, content_type: str
    ) -> bytes:
        response = await self._send(f"{self._prefix}{ROOT}{path}", method, query, data, content_type)
        if response.stream is None:
            return _whole(response)
        return b"".join([chunk async for chunk in response.stream])

    async def _send(
        self,
        path: str,
        method: str,
        query: Mapping[str, object],
        data: bytes,
        content_type: str,
        accept: str = "application/json",
    ) -> Response:
        headers = {"accept": accept, "user-agent": "proa"}
        if data:
            headers["content-type"] = content_type
        asked = {name: [str(value)] for name, value in query.items() if value not in ("", None)}
        response = await self._transport.send(Request(method, path, asked, headers, data))
        if response.status >= 400:
            raise await _error_of(response)
        return response


async def _chunks(response: Response) -> AsyncIterator[bytes]:
    if response.stream is None:
        yield _whole(response)
        return
    async for chunk in response.stream:
        yield chunk


def _whole(response: Response) -> bytes:
    return response.body if isinstance(response.body, bytes) else b"".join(response.body)


async def _error_of(response: Response) -> ApiError:
    import orjson

    body = _whole(response)
    if response.stream is not None:
        body = b"".join([chunk async for chunk in response.stream])
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = {"message": body[:2000].decode(errors="replace").strip()}
    status = {"message": answer.get("message") or answer.get("error")} if isinstance(answer, dict) else {}
    return error_from_status(status, response.status)


def find_kubeconfig(home: str | None, kubeconfig: str | None) -> Path:
    """Return the kubeconfig that is named, else that of the home's running cluster; raise Failure."""
    if kubeconfig is not None:
        return Path(kubeconfig).expanduser()
    found = find_home(home)
    if not found.kubeconfig.exists():
        raise Failure(f"there is no cluster in {found.path} yet: start one with `proa up --detach`")
    if not found.is_running():
        raise Failure(f"the cluster in {found.path} is stopped: start it with `proa up --detach`")
    return found.kubeconfig


async def connect(path: Path, namespace: str = "") -> PipelinesApi:
    """Return the Pipelines API of a kubeconfig's cluster; raise Failure, ApiError. Close it after use."""
    from proa.client.kubeconfig import load_kubeconfig, make_transport

    api = PipelinesApi(make_transport(load_kubeconfig(path)), namespace)
    try:
        return await api.find()
    except BaseException:
        await api.close()
        raise
