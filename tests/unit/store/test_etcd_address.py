"""Where `--store` leads, and which choices a home that exists allows."""

from __future__ import annotations

from pathlib import Path

import pytest

from proa.store.choice import choose
from proa.store.etcd_address import EtcdAddress, parse_etcd_address
from proa.store.etcd_format import KeySpace, pack, unpack
from proa.store.protocol import CannotOpen


@pytest.mark.parametrize(("text", "address"), [
    ("etcd://a", EtcdAddress(("http://a:2379",))),
    ("etcd://a:1,b,[::1]:3/x/y/", EtcdAddress(("http://a:1", "http://b:2379", "http://[::1]:3"), "/x/y")),
    ("etcds://a?ca=/ca&cert=/c&key=/k", EtcdAddress(("https://a:2379",), "/proa", "/ca", "/c", "/k")),
])  # fmt: skip
def test_an_address_names_members_prefix_and_keys(text: str, address: EtcdAddress) -> None:
    assert parse_etcd_address(text) == address


@pytest.mark.parametrize(("text", "words"), [
    ("http://a", r"a store is log, etcd://HOST"), ("etcd://", "is no HOST"), ("etcd://a:0", "is no HOST"),
    ("etcd://a,", "is no HOST"), ("etcd://a:99999", "is no HOST"), ("etcd://u:p@a", "is no HOST"),
    ("etcd://a?ca=/x", "begin with etcds"), ("etcds://a?x=1", "unknown option x"),
    ("etcds://a?key=/k", "add cert=FILE"),
])  # fmt: skip
def test_what_is_no_address_is_refused_with_words(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_etcd_address(text)


@pytest.mark.parametrize(("kept", "wanted", "is_log_there", "chosen"), [
    ("", None, False, ""), ("", "log", False, ""), ("", "etcd://a", False, "etcd://a"),
    ("", None, True, ""), ("", "log", True, ""), ("", "etcd://a", True, None),
    ("etcd://a", None, False, "etcd://a"), ("etcd://a", "etcd://b", False, "etcd://b"),
    ("etcd://a", "etcd://a/other", False, None), ("etcd://a", "log", False, None),
])  # fmt: skip
def test_a_home_keeps_the_store_that_it_was_made_with(
    tmp_path: Path, kept: str, wanted: str | None, is_log_there: bool, chosen: str | None
) -> None:
    directory = tmp_path / "store"
    if is_log_there:
        directory.mkdir()
    if chosen is not None:
        assert choose(kept, wanted, directory) == chosen
        return
    with pytest.raises(CannotOpen, match="this home was made with"):
        choose(kept, wanted, directory)


@pytest.mark.parametrize(
    "key", ["", "/", "a", "/registry/core/pods/d/p", "=", "/=a", "/!head", "!head", "é/1", "//"]
)
def test_every_key_has_a_place_of_its_own_in_etcd(key: str) -> None:
    space = KeySpace("/proa")
    name = space.encode(key)
    assert space.decode(name) == key
    assert space.begin <= name < space.end
    assert name not in (space.head, space.server)


def test_a_prefix_has_nothing_of_its_neighbours() -> None:
    neighbour = KeySpace("/proa2").encode("/a")
    space = KeySpace("/proa")
    assert not space.begin <= neighbour < space.end


@pytest.mark.parametrize("stored", [b"", b"\n", b"x\ny", b"k8s\x00\n", b"1"])
def test_what_is_no_stored_value_is_refused(stored: bytes) -> None:
    with pytest.raises(CannotOpen, match="not one that proa wrote"):
        unpack(stored, 1)


def test_digits_in_an_object_are_never_taken_for_the_revision() -> None:
    body = b'{"rv":"%d","data":"1000000000000000000 999999999999999999"}'
    assert unpack(pack(lambda revision: body % revision), 7) == body % 7
