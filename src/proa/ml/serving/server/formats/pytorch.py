"""Serve a PyTorch model: TorchScript (*.pt, *.pth, *.torchscript) or an exported program (*.pt2).

Both are programs, and an archive of either may have pickles: they are opened in this pod only. A file of weights alone
(`torch.save(model.state_dict())`) is no model: it says nothing of the network.

Inputs are called as forward's arguments, and of one input any name will do; outputs are output-0, output-1, …, or the
keys of a dict. TorchScript says nothing of its inputs' types: fractions are converted to the type of the model's
weights, whole numbers stay such where the model takes them (tokens) and are converted too where it does not (pixels).

Source: PyTorch's torch.jit.load and torch.export.load.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proa.ml.serving.server.formats import files, settings
from proa.ml.serving.server.formats.datatypes import DATATYPES, DTYPES
from proa.ml.serving.server.formats.protocol import InputError, LoadOptions, ModelError, TensorSpec

if TYPE_CHECKING:
    from proa.ml.serving.server.formats.protocol import Arrays

_INPUT_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, AssertionError)
ENDINGS = (".pt", ".pth", ".pt2", ".torchscript")
_HOW = "expected torch.jit.script(model).save(path), or torch.export.save(torch.export.export(model, …), path) as *.pt2"


def load(folder: Path, options: LoadOptions) -> TorchModel:
    """Return the folder's one file as a model. `--batch=false`: its first axis is not the row."""
    return load_file(files.find_model_file(folder, ENDINGS, "pytorch"), options)


def load_file(path: Path, options: LoadOptions) -> TorchModel:
    """Return the file as a model."""
    import torch

    torch.set_num_threads(options.threads)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is what people have
            if path.suffix == ".pt2":
                return _make_exported(torch.export.load(path), options)
            module = torch.jit.load(path, map_location="cpu").eval()
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0].partition(". ")[0][:300]
        raise ModelError(f"torch {torch.__version__} does not load {path.name}: {reason}; {_HOW}") from error
    arguments = [argument.name for argument in module.forward.schema.arguments[1:]]
    return make_module_model(module, arguments or ["input-0"], options)


def load_pickled(path: Path, options: LoadOptions) -> TorchModel:
    """Return a whole module that was pickled, as MLflow saves it: opening it runs the code of whoever made it."""
    import torch

    torch.set_num_threads(options.threads)
    try:
        module = torch.load(path, map_location="cpu", weights_only=False).eval()
    except Exception as error:  # a pickle raises what it likes
        raise ModelError(
            f"torch {torch.__version__} does not load {path.name}: {type(error).__name__}: {error}"
        ) from error
    names = list(inspect.signature(module.forward).parameters)
    return make_module_model(module, names or ["input-0"], options)


def make_module_model(module: Any, names: Sequence[str], options: LoadOptions) -> TorchModel:
    """Return a module as a model, its inputs by these names; what is known of them is the type of its weights."""
    dtype = next((parameter.dtype for parameter in module.parameters()), None)
    datatype = _name(dtype) if dtype is not None else "FP32"
    inputs = [TensorSpec(name, datatype, ()) for name in names]
    return TorchModel(module, inputs, is_batchable=settings.is_on(options.settings, "batch", default=True))


def _make_exported(program: Any, options: LoadOptions) -> TorchModel:
    nodes = {node.name: node.meta.get("val") for node in program.graph.nodes}
    inputs = [
        TensorSpec(str(name), _name(value.dtype), tuple(_size(size) for size in value.shape))
        for name in program.graph_signature.user_inputs
        if (value := nodes.get(name)) is not None and hasattr(value, "shape")
    ]
    is_batchable = bool(inputs) and all(spec.shape and spec.shape[0] == -1 for spec in inputs)
    chosen = settings.is_on(options.settings, "batch", default=True)
    return TorchModel(program.module(), inputs, is_batchable=is_batchable and chosen)


class TorchModel:
    """A module, as a model of tensors."""

    platform = "pytorch"

    def __init__(self, module: Any, inputs: Sequence[TensorSpec], *, is_batchable: bool) -> None:
        self._module = module
        self.inputs: Sequence[TensorSpec] = list(inputs)
        self.outputs: Sequence[TensorSpec] = [TensorSpec("output-0", "FP32", (-1,))]
        self.is_batchable = is_batchable

    def predict(self, inputs: Arrays) -> Arrays:
        """Return what the module does."""
        import torch

        pairs = self._pair(inputs)
        arguments = [_make_tensor(spec, array) for spec, array in pairs]
        with torch.inference_mode():
            try:
                return _make_outputs(self._module(*arguments))
            except _INPUT_ERRORS as error:
                floats = [
                    argument.to(_dtype(spec)) for argument, (spec, _) in zip(arguments, pairs, strict=True)
                ]
                if all(old is new for old, new in zip(arguments, floats, strict=True)):
                    raise InputError(f"torch does not take this input: {_find_reason(error)}") from error
            try:
                return _make_outputs(self._module(*floats))
            except _INPUT_ERRORS as error:
                raise InputError(f"torch does not take this input: {_find_reason(error)}") from error

    def close(self) -> None:
        """Let go of the module."""
        self._module = None

    def _pair(self, inputs: Arrays) -> list[tuple[TensorSpec, Any]]:
        if len(inputs) == 1:
            return [(self.inputs[0], next(iter(inputs.values())))]
        unknown = [name for name in inputs if name not in {spec.name for spec in self.inputs}]
        if unknown:
            taken = ", ".join(spec.name for spec in self.inputs)
            raise InputError(f"no input {', '.join(unknown)}: the model takes {taken}")
        given = [spec for spec in self.inputs if spec.name in inputs]
        if given != self.inputs[: len(given)]:
            raise InputError(
                f"missing inputs: {', '.join(s.name for s in self.inputs if s.name not in inputs)}"
            )
        return [(spec, inputs[spec.name]) for spec in given]


def _make_tensor(spec: TensorSpec, array: Any) -> Any:
    import torch

    if array.dtype.kind in "OSU":
        raise InputError(f"input {spec.name} is of text; expected {spec.datatype}")
    if not array.flags.writeable:
        array = array.copy()
    tensor = torch.from_numpy(array)
    return tensor.to(_dtype(spec)) if spec.shape or tensor.is_floating_point() else tensor


def _dtype(spec: TensorSpec) -> Any:
    import torch

    return getattr(torch, DTYPES[spec.datatype])


def _make_outputs(result: Any) -> Mapping[str, Any]:
    if isinstance(result, Mapping):
        return {str(name): value.numpy() for name, value in result.items() if hasattr(value, "numpy")}
    if isinstance(result, (tuple, list)):
        return {f"output-{number}": value.numpy() for number, value in enumerate(result)}
    return {"output-0": result.numpy()}


def _size(size: Any) -> int:
    return size if type(size) is int else -1


def _name(dtype: Any) -> str:
    name = str(dtype).removeprefix("torch.")
    found = DATATYPES.get(name)
    if found is None:
        raise ModelError(f"the model's tensors are of {name}, which V2 does not have; export it with float32")
    return found


def _find_reason(error: Exception) -> str:
    """Return the last line that says something: TorchScript's errors begin with a traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (next((line for line in lines if line.startswith("RuntimeError:")), lines[0]) if lines else "")[
        :500
    ]
