"""What exists is in the docs, and what the docs name exists."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

from proa.apiserver.admission import PLUGINS
from proa.cli import VERBS
from proa.controllers import make_controllers, make_server_controllers

ROOT = Path(__file__).parents[2]
ON_BY_DEFAULT = """
    CertificateApproval CertificateSigning CertificateSubjectRestriction ClusterTrustBundleAttest DefaultIngressClass
    DefaultStorageClass DefaultTolerationSeconds JobValidation LimitRanger MutatingAdmissionPolicy
    MutatingAdmissionWebhook NamespaceLifecycle NodeDeclaredFeatureValidator PersistentVolumeClaimResize
    PodGroupProtection PodGroupWorkloadExists PodResizeValidator PodSecurity PodTopologyLabels Priority ResourceQuota
    RuntimeClass ServiceAccount StorageObjectInUseProtection TaintNodesByCondition ValidatingAdmissionPolicy
    ValidatingAdmissionWebhook
"""
"""Admission plugins: DefaultOffAdmissionPlugins of pkg/kubeapiserver/options/plugins.go, turned around."""
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    broken = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_experiment_of_a_python_program_ends(page: Path) -> None:
    programs = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    calls = [
        {keyword.arg for keyword in node.keywords}
        for program in programs
        if ".tune(" in program
        for node in ast.walk(ast.parse(program))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "tune"
    ]
    assert all("max_trial_count" in keywords for keywords in calls)


@pytest.mark.parametrize("name", ON_BY_DEFAULT.split())
def test_an_admission_plugin_of_upstream_is_there_or_in_the_docs(name: str) -> None:
    (row,) = re.findall(
        r"^\| admission plugins \|.*", (ROOT / "docs/compatibility.md").read_text(), re.MULTILINE
    )
    is_there = name in {plugin.name for plugin in PLUGINS}
    assert is_there != bool(re.search(rf"\b{name}\b", row))


def test_every_controller_is_in_the_docs_and_no_other() -> None:
    page = (ROOT / "docs/compatibility.md").read_text()
    (listed,) = re.findall(
        r"^What `proa controllers --list` names.*?\): (.*?)\. Not yet", page, re.DOTALL | re.MULTILINE
    )
    alone, shared = (
        {name.split(" ")[0] for name in " ".join(part.split()).split(", ") if not name.startswith("of ")}
        for part in listed.split(". In every API server: ")
    )
    assert alone == {c.NAME for c in make_controllers()}
    assert shared == {c.NAME for c in make_server_controllers()}


def test_decisions_are_numbered_one_after_the_other_as_they_say_themselves() -> None:
    pages = sorted((ROOT / "docs/decisions").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    said = [re.match(r"# (\d+)\. ", page.read_text()) for page in pages]
    assert [int(found[1]) for found in said if found] == list(range(1, len(pages) + 1))


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_in_the_readme(verb: str) -> None:
    assert f"`proa {verb}" in (ROOT / "README.md").read_text()


def test_every_optional_dependency_that_the_docs_name_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {name for page in PAGES for name in re.findall(r"proa\[(\w+)\]", page.read_text())}
    assert named <= project["optional-dependencies"].keys()


def test_the_map_names_every_package_and_no_file_that_is_not_there() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    folders = [*(ROOT / "src/proa").iterdir(), *(ROOT / "src/proa/apiserver").iterdir()]
    packages = {p.name for p in folders if (p / "__init__.py").exists()}
    assert not {name for name in packages if f"{name}/" not in page}
    there = {p.name for p in (ROOT / "src/proa").rglob("*.py")}
    assert not {name for name in re.findall(r"\b(\w+\.py)\b", page) if name not in there}


def test_the_changelog_has_what_is_unreleased() -> None:
    assert "## Unreleased" in (ROOT / "CHANGELOG.md").read_text()
