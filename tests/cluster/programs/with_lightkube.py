"""What a user of lightkube does; a process of its own, since lightkube's synchronous client cannot be closed.

python with_lightkube.py KUBECONFIG NAMESPACE
"""

import sys

import lightkube
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Pod
from lightkube.types import PatchType

POD = {
    "metadata": {"name": "log"},
    "spec": {
        "restartPolicy": "Never",
        "containers": [
            {"name": "main", "image": "proa.local/python", "command": ["python", "-c", "print('ready')"]}
        ],
    },
}


def main(kubeconfig: str, namespace: str) -> None:
    config = lightkube.KubeConfig.from_file(kubeconfig)
    api = lightkube.Client(config=config, namespace=namespace, field_manager="harbour")
    applied = api.apply(ConfigMap(metadata=ObjectMeta(name="chart", labels={"a": "b"}), data={"depth": "3"}))
    print(applied.metadata.managedFields[0].operation)
    print(api.patch(ConfigMap, "chart", {"data": {"depth": "4"}}, patch_type=PatchType.MERGE).data["depth"])
    try:
        other = ConfigMap(metadata=ObjectMeta(name="chart"), data={"depth": "5"})
        api.apply(other, field_manager="other")
    except lightkube.ApiError as refused:
        print(refused.status.code, refused.status.reason)
    api.create(Pod.from_dict(POD))
    for _, pod in api.watch(Pod, fields={"metadata.name": "log"}):
        if pod.status.phase == "Succeeded":
            break
    print("".join(api.log("log")).strip())
    print(list(api.list(Deployment)))


main(*sys.argv[1:])
