"""Train a model of each format on real data, serve all of them by one server, and compare with the libraries.

`model_formats.py FOLDER` prints a line of JSON a model: its name, and what was equal (V1, V2, V2 in binary) or wrong.
One of scikit-learn's is served once more, as its equal in ONNX. Then a network for digits: exported to ONNX, and as
a FastAPI application; both must say what torch says.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

warnings.simplefilter("ignore")
CANCER, DIGITS = load_breast_cancer(return_X_y=True), load_digits(return_X_y=True)
WINE = load_wine(return_X_y=True, as_frame=True)
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = [*SPECIAL, "a", "boat", "sails", "fast", "small", "on", "the", "sea", "wind"]
TEXTS = ["a small boat sails fast", "the wind on the sea", "a boat"]
DATATYPES = {"float64": "FP64", "float32": "FP32", "int64": "INT64", "object": "BYTES"}


class Case(NamedTuple):
    """What is asked of a model, and what its library says: outputs by name. Numbers are equal within `within`."""

    rows: Any
    expected: dict[str, Any]
    within: float = 0.0


def sklearn_pipeline(folder: Path) -> Case:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(*DIGITS)
    joblib.dump(model, folder / "model.joblib")
    return Case(DIGITS[0], {"output-0": model.predict(DIGITS[0])})


def sklearn_forest(folder: Path) -> Case:
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(50, random_state=0).fit(*CANCER)
    joblib.dump(model, folder / "model.pkl")
    return Case(CANCER[0], {"output-0": model.predict(CANCER[0])})


def sklearn_as_it_is(folder: Path) -> Case:
    """It has no equal in ONNX."""
    from sklearn.svm import SVC

    model = SVC().fit(*DIGITS)
    joblib.dump(model, folder / "model.pickle")
    return Case(DIGITS[0], {"output-0": model.predict(DIGITS[0])})


def sklearn_texts(folder: Path) -> Case:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(TfidfVectorizer(), MultinomialNB()).fit(TEXTS, ["boat", "sea", "boat"])
    joblib.dump(model, folder / "model.joblib")
    return Case(numpy.array(TEXTS, dtype=object), {"output-0": model.predict(TEXTS)})


def skops(folder: Path) -> Case:
    from sklearn.linear_model import LogisticRegression
    from skops.io import dump

    model = LogisticRegression(max_iter=10000).fit(*CANCER)
    dump(model, folder / "model.skops")
    return Case(CANCER[0], {"output-0": model.predict(CANCER[0])})


def xgboost(folder: Path, ending: str = "json") -> Case:
    from xgboost import DMatrix, XGBClassifier

    model = XGBClassifier(n_estimators=10, n_jobs=1).fit(*CANCER).get_booster()
    model.save_model(folder / f"model.{ending}")
    return Case(CANCER[0], {"output-0": model.predict(DMatrix(CANCER[0]))})


def lightgbm(folder: Path) -> Case:
    from lightgbm import LGBMClassifier

    model = LGBMClassifier(n_estimators=10, n_jobs=1, verbose=-1).fit(*DIGITS).booster_
    model.save_model(folder / "model.bst")
    return Case(DIGITS[0], {"output-0": model.predict(DIGITS[0])})


def onnx(folder: Path) -> Case:
    from skl2onnx import to_onnx
    from sklearn.neural_network import MLPClassifier

    rows = DIGITS[0].astype(numpy.float32)
    model = MLPClassifier((16,), max_iter=30, random_state=0).fit(rows, DIGITS[1])
    made = to_onnx(model, rows[:1], options={"zipmap": False}).SerializeToString()
    (folder / "model.onnx").write_bytes(made)
    return Case(rows, ask_onnxruntime(made, rows), 1e-6)


def mlflow_sklearn(folder: Path) -> Case:
    """As MLflow saves it by default: model.skops, with a signature of columns."""
    import mlflow
    from sklearn.linear_model import LogisticRegression

    rows, labels = WINE
    model = LogisticRegression(max_iter=10000).fit(rows, labels)
    signature = mlflow.models.infer_signature(rows, labels)
    mlflow.sklearn.save_model(model, folder, signature=signature, pip_requirements=[])
    return Case(rows.to_numpy(), {"output-0": model.predict(rows)})


def mlflow_xgboost(folder: Path) -> Case:
    """An estimator: its labels, not its booster's probabilities."""
    import mlflow
    from xgboost import XGBClassifier

    model = XGBClassifier(n_estimators=5, n_jobs=1).fit(*WINE)
    mlflow.xgboost.save_model(model, folder, pip_requirements=[])
    return Case(WINE[0].to_numpy(), {"output-0": model.predict(WINE[0])})


