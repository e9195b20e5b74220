"""mlflow://MODEL/VERSION, mlflow://MODEL@ALIAS, mlflow://MODEL/STAGE, mlflow://MODEL: a model of MLflow's registry.

MLFLOW_TRACKING_URI says where it is. The version's artifacts come through the tracking server where it passes them on
(mlflow-artifacts:), else from where they are (s3://, gs://, …), with the credentials for that.

Source: MLflow's REST API (registered-models/alias, registered-models/get-latest-versions, model-versions/search and
/get-download-uri, logged-models, mlflow-artifacts), as its own client uses it.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

from proa.ml.serving.storage.pieces import Model, Opened, Piece, StorageError, Surroundings
from proa.ml.serving.storage.web import Refused, Web, basic, quoted

MAX_FILES, MAX_DEPTH = 10_000, 32
_API = "api/2.0/mlflow"
_PROXIED = "api/2.0/mlflow-artifacts/artifacts"

Find = Callable[[str, Surroundings], Model]


def find(uri: str, around: Surroundings, find_elsewhere: Find) -> Model:
    """Return the files of a model's version; `find_elsewhere` knows other schemes."""
    tracking = around.env.get("MLFLOW_TRACKING_URI", "").rstrip("/")
    if not tracking.startswith(("http://", "https://")):
        raise StorageError(
            f"{uri} needs MLFLOW_TRACKING_URI, an http(s) address: in the model's env, or in a secret of its"
            " service account"
        )
    server = _Server(tracking, around.env)
    model, version, alias = _parse(uri)
    try:
        version = _resolve(server, model, version, alias)
        answer = server.get("model-versions/get-download-uri", name=model, version=version)
        where = _followed(server, str(answer.get("artifact_uri") or ""))
        resolved = f"mlflow://{model}/{version} ({where})"
        if where.startswith("mlflow-artifacts:"):
            path = urllib.parse.unquote(urllib.parse.urlsplit(where).path).strip("/")
            return Model(server.pieces(path), resolved)
    except Refused as error:
        raise StorageError(_explained(error, model, around.env)) from None
    if where.startswith("/"):
        where = f"file://{where}"
    if where.startswith("file:"):
        path = "/" + where.removeprefix("file:").lstrip("/")
        try:
            return find_elsewhere(f"file://{path}", around._replace(sources=None))._replace(resolved=resolved)
        except StorageError:
            raise StorageError(
                f"MLflow keeps {model}/{version} at {path}, a folder of its own machine: start its server with"
                " --serve-artifacts (and models logged through it), or with an artifact root in a bucket"
            ) from None
    if where.startswith("mlflow:") or "://" not in where:
        raise StorageError(
            f"MLflow keeps {model}/{version} at {where!r}, which is no place that is known here"
        )
    return find_elsewhere(where, around)._replace(resolved=resolved)


def _parse(uri: str) -> tuple[str, str, str]:
    """Return model, version or stage, and alias; two of them may be empty."""
    rest = urllib.parse.unquote(uri.removeprefix("mlflow://").strip("/"))
    model, _, version = rest.partition("/")
    name, at, alias = model.partition("@")
    if not name or "/" in version or (at and (version or not alias)):
        raise StorageError(
            f"{uri}: expected mlflow://MODEL/VERSION, mlflow://MODEL@ALIAS or mlflow://MODEL/STAGE"
        )
    return name, version, alias


def _resolve(server: _Server, model: str, version: str, alias: str) -> str:
    """Return the number of the version that is meant."""
    if alias:
        found = [server.get("registered-models/alias", name=model, alias=alias).get("model_version") or {}]
    elif version.isdigit():
        return version
    elif version and version.lower() != "latest":
        found = (
            server.get("registered-models/get-latest-versions", name=model, stages=version).get(
                "model_versions"
            )
            or []
        )
    else:
        escaped = model.replace("'", "''")
        newest = {"filter": f"name='{escaped}'", "order_by": "version_number DESC", "max_results": "1"}
        found = server.get("model-versions/search", **newest).get("model_versions") or []
    if not found or not found[0].get("version"):
        what = f"alias {alias!r}" if alias else f"version in stage {version!r}" if version else "version"
        raise StorageError(f"MLflow's model {model!r} has no {what}")
    return str(found[0]["version"])


def _followed(server: _Server, where: str) -> str:
    """Return where artifacts are; a version's source may name a logged model."""
    found = re.fullmatch(r"models:/(m-[\w-]+)(/.*)?", where)
    if found is None:
        return where
    model = server.get(f"logged-models/{found[1]}").get("model") or {}
    return str((model.get("info") or {}).get("artifact_uri") or "") + (found[2] or "")


class _Server:
    """A tracking server, as whom the environment says."""

    def __init__(self, address: str, env: Mapping[str, str]) -> None:
        insecure = env.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("1", "true")
        self._address, self._web = address, Web(env, verify=not insecure)
        self._headers = {}
        if token := env.get("MLFLOW_TRACKING_TOKEN"):
            self._headers = {"Authorization": f"Bearer {token}"}
        elif user := env.get("MLFLOW_TRACKING_USERNAME"):
            self._headers = {"Authorization": basic(user, env.get("MLFLOW_TRACKING_PASSWORD", ""))}

    def get(self, what: str, **parameters: str) -> Mapping[str, Any]:
        """Return an answer of the API; raise Refused."""
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        found = self._web.get_json(f"{self._address}/{_API}/{what}{query}", self._headers)
        return found if isinstance(found, dict) else {}

    def pieces(self, root: str) -> list[Piece]:
        """Return the files below a folder of the artifacts that the server passes on."""
        found: list[Piece] = []
        folders = [("", 0)]
        while folders:
            folder, depth = folders.pop()
            for one in self._list(f"{root}/{folder}".rstrip("/")):
                path = f"{folder}/{one['path']}".lstrip("/")
                if ".." in path.split("/") or depth > MAX_DEPTH or len(found) >= MAX_FILES:
                    raise StorageError(
                        f"MLflow names {path!r}: it leads out, is too deep, or is one of too many"
                    )
                if one.get("is_dir"):
                    folders.append((path, depth + 1))
                else:
                    found.append(self._piece(f"{root}/{path}", path, int(one.get("file_size") or 0)))
        return sorted(found, key=lambda piece: piece.path)

    def _list(self, folder: str) -> list[Mapping[str, Any]]:
        query = urllib.parse.urlencode({"path": folder})
        found = self._web.get_json(f"{self._address}/{_PROXIED}?{query}", self._headers)
        return found.get("files") or [] if isinstance(found, dict) else []

    def _piece(self, where: str, path: str, size: int) -> Piece:
        url = f"{self._address}/{_PROXIED}/{quoted(where)}"

        def open_at(offset: int) -> Opened:
            return self._web.stream(url, self._headers, offset=offset)

        return Piece(path, size, f"mlflow\n{self._address}\n{where}\n{size}", open_at)


def _explained(error: Refused, model: str, env: Mapping[str, str]) -> str:
    if error.status in (401, 403):
        has = env.get("MLFLOW_TRACKING_TOKEN") or env.get("MLFLOW_TRACKING_USERNAME")
        help_ = (
            "do its credentials belong there?"
            if has
            else "set MLFLOW_TRACKING_TOKEN, or _USERNAME and _PASSWORD"
        )
        return f"MLflow does not let us in ({error}): {help_}"
    if error.status == 404:
        return f"MLflow has no such model or version: {model!r} ({error})"
    return str(error)
