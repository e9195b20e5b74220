"""Every kind of metrics collector in real pods, beside trainings of milliseconds."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from support.clusters import Cluster
from support.experiments import Object, apply, make_container, make_experiment, make_job, trials, wait

pytestmark = pytest.mark.cluster

COLLECTOR = "metrics-logger-and-collector"
EVENTS = base64.b64encode(
    bytes.fromhex(
        "1c0000000000000045f4b9fc"  # a record of 28 bytes
        "0900000000000014402a110a0f0a0573636f7265150000003f"
    )
).decode()
SERVE = """
import http.server, sys, threading, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(f"score {sys.argv[1]}\\n".encode()); asked.set()
    def log_message(self, *a): pass
asked = threading.Event()
server = http.server.HTTPServer(("", 9000), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
asked.wait(30); time.sleep(0.2)
"""
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 1234,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def collect(kind: str, **source: Any) -> Object:
    return {"metricsCollectorSpec": {"collector": {"kind": kind}, **({"source": source} if source else {})}}


def kept(**template: Any) -> Object:
    return {"trialTemplate": {"retain": True, **template}}
