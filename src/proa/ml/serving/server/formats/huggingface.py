"""Serve a transformers model: a folder with config.json, weights and a tokenizer, by its architecture's task.

Classification of texts and tokens, masks to fill and embeddings take texts and answer as upstream's server does
(`--return_probabilities`, `--return_raw_logits`); what generates text is behind OpenAI's routes (generation.py).
Settings are upstream's: task, max_length, dtype, add_special_tokens, disable_lower_case, model_id (of the hub, instead
of the folder). Code that comes with a model is not run unless `--trust_remote_code` says so.

Source: KServe's python/huggingfaceserver/huggingfaceserver/encoder_model.py and task.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proa.ml.serving.server.formats import files, settings
from proa.ml.serving.server.formats.protocol import (
    InputError,
    LoadOptions,
    Model,
    ModelError,
    ModelMissing,
    TensorSpec,
)
from proa.ml.serving.server.formats.rows import INPUT, OUTPUT, decode_texts

if TYPE_CHECKING:
    from proa.ml.serving.server.formats.protocol import Arrays

PLATFORM = "huggingface"
_CONFIG = "config.json"
_TASKS = {
    "ForTokenClassification": "token_classification",
    "ForSequenceClassification": "sequence_classification",
    "ForMaskedLM": "fill_mask",
    "ForCausalLM": "text_generation",
    "LMHeadModel": "text_generation",
    "ForConditionalGeneration": "text2text_generation",
    "Model": "text_embedding",
}
"""By how the architecture's name ends; the first that fits."""
_CLASSES = {
    "sequence_classification": "AutoModelForSequenceClassification",
    "token_classification": "AutoModelForTokenClassification",
    "fill_mask": "AutoModelForMaskedLM",
    "text_embedding": "AutoModel",
    "text_generation": "AutoModelForCausalLM",
    "text2text_generation": "AutoModelForSeq2SeqLM",
}
_DTYPES = ("float32", "float16", "bfloat16", "auto")
_LONGEST = 4096
"""Tokens of a text where neither the tokenizer nor the model says."""


def load(folder: Path, options: LoadOptions) -> Model:
    """Return the folder's model, or that of the hub which `--model_id` names."""
    import torch
    import transformers

    chosen = options.settings
    source = chosen.get("model_id") or str(folder)
    if not chosen.get("model_id") and not (folder / _CONFIG).is_file():
        raise ModelMissing(f"no huggingface model in {folder}: {files.describe(folder)}; expected {_CONFIG}")
    torch.set_num_threads(options.threads)
    transformers.utils.logging.disable_progress_bar()
    common = {
        "trust_remote_code": settings.is_on(chosen, "trust_remote_code"),
        "local_files_only": not chosen.get("model_id"),
    }
    try:
        config = transformers.AutoConfig.from_pretrained(source, **common)
        task = chosen.get("task") or find_task(config.architectures or ())
        if task not in _CLASSES:
            raise ModelError(f"task {task} is not served; known are {', '.join(_CLASSES)}")
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            source, **common, **_tokenizer_settings(chosen)
        )
        kind = getattr(transformers, _CLASSES[task])
        network = kind.from_pretrained(source, **common, dtype=_find_dtype(chosen)).eval()
    except (OSError, ValueError, ImportError, json.JSONDecodeError) as error:
        raise ModelError(
            f"transformers {transformers.__version__} does not load {source}: {error}"
        ) from error
    longest = settings.find_number(chosen, "max_length") or _find_longest(tokenizer, config)
    if task in ("text_generation", "text2text_generation"):
        from proa.ml.serving.server.formats.generation import GenerativeModel

        return GenerativeModel(network, tokenizer, longest)
    return EncoderModel(network, tokenizer, task, longest, options)


def find_task(architectures: Sequence[str]) -> str:
    """Return the task of a model by its architecture's name; raise ModelError where that tells none."""
    for name in architectures:
        for ending, task in _TASKS.items():
            if name.endswith(ending):
                return task
    raise ModelError(
        f"architecture {', '.join(architectures) or '(none in config.json)'} tells no task; "
        f"name one: --task={' | '.join(_CLASSES)}"
    )


