"""A KubeletConfiguration says what this kubelet heeds; anything else in it is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proa.node.configuration import BadConfiguration, load_configuration, read_configuration
from proa.node.eviction.thresholds import Threshold

HEAD = {"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration"}


def test_a_file_says_what_changes(tmp_path: Path) -> None:
    file = tmp_path / "kubelet.yaml"
    file.write_text(
        "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
        "maxPods: 50\nevictionHard: {memory.available: 200Mi, nodefs.available: 5%}\n"
        "containerLogMaxSize: 1Mi\nimageMinimumGCAge: 1m30s\n"
    )
    assert load_configuration(str(file)) == {
        "max_pods": 50,
        "container_log_max_bytes": 1 << 20,
        "image_minimum_age_seconds": 90.0,
        "eviction_hard": (
            Threshold("memory.available", 200 << 20),
            Threshold("nodefs.available", share=0.05),
        ),
    }


def test_how_images_are_pulled_and_collected_can_be_told() -> None:
    told = {"serializeImagePulls": False, "maxParallelImagePulls": 3, "imageGCHighThresholdPercent": 70}
    assert read_configuration({**HEAD, **told, "imageGCLowThresholdPercent": 60}) == {
        "serialize_image_pulls": False,
        "max_parallel_image_pulls": 3,
        "image_gc_high_percent": 70,
        "image_gc_low_percent": 60,
    }


def test_no_threshold_at_all_is_one_too() -> None:
    assert read_configuration({**HEAD, "evictionHard": {}}) == {"eviction_hard": ()}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "not a mapping"),
        ({"kind": "KubeletConfiguration"}, "not a KubeletConfiguration of kubelet.config.k8s.io/v1beta1"),
        ({**HEAD, "maxPods": 0}, "maxPods: 0 must be a number from 1"),
        (
            {**HEAD, "clusterDNS": ["10.0.0.1"]},
            "clusterDNS: not a field that this kubelet heeds; it heeds cont",
        ),
        (
            {**HEAD, "evictionHard": {"pid.available": "10%"}},
            "evictionHard: pid.available: no such signal here",
        ),
        ({**HEAD, "evictionHard": {"memory.available": "lots"}}, "memory.available: 'lots' is neither"),
        ({**HEAD, "evictionHard": "memory.available<1Gi"}, "evictionHard: must map signals to quantities"),
        ({**HEAD, "imageGCHighThresholdPercent": 101}, "101 must be between 0 and 100, inclusive"),
        ({**HEAD, "imageGCHighThresholdPercent": 70}, "imageGCLowThresholdPercent: 80 must be below"),
        ({**HEAD, "containerLogMaxSize": "much"}, "containerLogMaxSize: "),
        ({**HEAD, "containerLogMaxFiles": 1}, "containerLogMaxFiles: must be 2 at least"),
        ({**HEAD, "imageMinimumGCAge": 5}, "imageMinimumGCAge: 5 must be a duration"),
        ({**HEAD, "serializeImagePulls": "no"}, "'no' must be true or false"),
    ],
    ids=[
        "a list",
        "another kind",
        "no pods",
        "unheeded",
        "no signal",
        "no quantity",
        "no map",
        "percent",
        "low above high",
        "log size",
        "log files",
        "age",
        "flag",
    ],
)
def test_what_cannot_be_carried_out_is_refused_with_its_path(document: Any, words: str) -> None:
    with pytest.raises(BadConfiguration, match=words):
        read_configuration(document)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match=r"nonesuch\.yaml: No such file or directory"):
        load_configuration(str(tmp_path / "nonesuch.yaml"))
