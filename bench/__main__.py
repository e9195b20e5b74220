"""Print each figure beside its baseline, both measured in this run: `python3 dev bench [--quick] [NAME...]`.

A benchmark is a file here with `run(quick: bool) -> list[dict]`; a row has name, value, unit, baseline (what it is
compared with), baseline_value and ratio (how many times better than the baseline; above 1 is better).
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
BENCHES = {
    "start": "how long until a cluster is ready, and what it uses when idle",
    "api": "what the API server does a second, and its processor time a request",
    "watchers": "how a watch grows from 1 to 5,000 watchers",
    "authorization": "what RBAC costs a request",
    "audit": "what the audit log costs a request",
    "custom_resources": "how long until a new kind takes objects, and what they cost",
    "pods": "how fast pods run, and 200 replicas",
    "store_writes": "durable writes a second",
    "store_scale": "how the store grows from 1,000 to 100,000 objects",
    "cluster_scale": "how a whole cluster grows from 1,000 to 100,000 objects",
    "control_plane": "what pods cost the control plane: memory, at rest, Deployments of 1,000",
    "scheduler_throughput": "pods placed a second",
    "container_start": "how fast a container starts",
    "image_pull": "what pulling and unpacking a layer of 70 MB costs",
    "image_build": "what a build of a Dockerfile costs",
    "service_relay": "what a userspace service costs a request",
    "gateway": "what a route through Envoy costs, and how quick its changes are",
    "network_policies": "what a pod's change costs network policies",
    "pipelines_history": "what a page of past pipeline runs costs, with 100 and 10,000 of them",
    "pipelines_runs": "what a step of a pipeline costs: 50 one after another, 100 side by side, 1,000",
    "pipelines_planner": "what an event costs the planner of a pipeline run, with 10 and 10,000 tasks",
    "tuning_trials": "what a trial costs: 20 one after another, 500 with 16 at a time",
    "serving": "what a prediction costs, beside KServe's and MLServer's own servers",
    "serving_path": "what the gateway costs before a model, beside the least that Envoy costs",
    "serving_agent": "what the agent costs before anybody's container",
    "suggestions": "what a suggestion for an experiment costs, with 100 and 10,000 observations",
}


def main() -> int:
    """Run the benchmarks asked for, one after another."""
    names = "\n".join(f"  {name:<22} {text}" for name, text in BENCHES.items())
    parser = argparse.ArgumentParser(
        prog="dev bench",
        description=__doc__,
        epilog=names,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="*", help="which (default: all)")
    parser.add_argument("--quick", action="store_true", help="smaller and noisier")
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text", help="how to print")
    options = parser.parse_args()
    unknown = [name for name in options.name if name not in BENCHES]
    if unknown:
        parser.error(f"{unknown[0]}: there is {', '.join(BENCHES)}")
    rows = []
    for name in options.name or BENCHES:
        if options.output == "text":
            print(f"\n{name}: {BENCHES[name]}", flush=True)
        found = importlib.import_module(name).run(options.quick)
        rows += found
        for row in found if options.output == "text" else ():
            print(format_row(row), flush=True)
    if options.output == "json":
        print(json.dumps(rows, indent=2))
    return 0


def format_row(row: dict) -> str:
    """Return one line: the figure, its baseline and how they compare."""
    line = f"  {row['name']:<44} {row['value']:>10.4g} {row['unit']:<10}"
    if row.get("baseline"):
        line += f" {row['ratio']:>7.2f}x  of {row['baseline']} ({row['baseline_value']:.4g})"
    return line


if __name__ == "__main__":
    sys.exit(main())