class EncoderModel:
    """A network that reads texts, as a model of tensors."""

    platform = PLATFORM

    def __init__(self, network: Any, tokenizer: Any, task: str, longest: int, options: LoadOptions) -> None:
        self._network, self._tokenizer, self._task, self._longest = network, tokenizer, task, longest
        self._adds_special = settings.is_on(options.settings, "add_special_tokens", default=True)
        self._probabilities = settings.is_on(options.settings, "return_probabilities")
        self._logits = settings.is_on(options.settings, "return_raw_logits")
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        # texts that are padded to one another's length would have labels of the padding
        self.is_batchable = task != "token_classification"
        self.inputs: Sequence[TensorSpec] = [TensorSpec(INPUT, "BYTES", (-1,))]
        self.outputs: Sequence[TensorSpec] = [TensorSpec(OUTPUT, *self._describe_output())]

    def predict(self, inputs: Arrays) -> Arrays:
        """Return output-0: labels, tokens or vectors."""
        if len(inputs) != 1:
            raise InputError(f"inputs {', '.join(inputs)}: this model takes one, of texts")
        return {OUTPUT: self._answer(_read_texts(next(iter(inputs.values()))))}

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return a vector a text."""
        import asyncio

        if self._task != "text_embedding":
            raise NotImplementedError(f"this model does {self._task}, not text_embedding")
        vectors = await asyncio.to_thread(self._answer, list(texts))
        found: list[list[float]] = vectors.tolist()
        return found

    def close(self) -> None:
        """Let go of the network."""
        self._network = None

    def _answer(self, texts: list[str]) -> Any:
        import torch

        tokens = self._tokenizer(
            texts,
            max_length=self._longest,
            add_special_tokens=self._adds_special,
            return_tensors="pt",
            padding=True,
            truncation=True,
        )
        with torch.inference_mode():
            answer = self._network(**tokens, return_dict=True)
            if self._task == "text_embedding":
                return _pool(answer.last_hidden_state, tokens["attention_mask"]).numpy()
            scores = answer.logits
            if self._task == "fill_mask":
                return self._fill(scores, tokens["input_ids"], texts)
            if self._logits or self._probabilities:
                return _by_label(
                    scores if self._logits else torch.softmax(scores, dim=-1), _round(self._logits)
                )
            labels = scores.argmax(dim=-1).numpy()
        return labels[:, None] if self._task == "token_classification" else labels

    def _fill(self, scores: Any, ids: Any, texts: list[str]) -> Any:
        import torch

        filled = []
        for row, text in enumerate(texts):
            places = (ids[row] == self._tokenizer.mask_token_id).nonzero().ravel()
            if not len(places):
                raise InputError(
                    f"there is no {self._tokenizer.mask_token} in {text[:80]!r}, which is what is filled"
                )
            at_masks = scores[row, places]
            if self._logits or self._probabilities:
                found = at_masks if self._logits else torch.softmax(at_masks, dim=-1)
                kind: Callable[[float], Any] = float if self._logits else "{:.4f}".format
                filled.append(
                    [[{str(n): kind(value)} for n, value in enumerate(one.tolist())] for one in found]
                )
            else:
                filled.append(self._tokenizer.decode(at_masks.argmax(dim=-1)))
        return _hold(filled)

    def _describe_output(self) -> tuple[str, tuple[int, ...]]:
        if self._task == "text_embedding":
            return "FP32", (-1, int(self._network.config.hidden_size))
        if self._task == "fill_mask" or self._logits or self._probabilities:
            return "BYTES", (-1,)
        return "INT64", (-1,) if self._task == "sequence_classification" else (-1, 1, -1)


def _read_texts(array: Any) -> list[str]:
    texts: list[str] = decode_texts(array).ravel().tolist()
    wrong = next((text for text in texts if not isinstance(text, str)), None)
    if wrong is not None or not texts:
        raise InputError(
            "no texts; expected at least one" if not texts else f"expected texts, not {wrong!r}"[:200]
        )
    return texts


def _by_label(rows: Any, show: Callable[[float], float]) -> Any:
    """Return the numbers of each row by label, of tokens a list a row: as upstream's server answers."""

    def read(values: Any) -> Any:
        if isinstance(values[0], list):
            return [read(inner) for inner in values]
        return {str(number): show(value) for number, value in enumerate(values)}

    return _hold([read(row) for row in rows.tolist()])


def _round(is_exact: bool) -> Callable[[float], float]:
    return float if is_exact else lambda value: float(f"{value:.4f}")


def _hold(answers: list[Any]) -> Any:
    import numpy

    held = numpy.empty(len(answers), dtype=object)
    held[:] = answers
    return held


def _pool(hidden: Any, mask: Any) -> Any:
    """Return the mean of the tokens that are no padding, of length 1."""
    import torch

    mask = mask.unsqueeze(-1).to(hidden.dtype)
    mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1e-9)
    return torch.nn.functional.normalize(mean, p=2, dim=1).float()


def _find_longest(tokenizer: Any, config: Any) -> int:
    told = [tokenizer.model_max_length, getattr(config, "max_position_embeddings", None)]
    return min((int(number) for number in told if number and 0 < number < 1 << 24), default=_LONGEST)


def _find_dtype(chosen: Any) -> Any:
    name = chosen.get("dtype", "float32")
    if name not in _DTYPES:
        raise ModelError(f"--dtype={name}: expected {', '.join(_DTYPES)}")
    if name == "auto":
        return "auto"
    import torch

    return getattr(torch, name)


def _tokenizer_settings(chosen: Any) -> dict[str, Any]:
    return {"do_lower_case": False} if settings.is_on(chosen, "disable_lower_case") else {}
