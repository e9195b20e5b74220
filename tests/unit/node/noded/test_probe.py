"""What this machine gives is found by trying, and a lack comes with its reason."""

from __future__ import annotations

import errno

from proa.node.noded import ladder
from proa.node.noded.probe import chosen_level, probe_features


def test_every_feature_has_an_answer() -> None:
    features = probe_features()
    assert {
        "root",
        "rootless",
        "rootless-subids",
        "overlay",
        "pod-network",
        "cgroup-memory",
        "netfilter",
    } <= set(features)
    assert all(isinstance(why, str) for why in features.values())
    level = chosen_level()
    assert level in ladder.LEVELS
    assert level == "process" or features[level] == ""


def test_a_refused_user_namespace_says_what_would_mend_it() -> None:
    words = ladder.user_namespace_mend(PermissionError(errno.EPERM, "Operation not permitted"))
    assert words.startswith("user namespaces are refused (Operation not permitted): ")
