"""Generate text by a transformers model: the answer to a chat, or what goes on from a prompt, piece by piece.

One text at a time is generated, in a thread; a client that goes away stops it at the next token. Requests are OpenAI's:
max_tokens, temperature (0: the likeliest token each time), top_p, stop, seed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from threading import Event
from typing import Any

from proa.ml.serving.server.formats.protocol import InputError

_DEFAULT_TOKENS = {"chat": 256, "complete": 16}
"""Where a request names none; the second is OpenAI's."""
_MAX_STOPS = 4


class GenerativeModel:
    """A network that writes, as a model of text."""

    platform = "huggingface"

    def __init__(self, network: Any, tokenizer: Any, longest: int) -> None:
        self._network, self._tokenizer, self._longest = network, tokenizer, longest
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="generation")

    async def chat(self, request: Mapping[str, Any]) -> AsyncIterator[str]:
        """Yield pieces of the answer to the messages; the tokenizer's template makes a prompt of them."""
        messages = request.get("messages")
        if not isinstance(messages, list) or not messages:
            raise InputError("messages: expected a list of at least one")
        if not getattr(self._tokenizer, "chat_template", None):
            raise InputError("the model's tokenizer has no chat_template; ask /completions with a prompt")
        try:
            prompt = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # templates raise what they like
            raise InputError(f"messages do not fit the model's template: {error}") from error
        async with aclosing(self._generate(prompt, request, "chat")) as pieces:
            async for piece in pieces:
                yield piece

    async def complete(self, request: Mapping[str, Any]) -> AsyncIterator[str]:
        """Yield pieces of what goes on from the prompt."""
        prompt = request.get("prompt")
        if isinstance(prompt, list) and len(prompt) == 1:
            prompt = prompt[0]
        if not isinstance(prompt, str):
            raise InputError("prompt: expected one text")
        async with aclosing(self._generate(prompt, request, "complete")) as pieces:
            async for piece in pieces:
                yield piece

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """This model writes."""
        raise NotImplementedError(
            "this model generates text; for embeddings serve one with --task=text_embedding"
        )

    def close(self) -> None:
        """Let go of the network."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._network = None

    async def _generate(
        self, prompt: str, request: Mapping[str, Any], verb: str
    ) -> AsyncGenerator[str, None]:
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[str | None] = asyncio.Queue()
        stopped = Event()
        arguments = self._read_arguments(prompt, request, verb)
        stops = _read_stops(request.get("stop"))

        def tell(piece: str | None) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

        running = loop.run_in_executor(self._thread, self._run, arguments, tell, stopped)
        running.add_done_callback(lambda _: pieces.put_nowait(None))
        try:
            async for piece in _cut_at(stops, pieces):
                yield piece
        finally:
            stopped.set()
            await running

    def _run(self, arguments: dict[str, Any], tell: Any, stopped: Event) -> None:
        import torch
        from transformers import StoppingCriteria, StoppingCriteriaList, TextStreamer

        class Teller(TextStreamer):  # type: ignore[misc]  # transformers' types are not known here
            def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
                if text:
                    tell(text)

        class Stop(StoppingCriteria):  # type: ignore[misc]
            def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
                return torch.full((input_ids.shape[0],), stopped.is_set(), dtype=torch.bool)

        is_decoder = not self._network.config.is_encoder_decoder
        seed = arguments.pop("seed")
        streamer = Teller(self._tokenizer, skip_prompt=is_decoder, skip_special_tokens=True)
        if seed is not None:
            torch.manual_seed(seed)
        with torch.inference_mode():
            self._network.generate(
                **arguments, streamer=streamer, stopping_criteria=StoppingCriteriaList([Stop()])
            )

    def _read_arguments(self, prompt: str, request: Mapping[str, Any], verb: str) -> dict[str, Any]:
        tokens = self._tokenizer(prompt, return_tensors="pt")
        length = tokens["input_ids"].shape[1]
        room = self._longest - (0 if self._network.config.is_encoder_decoder else length)
        if room <= 0 or not length:
            raise InputError(f"the prompt has {length} tokens; expected 1 to {self._longest - 1}")
        wanted = request.get("max_completion_tokens") or request.get("max_tokens") or _DEFAULT_TOKENS[verb]
        if not isinstance(wanted, int) or wanted < 1:
            raise InputError(f"max_tokens: {wanted!r}; expected a whole number above 0")
        temperature, seed = _read_number(request, "temperature", 1.0, 2.0), request.get("seed")
        if seed is not None and not isinstance(seed, int):
            raise InputError(f"seed: {seed!r}; expected a whole number")
        arguments = {
            "input_ids": tokens["input_ids"],
            "attention_mask": tokens["attention_mask"],
            "max_new_tokens": min(wanted, room),
            "do_sample": temperature > 0,
            "seed": seed,
        }
        if self._tokenizer.pad_token_id is None and self._tokenizer.eos_token_id is not None:
            arguments["pad_token_id"] = self._tokenizer.eos_token_id
        if temperature > 0:
            arguments |= {
                "temperature": temperature,
                "top_p": _read_number(request, "top_p", 1.0, 1.0) or 1.0,
            }
        return arguments


async def _cut_at(stops: Sequence[str], pieces: asyncio.Queue[str | None]) -> AsyncIterator[str]:
    """Yield pieces up to the first stop; what may be the beginning of one is held back until it is none."""
    held, longest = "", max((len(stop) for stop in stops), default=1) - 1
    while (piece := await pieces.get()) is not None:
        held += piece
        found = min((place for stop in stops if (place := held.find(stop)) >= 0), default=-1)
        if found >= 0:
            if found:
                yield held[:found]
            return
        ready = len(held) - longest
        if ready > 0:
            yield held[:ready]
            held = held[ready:]
    if held:
        yield held


def _read_stops(stop: Any) -> list[str]:
    stops = [stop] if isinstance(stop, str) else stop or []
    if (
        not isinstance(stops, list)
        or len(stops) > _MAX_STOPS
        or not all(isinstance(one, str) for one in stops)
    ):
        raise InputError(f"stop: expected a text, or up to {_MAX_STOPS}")
    return [one for one in stops if one]


def _read_number(request: Mapping[str, Any], name: str, default: float, most: float) -> float:
    value = request.get(name)
    if value is None:
        return default
    if not isinstance(value, (int, float)) or not 0 <= value <= most:
        raise InputError(f"{name}: {value!r}; expected 0 to {most}")
    return float(value)
