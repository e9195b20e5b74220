"""What docs/tuning-experiments.md shows works, and it names every field that a user can set."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from proa.ml.tuning.spec.checks import check_experiment
from proa.ml.tuning.spec.definitions import EXPERIMENTS_FILE
from proa.ml.tuning.spec.run_conditions import check_condition
from proa.objects.gjson import MODIFIERS

PAGE = Path("docs/tuning-experiments.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
CONDITIONS = re.findall(r"\| `(status\..*?)` \|\n", PAGE)


def test_its_experiment_is_a_good_one():
    (experiment,) = [found for found in map(yaml.safe_load, BLOCKS) if found.get("kind") == "Experiment"]
    assert check_experiment(experiment) == []


@pytest.mark.parametrize("condition", CONDITIONS)
def test_its_conditions_can_be_followed(condition):
    assert check_condition(condition.replace(r"\|", "|"), "") == []


def test_it_names_every_field_that_matters_and_every_modifier():
    (version,) = orjson.loads(EXPERIMENTS_FILE.read_bytes())["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    names = {*spec["properties"], *_below(spec, "trialTemplate"), *_below(spec, "objective")}
    assert len(CONDITIONS) == 3
    assert not {name for name in names | {f"@{modifier}" for modifier in MODIFIERS} if name not in PAGE}


def _below(spec: Any, name: str) -> Any:
    return spec["properties"][name]["properties"]
