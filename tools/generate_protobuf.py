"""Write src/proa/apiserver/protobuf/kubernetes-<version>.json: the field numbers of the built-in kinds, as facts only.

Writes src/proa/objects/schemas/omitted-<version>.json too: {DEFINITION: [FIELDS]}, the scalars that Go leaves out of
JSON where they are zero (omitempty, and no pointer).

    .venv/bin/python tools/generate_protobuf.py DIRECTORY

DIRECTORY holds the Go packages `api`, `apimachinery`, `apiextensions-apiserver` and `kube-aggregator` of `k8s.io`, at
the release that the table is of. The numbers, and what JSON calls each field, stand in the tags of the Go structs;
numbers never change from one version to the next.

The file: {MESSAGE: [[NUMBER, JSON NAME, TYPE, FLAGS], ...]} for the messages that kubernetes-<version>.json names and
those that they refer to. Types read like Go: `string`, `int32`, `[]string`, `{}bytes` (a map), a message's name; before
the name of JSONSchemaProps may stand what it may be instead: `orArray:`, `orBool:`, `orStrings:`. FLAGS: "p" the field
is a pointer, so that a zero was meant; "z" a zero is shown in JSON (no omitempty); "i" its fields stand inline in JSON.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import orjson

VERSION = "1.36"
ROOT = Path(__file__).resolve().parent.parent
SCHEMAS = ROOT / "src/proa/objects/schemas" / f"kubernetes-{VERSION}.json"
TARGET = ROOT / "src/proa/apiserver/protobuf" / f"kubernetes-{VERSION}.json"
OMITTED = ROOT / "src/proa/objects/schemas" / f"omitted-{VERSION}.json"
META = "io.k8s.apimachinery.pkg.apis.meta.v1"
PARTIAL = [f"{META}.PartialObjectMetadata", *(f"{META}{v}.PartialObjectMetadataList" for v in ("", "beta1"))]
"""Shapes of objects, which are no kinds of their own."""
EXTENSIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1"
UNIONS = {
    f"{EXTENSIONS}.JSONSchemaPropsOr{other}": f"or{prefix}:{EXTENSIONS}.JSONSchemaProps"
    for other, prefix in (("Array", "Array"), ("Bool", "Bool"), ("StringArray", "Strings"))
}
FOLDERS = (
    "api/*/*/*.go",
    "apimachinery/pkg/**/*.go",
    "apiextensions-apiserver/pkg/apis/apiextensions/v1/*.go",
    "kube-aggregator/pkg/apis/apiregistration/v1/*.go",
)
SCALARS = {
    f"{META}.Time": "time",
    f"{META}.MicroTime": "microTime",
    f"{META}.Duration": "duration",
    f"{META}.FieldsV1": "json",
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "intOrString",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "json",
    f"{EXTENSIONS}.JSON": "json",
    "io.k8s.apimachinery.pkg.types.UID": "string",
    "io.k8s.apimachinery.pkg.types.NodeName": "string",
}
GO_SCALARS = {
    "string": "string", "bool": "bool", "int": "int64", "int32": "int32", "int64": "int64", "uint8": "int32",
    "uint32": "int64", "float64": "double", "[]byte": "bytes",
}  # fmt: skip
SHOWN_SCALARS = {"string", "bool", "int32", "int64", "double"}
IMPORT = re.compile(r'^\s*(?:import\s+)?(?:(\w+)\s+)?"(k8s\.io/[^"]+)"', re.M)
STRUCT = re.compile(r"^type (\w+) struct ?\{(?:\}|\n(.*?)^\})", re.M | re.S)
ALIAS = re.compile(r"^type (\w+) =? ?((?:\[\]|map\[|\w)[^\s{]*)\s*$", re.M)
FIELD = re.compile(r"^\s+(?:(\w+)\s+)?(\S+)\s+`([^`]*)`", re.M)
TAG = re.compile(r'(\w+):"([^"]*)"')

Message = list[list[object]]


class Packages:
    """Every struct and type name of the Go packages below a directory."""

    def __init__(self, directory: Path) -> None:
        self.structs: dict[str, str] = {}
        self.aliases: dict[str, str] = {}
        self.imports: dict[str, dict[str, str]] = {}
        for file in (file for folder in FOLDERS for file in sorted(directory.glob(folder))):
            if not file.name.startswith(("zz_", "generated")) and not file.name.endswith("_test.go"):
                self._read(file, _dotted(str(file.parent.relative_to(directory.parent))))

    def _read(self, file: Path, package: str) -> None:
        text = file.read_text()
        known = self.imports.setdefault(package, {})
        for alias, path in IMPORT.findall(text):
            known[alias or path.rpartition("/")[2]] = _dotted(path)
        self.structs |= {f"{package}.{name}": body for name, body in STRUCT.findall(text)}
        self.aliases |= {f"{package}.{name}": target for name, target in ALIAS.findall(text)}

    def expression(self, go_type: str, package: str) -> str:
        """Return a Go type as the file spells it."""
        go_type = go_type.removeprefix("*")
        if go_type in GO_SCALARS:
            return GO_SCALARS[go_type]
        if go_type.startswith("[]"):
            return "[]" + self.expression(go_type[2:], package)
        if go_type.startswith("map["):
            return "{}" + self.expression(go_type.partition("]")[2], package)
        prefix, _, name = go_type.rpartition(".")
        home = self.imports[package][prefix] if prefix else package
        full = f"{home}.{name}"
        if known := SCALARS.get(full) or UNIONS.get(full):
            return known
        if full in self.aliases:
            expression = self.expression(self.aliases[full], home)
            # A named list is a message of its own on the wire: repeated field 1.
            return f"[]items:{expression[2:]}" if expression.startswith("[]") else expression
        if full not in self.structs:
            raise KeyError(f"{go_type} in {package}: no such type")
        return full

    def message(self, name: str) -> Message:
        """Return the numbered fields of a struct."""
        package = name.rpartition(".")[0]
        fields: Message = []
        for _, go_type, tags in FIELD.findall(self.structs[name]):
            tag = dict(TAG.findall(tags))
            parts = tag.get("protobuf", "-").split(",")
            if parts[0] == "-":
                continue
            json_name, _, options = tag.get("json", "").partition(",")
            flags = ("i" if "inline" in options else "") + ("p" if go_type.startswith("*") else "")
            expression = self.expression(go_type, package)
            if expression in SHOWN_SCALARS and not flags and "omitempty" not in options:
                flags = "z"
            if "rep" in parts and expression.startswith("[]items:"):  # a named list that is none on the wire
                expression = expression.replace("items:", "", 1)
            fields.append([int(parts[1]), json_name, expression, flags])
        return sorted(fields, key=lambda field: int(str(field[0])))

    def omitted(self, name: str) -> list[str]:
        """Return the JSON names of a struct's scalars that are left out where they are zero."""
        package = name.rpartition(".")[0]
        found: list[str] = []
        for _, go_type, tags in FIELD.findall(self.structs[name]):
            tag = dict(TAG.findall(tags))
            json_name, _, options = tag.get("json", "").partition(",")
            if tag.get("protobuf", "-") == "-" or go_type.startswith("*"):
                continue
            expression = self.expression(go_type, package)
            if "inline" in options:
                found += self.omitted(expression)
            elif "omitempty" in options and expression in GO_SCALARS.values():
                found.append(json_name)
        return sorted(found)


def _dotted(path: str) -> str:
    return "io.k8s." + path.removeprefix("k8s.io/").replace("/", ".")


def main() -> int:
    """Write the file."""
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    packages = Packages(Path(sys.argv[1]).resolve())
    wanted = [name for name in orjson.loads(SCHEMAS.read_bytes())["definitions"] if name in packages.structs]
    omitted = {name: found for name in sorted(wanted) if (found := packages.omitted(name))}
    wanted += PARTIAL
    messages: dict[str, Message] = {}
    while wanted:
        name = wanted.pop()
        if name in messages or name in SCALARS or name in UNIONS:
            continue
        messages[name] = packages.message(name)
        for field in messages[name]:
            referred = re.sub(r"^(\[\](items:)?|\{\}|or\w+:)+", "", str(field[2]))
            wanted += [referred] if referred in packages.structs else []
    for file, table in ((TARGET, messages), (OMITTED, omitted)):
        lines = [
            f"{orjson.dumps(name).decode()}:{orjson.dumps(table[name]).decode()}" for name in sorted(table)
        ]
        file.write_text("{\n" + ",\n".join(lines) + "\n}\n")
        print(f"{len(table)} entries -> {file.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
