"""The command of TorchTune's trainer: the recipe that fits a TrainJob, its configuration, and its runtime's folders.

Pure. Follows pkg/runtime/framework/plugins/torch/torchtune.go of kubeflow/trainer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from proa.client.protocol import Object
from proa.ml.training.trainjob.words import NODE, PORT, TRAINER, find_container, steps
from proa.objects import meta

ENTRY = ["tune", "run"]
_LARGE = "llama3_3/70B"
MODELS = ("llama3_2/1B", "llama3_2/3B", _LARGE, "qwen2_5/1.5B")
_FIXED = ("output_dir", "tokenizer.path", "checkpointer.checkpoint_dir", "tokenizer.merges_file")
"""What the runtime says, and a TrainJob may not."""


def is_torchtune(trainjob: Object) -> bool:
    """Tell whether TorchTune is what trains."""
    return bool((trainjob["spec"].get("trainer") or {}).get("command") == ENTRY)


def make_command(trainjob: Object, spec: Object, nodes: int, processes: str) -> list[str]:
    """Return the trainer's command; `processes` is a number, or "auto" for as many as there are GPUs."""
    leader = f"{meta.name(trainjob)}-{NODE}-0-0.{meta.name(trainjob)}"
    recipe, configuration = _recipe(trainjob, nodes, processes)
    return [
        *ENTRY,
        *([f"--rdzv_endpoint={leader}:{PORT}"] if nodes > 1 or processes != "1" else []),
        recipe,
        "--config",
        configuration,
        *_runtimes_own(spec),
    ]


def find_problems(trainjob: Object) -> Iterator[str]:
    """Yield what TorchTune cannot do."""
    trainer = trainjob["spec"]["trainer"]
    nodes, model, arguments = trainer.get("numNodes") or 1, _model(trainjob), trainer.get("args") or []
    if model not in MODELS:
        yield (
            "spec.runtimeRef.name: must have a supported pretrained model, invalid model configured: "
            f"{model or 'none'}; there are {', '.join(MODELS)}"
        )
    if nodes > 1 and model != _LARGE:
        yield f"spec.trainer.numNodes: must be 1 for {model} model"
    if nodes > 1 and (_has_lora(arguments) or _has_qlora(arguments)):
        yield "spec.trainer.numNodes: LoRA fine-tuning is not supported for multi-node training in TorchTune"
    for index, argument in enumerate(arguments):
        key = argument.split("=", 1)[0]
        if key in _FIXED:
            yield (
                f'spec.trainer.args[{index}]: must not set immutable config "{key}" in trainer args; it is managed by '
                "the runtime"
            )


def _model(trainjob: Object) -> str:
    parts = str(trainjob["spec"]["runtimeRef"]["name"]).split("-")
    return f"{parts[1].replace('.', '_')}/{parts[2].upper()}" if len(parts) == 3 else ""


def _recipe(trainjob: Object, nodes: int, processes: str) -> tuple[str, str]:
    arguments = trainjob["spec"]["trainer"].get("args") or []
    is_qlora = _has_qlora(arguments)
    is_lora = is_qlora or _has_lora(arguments)
    kind = "_qlora" if is_qlora else "_lora" if is_lora else "_full"
    method = "lora" if is_lora else "full"
    if nodes > 1:
        return "full_finetune_distributed", f"{_model(trainjob)}_full_multinode"
    if processes == "1":
        return f"{method}_finetune_single_device", f"{_model(trainjob)}{kind}_single_device"
    return f"{method}_finetune_distributed", f"{_model(trainjob)}{kind}"


def _has_lora(arguments: Sequence[str]) -> bool:
    return any("model.lora_attn_modules" in argument for argument in arguments)


def _has_qlora(arguments: Sequence[str]) -> bool:
    return _is_true(arguments, "model.quantize_base") and not _is_true(arguments, "model.use_dora")


def _is_true(arguments: Sequence[str], key: str) -> bool:
    pairs = (argument.partition("=") for argument in arguments)
    return any(key in name and value.strip().lower() == "true" for name, _, value in pairs)


def _runtimes_own(spec: Object) -> list[str]:
    for replicated in steps(spec, TRAINER):
        if (container := find_container(replicated, NODE)) is not None:
            return [word for word in container.get("command") or () if word.split("=", 1)[0] in _FIXED]
    return []
