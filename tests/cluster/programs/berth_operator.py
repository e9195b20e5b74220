"""An operator as users write them with kopf: Berths, each with a ConfigMap, a finalizer, and admission webhooks.

kopf run --namespace NAMESPACE berth_operator.py, with KUBECONFIG set. kopf serves the webhooks on the host's loopback
with the key and certificate in $SERVER_PEM, signed by $AUTHORITY_PEM, and writes the webhook configurations itself.
"""

import os
from typing import Any

import kopf
import kubernetes

GROUP, VERSION, PLURAL = "harbour.example", "v1", "berths"


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    kubernetes.config.load_kube_config()
    pem = os.environ["SERVER_PEM"]
    settings.admission.server = kopf.WebhookServer(
        addr="127.0.0.1",
        host="127.0.0.1",
        certfile=pem,
        pkeyfile=pem,
        cafile=os.environ["AUTHORITY_PEM"],
    )
    settings.admission.managed = "berths.harbour.example"
    settings.persistence.finalizer = "harbour.example/berth-operator"


@kopf.on.mutate(GROUP, VERSION, PLURAL, operations=["CREATE"])
def fill(spec: kopf.Spec, patch: kopf.Patch, **_: Any) -> None:
    if "depth" not in spec:
        patch.spec["depth"] = 3


@kopf.on.validate(GROUP, VERSION, PLURAL)
def check(spec: kopf.Spec, warnings: list[str], **_: Any) -> None:
    depth = spec.get("depth", 0)
    if depth > 30:
        raise kopf.AdmissionError(f"no berth is {depth} m deep", code=451)
    if depth > 20:
        warnings.append("that is a deep berth")


@kopf.on.create(GROUP, VERSION, PLURAL)
def make(name: str, namespace: str, spec: kopf.Spec, body: kopf.Body, **_: Any) -> dict[str, str]:
    chart = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{name}-chart"}}
    chart["data"] = {"depth": str(spec["depth"])}
    kopf.adopt(chart, owner=body)
    kubernetes.client.CoreV1Api().create_namespaced_config_map(namespace, chart)
    kopf.info(body, reason="Charted", message=f"the chart says {spec['depth']} m")
    return {"chart": f"{name}-chart"}


@kopf.on.update(GROUP, VERSION, PLURAL, field="spec.depth")
def change(name: str, namespace: str, new: int, patch: kopf.Patch, **_: Any) -> None:
    chart = {"data": {"depth": str(new)}}
    kubernetes.client.CoreV1Api().patch_namespaced_config_map(f"{name}-chart", namespace, chart)
    patch.status["charted"] = new


@kopf.on.delete(GROUP, VERSION, PLURAL)
def clear(name: str, namespace: str, **_: Any) -> None:
    farewell = {"metadata": {"name": f"{name}-farewell"}, "data": {"said": "fair winds"}}
    kubernetes.client.CoreV1Api().create_namespaced_config_map(namespace, farewell)
