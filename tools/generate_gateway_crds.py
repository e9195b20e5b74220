"""Write src/proa/network/gateway/crds.json: Gateway API's definitions of the standard channel, without their prose.

Run it on a checkout of a release of https://github.com/kubernetes-sigs/gateway-api (Apache-2.0):
    python tools/generate_gateway_crds.py <checkout> v1.6.1
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

KINDS = ("gatewayclasses", "gateways", "grpcroutes", "httproutes", "referencegrants")
TARGET = Path(__file__).parents[1] / "src/proa/network/gateway/crds.json"


def main() -> None:
    """Read the definitions and write them."""
    checkout, release = Path(sys.argv[1]), sys.argv[2]
    folder = checkout / "config/crd/standard"
    items = []
    for kind in KINDS:
        crd = without_prose(yaml.safe_load((folder / f"gateway.networking.k8s.io_{kind}.yaml").read_text()))
        found = crd["metadata"]["annotations"]["gateway.networking.k8s.io/bundle-version"]
        if found != release:
            raise SystemExit(f"{kind} is of {found}, not of {release}")
        crd.pop("status", None)
        items.append(crd)
    said = {
        "source": f"https://github.com/kubernetes-sigs/gateway-api {release} config/crd/standard",
        "license": "Apache-2.0",
        "release": release,
    }
    lines = ",\n".join(json.dumps(item, separators=(",", ":"), sort_keys=True) for item in items)
    TARGET.write_text(f'{json.dumps(said)[:-1]}, "items": [\n{lines}\n]}}\n')


def without_prose(value: Any) -> Any:
    """Return a definition without descriptions of its fields."""
    if isinstance(value, dict):
        return {
            k: without_prose(v) for k, v in value.items() if not (k == "description" and isinstance(v, str))
        }
    return [without_prose(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