def mlflow_lightgbm(folder: Path) -> Case:
    import mlflow
    from lightgbm import LGBMClassifier

    model = LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1).fit(*WINE)
    mlflow.lightgbm.save_model(model, folder, pip_requirements=[])
    return Case(WINE[0].to_numpy(), {"output-0": model.predict(WINE[0])})


def mlflow_python(folder: Path) -> Case:
    import mlflow

    code = folder.parent / "ratio.py"
    code.write_text(
        "import mlflow\n"
        "class Ratio(mlflow.pyfunc.PythonModel):\n"
        "    def predict(self, context, model_input, params=None):\n"
        "        return (model_input['alcohol'] / model_input['hue']).to_numpy()\n"
        "mlflow.models.set_model(Ratio())\n"
    )
    signature = mlflow.models.infer_signature(WINE[0], numpy.ones(2))
    mlflow.pyfunc.save_model(folder, python_model=str(code), signature=signature, pip_requirements=[])
    code.unlink()
    return Case(WINE[0].to_numpy(), {"output-0": (WINE[0]["alcohol"] / WINE[0]["hue"]).to_numpy()})


def torchscript(folder: Path) -> Case:
    import torch

    model = make_network()
    torch.jit.trace(model, torch.zeros(2, 64)).save(folder / "model.pt")
    return Case(DIGITS[0].astype(numpy.float32), {"output-0": ask_torch(model, DIGITS[0])}, 1e-5)


def torch_exported(folder: Path) -> Case:
    import torch

    model = make_network()
    shapes = ({0: torch.export.Dim("rows")},)
    torch.export.save(
        torch.export.export(model, (torch.zeros(2, 64),), dynamic_shapes=shapes), folder / "model.pt2"
    )
    return Case(DIGITS[0].astype(numpy.float32), {"output-0": ask_torch(model, DIGITS[0])}, 1e-5)


def classification_of_texts(folder: Path) -> Case:
    import torch

    model, tokenizer = make_transformer(folder, "BertForSequenceClassification")
    with torch.inference_mode():
        scores = model(**tokenizer(TEXTS, return_tensors="pt", padding=True)).logits
    return Case(numpy.array(TEXTS, dtype=object), {"output-0": scores.argmax(dim=1).numpy()})


def classification_of_tokens(folder: Path) -> Case:
    import torch

    model, tokenizer = make_transformer(folder, "BertForTokenClassification")
    with torch.inference_mode():
        scores = model(**tokenizer(TEXTS, return_tensors="pt", padding=True)).logits
    return Case(numpy.array(TEXTS, dtype=object), {"output-0": scores.argmax(dim=2).numpy()[:, None]})


def masks_to_fill(folder: Path) -> Case:
    import torch

    model, tokenizer = make_transformer(folder, "BertForMaskedLM")
    texts = ["a [MASK] boat", "the [MASK] on the sea"]
    tokens = tokenizer(texts, return_tensors="pt", padding=True)
    with torch.inference_mode():
        found = model(**tokens).logits[tokens["input_ids"] == tokenizer.mask_token_id].argmax(dim=1)
    return Case(
        numpy.array(texts, dtype=object), {"output-0": numpy.array([tokenizer.decode(one) for one in found])}
    )


def embeddings(folder: Path) -> Case:
    import torch

    model, tokenizer = make_transformer(folder, "BertModel")
    tokens = tokenizer(TEXTS, return_tensors="pt", padding=True)
    with torch.inference_mode():
        hidden, mask = model(**tokens).last_hidden_state, tokens["attention_mask"][..., None]
    mean = ((hidden * mask).sum(dim=1) / mask.sum(dim=1)).numpy()
    return Case(
        numpy.array(TEXTS, dtype=object),
        {"output-0": mean / numpy.linalg.norm(mean, axis=1, keepdims=True)},
        1e-5,
    )


def text_detector(folder: Path) -> Case:
    """Of RapidOCR: where text is in an image."""
    return ocr_model(folder, "det", (1, 3, 64, 96))


def text_direction(folder: Path) -> Case:
    """Of RapidOCR: whether a line is upside down."""
    return ocr_model(folder, "cls", (4, 3, 48, 192))


