"""Nobody gets a capability that was not asked for."""

from __future__ import annotations

from typing import Any

import pytest

from proa.node.noded.privileges import CAPABILITIES, DEFAULT_CAPABILITIES, Identity, capability_set, mask

EVERYTHING = frozenset(CAPABILITIES)


@pytest.mark.parametrize(
    ("privileged", "add", "drop", "expected"),
    [
        (False, [], [], DEFAULT_CAPABILITIES),
        (False, ["NET_ADMIN"], [], DEFAULT_CAPABILITIES | {"NET_ADMIN"}),
        (False, ["CAP_NET_ADMIN"], ["cap_chown"], DEFAULT_CAPABILITIES - {"CHOWN"} | {"NET_ADMIN"}),
        (False, [], ["ALL"], frozenset()),
        (False, ["NET_BIND_SERVICE"], ["ALL"], frozenset({"NET_BIND_SERVICE"})),
        (False, ["ALL"], ["SYS_ADMIN"], EVERYTHING - {"SYS_ADMIN"}),
        (False, ["NO_SUCH"], [], DEFAULT_CAPABILITIES),
        (True, [], ["ALL"], EVERYTHING),
    ],
    ids=["default", "one more", "prefixes", "none", "only one", "all but one", "unknown", "privileged"],
)
def test_capabilities(privileged: bool, add: list[str], drop: list[str], expected: frozenset[str]) -> None:
    assert capability_set(privileged, add, drop) == expected


def test_the_default_set_has_dockers_mask() -> None:
    assert mask(DEFAULT_CAPABILITIES) == 0xA80425FB


@pytest.mark.parametrize(
    ("security", "single_uid", "expected"),
    [
        ({}, False, (0, 0, [], False)),
        ({"run_as_user": 5, "supplemental_groups": [9, 7, 9]}, False, (5, 0, [7, 9], False)),
        ({"run_as_user": 5, "run_as_group": 6, "supplemental_groups": [7]}, True, (5, 6, [], True)),
        ({"run_as_user": 0}, True, (0, 0, [], False)),
    ],
    ids=["root", "a user with groups", "a user of a single-uid node", "root of a single-uid node"],
)
def test_identity(
    security: dict[str, Any], single_uid: bool, expected: tuple[int, int, list[int], bool]
) -> None:
    identity = Identity(security, single_uid=single_uid)
    assert (identity.uid, identity.gid, identity.groups, identity.nested) == expected


@pytest.mark.parametrize(
    ("security", "expected"),
    [
        ({}, False),
        ({"allow_privilege_escalation": False}, True),
        ({"allow_privilege_escalation": False, "privileged": True}, False),
    ],
    ids=["allowed by default", "forbidden", "privileged wins"],
)
def test_no_new_privileges(security: dict[str, Any], expected: bool) -> None:
    assert Identity(security, single_uid=False).no_new_privileges is expected
