"""Names of images are read as Docker reads them (distribution/reference: normalize_test.go)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.images.errors import InvalidReference
from proa.images.reference import parse

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.25", "docker.io/library/nginx:1.25"),
        ("docker.io/nginx", "docker.io/library/nginx:latest"),
        ("index.docker.io/library/nginx", "docker.io/library/nginx:latest"),
        ("team/app", "docker.io/team/app:latest"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("127.0.0.1:5000/a/b/c:v1", "127.0.0.1:5000/a/b/c:v1"),
        ("[::1]:5000/app", "[::1]:5000/app:latest"),
        ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10"),
        ("Registry/app", "Registry/app:latest"),
        ("a__b/c-d.e", "docker.io/a__b/c-d.e:latest"),
        (f"nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}"),
        (f"nginx:1.25@{DIGEST}", f"docker.io/library/nginx:1.25@{DIGEST}"),
    ],
)
def test_a_short_name_stands_for_a_whole_one(text: str, whole: str) -> None:
    assert str(parse(text)) == whole
    assert str(parse(parse(text).familiar)) == whole


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "invalid reference format"),
        ("nginx:", "invalid reference format"),
        ("a b", "invalid reference format"),
        ("-nginx", "invalid reference format"),
        ("a..b", "invalid reference format"),
        ("nginx@sha256:abc", "invalid reference format"),
        (f"nginx@sha256:{'a' * 40}", "invalid checksum digest length"),
        (f"nginx@md5:{'a' * 32}", "unsupported digest algorithm"),
        ("docker.io/Nginx", "invalid reference format: repository name (library/Nginx) must be lowercase"),
        ("nginx:" + "a" * 129, "invalid reference format"),
        ("a" * 64, f"invalid repository name ({'a' * 64}), cannot specify 64-byte hexadecimal strings"),
        ("x/" * 130 + "x", "repository name must not be more than 255 characters"),
    ],
)
def test_what_is_no_name_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidReference) as refused:
        parse(text)
    assert str(refused.value) == words


@given(st.text(alphabet="abz09.:/@_-A[]", max_size=40))
def test_a_name_that_is_read_means_the_same_when_it_is_read_again(text: str) -> None:
    try:
        found = parse(text)
    except InvalidReference:
        return
    assert parse(str(found)) == found
