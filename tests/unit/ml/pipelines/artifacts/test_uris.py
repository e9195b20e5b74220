"""Artifacts' URIs: what is read, what is refused, and where containers find them."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.ml.pipelines.artifacts import uris
from proa.ml.pipelines.artifacts.protocol import ArtifactError


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("minio://mlpipeline/v2/artifacts/p/r/t/model", "/minio/mlpipeline/v2/artifacts/p/r/t/model"),
        ("s3://bucket/a b/ü", "/s3/bucket/a b/ü"),
        ("gs://bucket/key/", "/gcs/bucket/key"),
        ("oci://registry/org/model:v1", "/oci/registry_org_model:v1/models"),
        ("https://example.com/data.csv", ""),
        ("data.csv", ""),
    ],
)
def test_a_container_finds_an_artifact_where_the_sdk_says(uri: str, path: str) -> None:
    assert uris.local_path(uri) == path


@pytest.mark.parametrize(
    "uri",
    [
        "minio://mlpipeline/../other",
        "minio://mlpipeline/a/./b",
        "minio://mlpipeline//a",
        "minio://../a",
        "minio:///a",
        "minio://.proa/a",
        "minio://b/a\0b",
        "minio://b/a\nb",
        "file:///etc/passwd",
        "/etc/passwd",
        "https://example.com",
        "MINIO://b/a",
        "minio://b/" + "a" * 256,
        "minio://b/" + "a/" * 65 + "a",
        "minio://b/" + "a" * 3000,
        "",
    ],
)
def test_what_leads_elsewhere_is_refused(uri: str) -> None:
    with pytest.raises(ArtifactError, match="artifact URI"):
        uris.parse(uri)


def test_a_query_of_a_root_is_kept_apart() -> None:
    root = uris.parse("s3://bucket/root?region=us-east-1&endpoint=host:1")

    assert (root.key, root.query) == ("root", "region=us-east-1&endpoint=host:1")
    assert str(root) == "s3://bucket/root"


def test_an_attempt_has_a_folder_of_its_own() -> None:
    root = uris.make_task_root("minio://b/root/", "my pipe/line", "run", "train", "salt")

    assert root == "minio://b/root/my-pipe-line/run/train/salt"
    assert uris.make_run_root("minio://b/root/", "my pipe/line", "run") == "minio://b/root/my-pipe-line/run"
    assert uris.make_salt("run", "a", 0) == uris.make_salt("run", "a", 0) != uris.make_salt("run", "a", 1)


def test_only_the_namespace_says_how_to_reach_a_bucket() -> None:
    with pytest.raises(ArtifactError, match="leave out the query"):
        uris.make_task_root("s3://b/root?endpoint=elsewhere", "pipe", "run", "train", "salt")


def test_within_goes_by_whole_names() -> None:
    root = uris.parse("minio://b/run")

    assert uris.parse("minio://b/run/x").is_within(root)
    assert not uris.parse("minio://b/run2/x").is_within(root)
    assert not uris.parse("s3://b/run/x").is_within(root)


@given(st.text(max_size=40), st.text(max_size=20))
def test_no_name_leads_out_of_the_root(pipeline: str, task: str) -> None:
    made = uris.parse(uris.make_task_root("minio://b/root", pipeline, "run", task, "salt"))

    assert made.key.startswith("root/")
    assert posixpath.normpath(made.local_path) == made.local_path
    assert len(made.parts) == 5


@given(st.text(min_size=1, max_size=60))
def test_whatever_is_read_stays_below_its_bucket(text: str) -> None:
    try:
        found = uris.parse("minio://bucket/" + text)
    except ArtifactError:
        return
    assert posixpath.normpath(found.local_path).startswith("/minio/bucket")
    assert uris.uri_of_path(found.local_path) == str(found)
