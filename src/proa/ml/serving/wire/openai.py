"""OpenAI's bodies for models of language: completions, chat, embeddings, whole and as server-sent events.

Source: python/kserve/kserve/protocol/rest/openai of kserve/kserve; OpenAI's API reference.
"""

from __future__ import annotations

import base64
import struct
import time
import uuid
from collections.abc import Sequence
from typing import Any

import orjson

from proa.ml.serving.wire.refusals import Refused, bad_request

MAX_MESSAGES, MAX_TEXTS = 10_000, 2_048
DONE = b"data: [DONE]\n\n"
Json = dict[str, Any]


def read_completion(document: Any) -> Json:
    """Return a request for a completion that may be answered; raise Refused."""
    found = _read_common(document)
    if not isinstance(prompt := found.get("prompt"), str) and not _is_texts(prompt):
        raise bad_request("prompt must be a text or a list of texts")
    return found


def read_chat(document: Any) -> Json:
    """Return a request for a chat's next message; raise Refused."""
    found = _read_common(document)
    messages = found.get("messages")
    if type(messages) is not list or not 0 < len(messages) <= MAX_MESSAGES:
        raise bad_request(f"messages must be a list of 1 to {MAX_MESSAGES} objects with role and content")
    for number, message in enumerate(messages):
        if type(message) is not dict or type(message.get("role")) is not str:
            raise bad_request(f"messages[{number}] must be an object with role and content")
    return found


def read_embedding(document: Any) -> tuple[Json, list[str]]:
    """Return a request for embeddings and its texts; raise Refused."""
    found = _read_common(document)
    given = found.get("input")
    texts: Any = [given] if isinstance(given, str) else given
    if not _is_texts(texts):
        raise bad_request(f"input must be a text or a list of 1 to {MAX_TEXTS} texts")
    if found.get("encoding_format", "float") not in ("float", "base64"):
        raise bad_request("encoding_format must be float or base64")
    return found, texts


class Completion:
    """One answer in the making, of chat or not: its pieces as events, or all of them as one body."""

    def __init__(self, model: str, *, is_chat: bool) -> None:
        self._model = model
        self._is_chat = is_chat
        self._id = f"{'chatcmpl' if is_chat else 'cmpl'}-{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._has_begun = False

    def write_piece(self, text: str) -> bytes:
        """Return the event of a piece."""
        if not self._is_chat:
            return self._event({"index": 0, "text": text, "logprobs": None, "finish_reason": None})
        delta = {"content": text} if self._has_begun else {"role": "assistant", "content": text}
        self._has_begun = True
        return self._event({"index": 0, "delta": delta, "logprobs": None, "finish_reason": None})

    def write_end(self) -> bytes:
        """Return the events after the last piece."""
        part: Json = {"delta": {}} if self._is_chat else {"text": ""}
        return self._event({"index": 0, **part, "logprobs": None, "finish_reason": "stop"}) + DONE

    def write_whole(self, texts: Sequence[str]) -> bytes:
        """Return the body that has all of the answer, a choice a prompt."""
        choices = [
            {"index": index, **self._whole(text), "logprobs": None, "finish_reason": "stop"}
            for index, text in enumerate(texts)
        ]
        kind = "chat.completion" if self._is_chat else "text_completion"
        return orjson.dumps(self._document(kind, choices))

    def _whole(self, text: str) -> Json:
        return {"message": {"role": "assistant", "content": text}} if self._is_chat else {"text": text}

    def _event(self, choice: Json) -> bytes:
        kind = "chat.completion.chunk" if self._is_chat else "text_completion"
        return b"data: " + orjson.dumps(self._document(kind, [choice])) + b"\n\n"

    def _document(self, kind: str, choices: list[Json]) -> Json:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._model,
            "choices": choices,
        }


def write_embeddings(model: str, vectors: Sequence[Sequence[float]], encoding: str) -> bytes:
    """Return the body of an answer with a vector a text."""
    data = [
        {"object": "embedding", "index": index, "embedding": _write_vector(vector, encoding)}
        for index, vector in enumerate(vectors)
    ]
    return orjson.dumps({"object": "list", "model": model, "data": data})


def write_models(names: Sequence[str], created: int, *, also_v1: bool = False) -> bytes:
    """Return the list of models; where V1 has the same path, with V1's list as well."""
    data = [{"id": name, "object": "model", "created": created, "owned_by": ""} for name in names]
    return orjson.dumps({"object": "list", "data": data, **({"models": names} if also_v1 else {})})


def write_refusal(refused: Refused) -> bytes:
    """Return an error as OpenAI's clients read it."""
    kind = {400: "BadRequestError", 404: "NotFoundError", 503: "ServiceUnavailableError"}.get(
        refused.status, "InternalServerError"
    )
    error = {"message": refused.message, "type": kind, "param": "", "code": str(refused.status)}
    return orjson.dumps({"error": error})


def write_error_event(refused: Refused) -> bytes:
    """Return the event of an error after the first piece."""
    return b"data: " + write_refusal(refused) + b"\n\n" + DONE


def _read_common(document: Any) -> Json:
    if type(document) is not dict:
        raise bad_request("the body must be an object")
    if type(document.get("model")) is not str:
        raise bad_request("model must be a text: the name of a model")
    if type(document.get("stream", False)) not in (bool, type(None)):
        raise bad_request("stream must be true or false")
    if document.get("n") not in (None, 1):
        raise bad_request("n must be 1: there is one choice")
    for name, least, most in (("temperature", 0, 2), ("top_p", 0, 1), ("max_tokens", 0, 1 << 20)):
        value = document.get(name)
        if value is not None and (type(value) not in (int, float) or not least <= value <= most):
            raise bad_request(f"{name} must be a number from {least} to {most}")
    return document


def _is_texts(value: object) -> bool:
    return (
        isinstance(value, list) and 0 < len(value) <= MAX_TEXTS and all(type(text) is str for text in value)
    )


def _write_vector(vector: Sequence[float], encoding: str) -> Any:
    if encoding == "base64":
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    return [float(number) for number in vector]