def text_recognizer(folder: Path) -> Case:
    """Of RapidOCR: what a line says, a score a character it knows."""
    return ocr_model(folder, "rec", (1, 3, 48, 32))


def ocr_model(folder: Path, part: str, shape: tuple[int, ...]) -> Case:
    """Take the model from RapidOCR's package."""
    from importlib.util import find_spec

    [package] = find_spec("rapidocr").submodule_search_locations
    [path] = Path(package, "models").glob(f"*_{part}_*.onnx")
    (folder / "model.onnx").symlink_to(path)
    rows = numpy.random.default_rng(0).uniform(-1, 1, shape).astype(numpy.float32)
    return Case(rows, ask_onnxruntime(path.read_bytes(), rows), 1e-5)


CASES: tuple[Callable[[Path], Case], ...] = (
    sklearn_pipeline,
    sklearn_forest,
    sklearn_as_it_is,
    sklearn_texts,
    skops,
    xgboost,
    lightgbm,
    onnx,
    text_detector,
    text_direction,
    text_recognizer,
    mlflow_sklearn,
    mlflow_xgboost,
    mlflow_lightgbm,
    mlflow_python,
    torchscript,
    torch_exported,
    classification_of_texts,
    classification_of_tokens,
    masks_to_fill,
    embeddings,
)


def main(folder: Path) -> None:
    """Print a line a model."""
    models = folder / "models"
    cases = {}
    for make in CASES:
        (models / make.__name__).mkdir(parents=True)
        if make.__name__.startswith("mlflow"):
            (models / make.__name__).rmdir()
        cases[make.__name__] = make(models / make.__name__)
    text_folder = models / "generation"
    text_folder.mkdir()
    expected_text = make_generation(text_folder)
    with run_server("--repository", "--convert=false", "--model_dir", models) as (port, _):
        for name, case in cases.items():
            tell(name, lambda name=name, case=case: check(port, name, case))
        tell("generation", lambda: check_generation(port, expected_text))
    tell(
        "as_its_equal_in_onnx",
        lambda: check_converted(models / "sklearn_pipeline", cases["sklearn_pipeline"]),
    )


def check(port: int, name: str, case: Case) -> dict[str, Any]:
    """Ask by each protocol."""
    rows = case.rows[:200]
    expected = {output: numpy.asarray(array)[:200] for output, array in case.expected.items()}
    v1 = ask(port, f"/v1/models/{name}:predict", {"instances": rows.tolist()})["predictions"]
    if len(expected) == 1:
        compare("V1", v1, next(iter(expected.values())), case.within)
    else:
        for output, array in expected.items():
            compare("V1", [row[output] for row in v1], array, case.within)
    tensor = {
        "name": "x",
        "shape": rows.shape,
        "datatype": DATATYPES[rows.dtype.name],
        "data": rows.ravel().tolist(),
    }
    outputs = ask(port, f"/v2/models/{name}/infer", {"inputs": [tensor]})["outputs"]
    for output in outputs:
        found = numpy.array(output["data"]).reshape(output["shape"])
        compare("V2", found, expected[output["name"]], case.within)
    for output, found in ask_binary(port, name, rows).items():
        compare("V2 in binary", found, expected[output], case.within)
    return {"equal": ["V1", "V2", "V2 in binary"], "rows": len(rows)}


def compare(protocol: str, found: Any, expected: Any, within: float) -> None:
    """Raise AssertionError where an answer is not what the library says."""
    found = numpy.asarray(found)
    assert found.shape == expected.shape, f"{protocol}: shape {found.shape}, not {expected.shape}"
    if expected.dtype.kind == "f":
        found = found.astype(expected.dtype)
        assert numpy.allclose(found, expected, rtol=0, atol=within or 1e-15), f"{protocol}: numbers differ"
    else:
        assert found.tolist() == expected.tolist(), f"{protocol}: {found[:5]}, not {expected[:5]}"


def check_generation(port: int, expected: str) -> dict[str, Any]:
    """Ask OpenAI's route for the likeliest words."""
    request = {"model": "generation", "prompt": TEXTS[0], "max_tokens": 8, "temperature": 0}
    found = ask(port, "/openai/v1/completions", request)["choices"][0]["text"]
    assert found.strip() == expected.strip(), f"{found!r}, not {expected!r}"
    return {"equal": [found]}


