"""Send a request to a model's address, and print the answer.

Names below `localhost` are this machine, whether or not its resolver knows them (RFC 6761).
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from proa.cli import Failure, UsageError
from proa.cli.models.facts import Served
from proa.cli.terminal import print_json


def read_body(data: str) -> dict[str, Any]:
    """Return the request: rows become V1's instances. Raises UsageError for what is no JSON object or list."""
    if data.startswith("@"):
        try:
            data = sys.stdin.read() if data == "@-" else Path(data[1:]).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"-d {data}: {error}") from None
    try:
        body = json.loads(data)
    except ValueError as error:
        raise UsageError(f"-d is no JSON: {error}; a file is @FILE, standard input is @-") from None
    if isinstance(body, list):
        return {"instances": body}
    if not isinstance(body, dict):
        raise UsageError("-d must be a list of rows, or an object with instances (V1) or inputs (V2)")
    return body


def predict(served: Served, body: dict[str, Any], options: argparse.Namespace) -> int:
    """Ask, and print the answer's body; Failure where there is none, or it is an error."""
    if not served.url:
        raise Failure(f"{served.name} has no address: {served.why or 'it is not ready'}")
    place = urlsplit(served.url)
    host = place.hostname or ""
    if options.revision:
        host = host.replace(served.name, options.revision, 1)
    where = "127.0.0.1" if host.endswith(".localhost") else host
    path = f"/v2/models/{served.name}/infer" if "inputs" in body else f"/v1/models/{served.name}:predict"
    kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
    connection = kind(where, place.port, timeout=options.timeout)
    shown = f"{host}:{place.port}" if place.port else host
    try:
        headers = {"Content-Type": "application/json", "Host": shown}
        connection.request("POST", place.path.rstrip("/") + path, json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise Failure(f"{place.scheme}://{shown}{path}: {error or type(error).__name__}") from None
    finally:
        connection.close()
    if answer.status >= 400:
        raise Failure(f"{answer.status} {answer.reason}: {_words(text)}")
    try:
        print_json(json.loads(text))
    except ValueError:
        print(text.decode(errors="replace"))
    return 0


def _words(text: bytes) -> str:
    try:
        told = json.loads(text)
    except ValueError:
        told = None
    if isinstance(told, dict) and "error" in told:
        return str(told["error"])
    return text.decode(errors="replace").strip() or "no words"
