"""Nobody gets a capability that was not asked for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from proa.node.noded.privileges import (
    CAPABILITIES,
    DEFAULT_CAPABILITIES,
    Identity,
    UnknownUser,
    capability_set,
    mask,
)

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


PASSWD = "root:x:0:0:root:/root:/bin/sh\n1000:x:0:0::/:/bin/sh\nalice:x:1000:1001::/:/bin/sh\nodd line\n"
GROUP = "wheel:x:10:bob,alice\nstaff:x:50:bob\nalice:x:1001:\n"


@pytest.mark.parametrize(
    ("security", "single_uid", "expected"),
    [
        ({}, False, (0, 0, [0], False)),
        ({"run_as_user": 5, "supplemental_groups": [9, 7, 9]}, False, (5, 0, [0, 9, 7], False)),
        ({"run_as_user": 5, "run_as_group": 6, "supplemental_groups": [7]}, True, (5, 6, [], True)),
        ({"run_as_user": 0}, True, (0, 0, [], False)),
        ({"username": "alice", "supplemental_groups": [7]}, False, (1000, 1001, [1001, 10, 7], False)),
        ({"username": "alice:staff"}, False, (1000, 50, [50, 10], False)),
        ({"run_as_user": 1000, "strict_groups": True}, False, (1000, 1001, [1001], False)),
        ({"run_as_user": 1000, "username": "root", "run_as_group": 3}, False, (1000, 3, [3, 10], False)),
        ({"username": "1000", "strict_groups": True}, False, (1000, 1001, [1001], False)),
    ],
    ids=["root", "a user with groups", "a user of a single-uid node", "root of a single-uid node", "by name",
         "by names", "strict groups", "a number counts more than a name",
         "a number is no name"],
)  # fmt: skip
def test_identity(
    tmp_path: Path, security: dict[str, Any], single_uid: bool, expected: tuple[int, int, list[int], bool]
) -> None:
    identity = resolved(tmp_path, security, single_uid=single_uid)
    assert (identity.uid, identity.gid, identity.groups, identity.nested) == expected


@pytest.mark.parametrize("name", ["nobody-here", "alice:nothing"])
def test_a_user_that_the_image_has_not_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnknownUser, match="unable to find"):
        resolved(tmp_path, {"username": name}, single_uid=False)


@pytest.mark.parametrize("name", ["4294967295", "4294967296", "5:4294967295", "far"])
def test_a_number_by_which_the_kernel_would_leave_us_root_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text("far:x:4294967295:1::/:/bin/sh\n")
    with pytest.raises(UnknownUser, match="must be in range 0-2147483647"):
        resolved(tmp_path, {"username": name}, single_uid=False)


def test_links_in_an_image_do_not_lead_to_the_hosts_users(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").symlink_to("/../../../../../../etc/passwd")
    identity = resolved(tmp_path, {"run_as_user": 0}, single_uid=False)
    assert identity.groups == [0]


def resolved(folder: Path, security: dict[str, Any], *, single_uid: bool) -> Identity:
    if not (folder / "etc").exists():
        (folder / "etc").mkdir()
        (folder / "etc" / "passwd").write_text(PASSWD)
        (folder / "etc" / "group").write_text(GROUP)
    identity = Identity(security, single_uid=single_uid)
    root = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        identity.resolve(root)
    finally:
        os.close(root)
    return identity


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