def check_converted(folder: Path, case: Case) -> dict[str, Any]:
    """Serve a model of scikit-learn as ONNX."""
    with run_server("--model_dir", folder, "--model_name", "digits") as (port, log):
        assert "served by scikit-learn, not as ONNX: it is being made" in log.read_text(), log.read_text()
        meanwhile = check(port, "digits", case)
        deadline = time.monotonic() + 150
        while "model.joblib is served as ONNX" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        assert check(port, "digits", case) == meanwhile
        return meanwhile


def make_network() -> Any:
    """Return a network of 64 numbers."""
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(64, 16), torch.nn.ReLU(), torch.nn.Linear(16, 10)).eval()


def ask_torch(model: Any, rows: Any) -> Any:
    """Return what the network says."""
    import torch

    with torch.inference_mode():
        return model(torch.from_numpy(rows.astype(numpy.float32))).numpy()


def ask_onnxruntime(model: bytes, rows: Any) -> dict[str, Any]:
    """Return what onnxruntime says."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: rows}), strict=True))


def make_transformer(folder: Path, kind: str) -> tuple[Any, Any]:
    """Save a small network of random weights with its tokenizer."""
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    tokenizer = transformers.BertTokenizerFast(str(folder / "vocab.txt"))
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(vocab_size=len(VOCABULARY), num_labels=3, initializer_range=1.0, **sizes)
    model = getattr(transformers, kind)(config).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model, tokenizer


def make_generation(folder: Path) -> str:
    """Save a network that writes; return its likeliest words after the first text."""
    import torch
    import transformers

    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    tokenizer = transformers.BertTokenizerFast(str(folder / "vocab.txt"))
    torch.manual_seed(1)
    config = transformers.GPT2Config(
        vocab_size=len(VOCABULARY),
        n_positions=64,
        n_embd=32,
        n_layer=2,
        n_head=2,
        initializer_range=1.0,
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=0,
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    tokens = tokenizer(TEXTS[0], return_tensors="pt")
    asked = {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}
    found = model.generate(**asked, max_new_tokens=8, do_sample=False)[0][tokens["input_ids"].shape[1] :]
    return str(tokenizer.decode(found, skip_special_tokens=True))


@contextmanager
def run_server(*arguments: Any) -> Iterator[tuple[int, Path]]:
    """Run the model server on ports of its own; yield its port and the file of its log, once it is ready."""
    import tempfile

    log = Path(tempfile.mkstemp(suffix=".log")[1])
    ports = ["--host=127.0.0.1", "--http_port=0", "--grpc_port=-1", "--load-port=-1", "--quiet-seconds=0"]
    command = [sys.executable, "-m", "proa.ml.serving.server", *map(str, arguments), *ports]
    with log.open("w") as file:
        process = subprocess.Popen(command, stderr=file)
    try:
        deadline = time.monotonic() + 180
        while not re.search(r"\bready\b", log.read_text()):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        found = re.search(r"listening http=(\d+)", log.read_text())
        assert found is not None, log.read_text()
        yield int(found[1]), log
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        log.unlink()


def ask(port: int, path: str, body: Any) -> Any:
    """POST JSON."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    return read(request)


def read(request: urllib.request.Request) -> Any:
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{error.code} {error.read().decode()[:500]}") from error


def ask_binary(port: int, name: str, rows: Any) -> dict[str, Any]:
    """POST a tensor's bytes; return those of the answer, read by KServe's own client library."""
    from kserve import InferInput, InferRequest, InferResponse

    tensor = InferInput("x", list(rows.shape), DATATYPES[rows.dtype.name])
    tensor.set_data_from_numpy(rows, binary_data=True)
    body, length = InferRequest(name, [tensor], parameters={"binary_data_output": True}).to_rest()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v2/models/{name}/infer", body)
    request.add_header("Inference-Header-Content-Length", str(length))
    request.add_header("Content-Type", "application/octet-stream")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            told = int(answer.headers["Inference-Header-Content-Length"])
            found = InferResponse.from_bytes(answer.read(), told)
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{error.code} {error.read().decode()[:500]}") from error
    return {output.name: output.as_numpy() for output in found.outputs}


def tell(name: str, run: Callable[[], dict[str, Any]]) -> None:
    """Print what came of a check."""
    began = time.monotonic()
    try:
        found = run()
    except Exception as error:  # the next one is told of too
        found = {"wrong": f"{type(error).__name__}: {error}"[:1000]}
    print(json.dumps({"name": name, **found, "seconds": round(time.monotonic() - began, 2)}), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main(Path(sys.argv[1]))
