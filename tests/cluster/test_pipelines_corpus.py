"""Pipelines of ours, compiled by the real SDKs, cover what pipelines can say: each is accepted, and does it."""

from __future__ import annotations

from pathlib import Path

import pytest

from proa.ml.pipelines.ir.document import read_package
from proa.ml.pipelines.ir.validation import check
from support.clusters import run
from support.sdk_venvs import KFP, OLD_KFP, make_sdk_venv

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
CORPUS = Path(__file__).parent / "programs" / "kfp_corpus" / "corpus.py"


@pytest.mark.xdist_group("pipelines-corpus")
@pytest.mark.parametrize(
    ("name", "requirements", "least"), [("kfp", KFP, 15), ("kfp-old", OLD_KFP, 8)], ids=["2.17", "2.7"]
)
def test_what_the_sdk_compiles_is_accepted(
    tmp_path: Path, name: str, requirements: tuple[str, ...], least: int
) -> None:
    run([str(make_sdk_venv(name, requirements)), str(CORPUS), "compile", str(tmp_path)])
    compiled = sorted(tmp_path.glob("*.yaml"))
    assert len(compiled) >= least
    for path in compiled:
        check(read_package(path.read_bytes()))
