"""Write src/proa/objects/schemas/kubernetes-<version>.json: what fields every built-in kind has, as facts only.

Writes src/proa/apiserver/resources/columns.json too: the API's description of each field that a column of
`kubectl get` shows, which clients see in Tables; it takes the fields from the `doc("...")` in that folder.

    .venv/bin/python tools/generate_schemas.py [--check]

Reads the development dependency `kubernetes-validate`, whose JSON Schemas come from Kubernetes' own OpenAPI, and
undoes what that package altered (`null` as a type, the enums of apiVersion and kind, `oneOf` for IntOrString and
Quantity). Prose is left out. `--check` writes nothing and exits 1 when the file is not what would be written.

The file: {"definitions": {NAME: [FIELDS, REQUIRED, FACTS]}, "kinds": {"apps/v1 Deployment": NAME}}.
FIELDS is null for a definition that is a scalar, which FACTS["type"] names. A field is a type, or [type, facts].
Types read like Go: `string`, `int32`, `[]string`, `{}bytes` (a map), or a definition's name.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import orjson

VERSION = "1.36"
ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "src/proa/objects/schemas" / f"kubernetes-{VERSION}.json"
RESOURCES = ROOT / "src/proa/apiserver/resources"
COLUMNS = RESOURCES / "columns.json"
SOURCE = (
    Path(kubernetes_validate.__file__).parent / f"kubernetes-json-schema/v{VERSION}.0-local/_definitions.json"
)
REFERENCE = "#/$defs/"
FACTS = {
    "x-kubernetes-patch-merge-key": "mergeKey",
    "x-kubernetes-patch-strategy": "patchStrategy",
    "x-kubernetes-list-type": "listType",
    "x-kubernetes-list-map-keys": "listMapKeys",
    "x-kubernetes-map-type": "mapType",
}
SCALARS = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "int-or-string",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": "time",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": "time",
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": "object",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Patch": "object",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "object",
}
FORMATS = {"int32": "int32", "int64": "int64", "double": "double", "byte": "bytes"}


def type_expression(node: dict[str, Any]) -> str:
    """Return a JSON Schema node's type as the file spells it."""
    if "$ref" in node:
        return str(node["$ref"]).removeprefix(REFERENCE)
    kinds = node.get("type")
    kind = next((k for k in kinds if k != "null"), None) if isinstance(kinds, list) else kinds
    if kind is None:
        return "any"
    if kind == "array":
        return "[]" + type_expression(node["items"])
    if kind == "object":
        return (
            "{}" + type_expression(node["additionalProperties"])
            if "additionalProperties" in node
            else "object"
        )
    if "format" in node:
        return FORMATS[node["format"]]
    return {"integer": "int64", "number": "double"}.get(str(kind), str(kind))


def facts_of(node: dict[str, Any]) -> dict[str, Any]:
    """Return what the node says about merging."""
    return {short: node[key] for key, short in FACTS.items() if key in node}


def field(node: dict[str, Any]) -> Any:
    """Return one field's entry."""
    facts = facts_of(node)
    return [type_expression(node), facts] if facts else type_expression(node)


def definition(name: str, node: dict[str, Any]) -> list[Any]:
    """Return one definition's entry."""
    if name in SCALARS:
        return [None, [], {"type": SCALARS[name]}]
    if "properties" not in node:
        return [None, [], {"type": "any"}] if "type" not in node else [{}, [], facts_of(node)]
    fields = {key: field(value) for key, value in sorted(node["properties"].items())}
    return [fields, sorted(node.get("required", [])), facts_of(node)]


def descriptions(source: dict[str, Any]) -> bytes:
    """Return columns.json."""
    wanted = {
        m for file in RESOURCES.rglob("*.py") for m in re.findall(r'doc\("(\w[\w.]+)"\)', file.read_text())
    }
    found = {}
    for field in sorted(wanted):
        owner, _, name = field.rpartition(".")
        prefix = "io.k8s.apimachinery.pkg.apis." if owner.startswith("meta.") else "io.k8s.api."
        found[field] = source[prefix + owner]["properties"][name]["description"]
    return orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def generate(source: dict[str, Any]) -> bytes:
    """Return the table of schemas."""
    definitions = {name: definition(name, node) for name, node in sorted(source.items())}
    kinds: dict[str, str] = {}
    for name, node in sorted(source.items()):
        names = node.get("x-kubernetes-group-version-kind", [])
        for gvk in (
            names if len(names) == 1 else []
        ):  # kinds that live in every group are named by their users
            kinds["/".join(filter(None, (gvk["group"], gvk["version"]))) + " " + gvk["kind"]] = name
    lines = ",\n".join(
        orjson.dumps(name).decode() + ":" + orjson.dumps(d).decode() for name, d in definitions.items()
    )
    return f'{{"definitions":{{\n{lines}\n}},\n"kinds":{orjson.dumps(kinds).decode()}\n}}\n'.encode()


def main() -> int:
    """Write the file, or compare it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 when the file is out of date"
    )
    arguments = parser.parse_args()
    source = orjson.loads(SOURCE.read_bytes())["$defs"]
    status = 0
    for file, data in ((TARGET, generate(source)), (COLUMNS, descriptions(source))):
        if arguments.check:
            status |= file.read_bytes() != data
        else:
            file.write_bytes(data)
            print(f"{file.relative_to(ROOT)}: {len(data)} bytes")
    return status


if __name__ == "__main__":
    sys.exit(main())
