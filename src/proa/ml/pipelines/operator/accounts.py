"""See that namespaces have the account that steps run as, which may do there what upstream's pipeline-runner may.

The rules are the cluster role's (authorization/policy/proa.json): upstream's of
manifests/kustomize/base/pipeline/pipeline-runner-role.yaml, without Argo's and Seldon's kinds and without
PersistentVolumes, which are in no namespace. It is bound in the namespace alone, so that nothing of another one is
within a step's reach; and as it is a cluster role, the operator need not have what steps have: it may bind this one.
"""

from __future__ import annotations

from contextlib import suppress

from proa.client.protocol import Client, Object
from proa.objects.errors import AlreadyExists, NotFound
from proa.objects.resource import ROLE_BINDINGS, SERVICE_ACCOUNTS, Resource

NAME = "pipeline-runner"
ROLE = "system:proa:pipeline-runner"


class Accounts:
    """The accounts of all namespaces."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def ensure(self, namespace: str, account: str) -> None:
        """Make account and binding unless the account is there: who has changed what it may do did so on purpose.

        Another account than pipeline-runner is its user's affair.
        """
        if account not in ("", NAME):
            return
        try:
            await self._client.get(SERVICE_ACCOUNTS, NAME, namespace)
            return
        except NotFound:
            pass
        role = {"apiGroup": ROLE_BINDINGS.group, "kind": "ClusterRole", "name": ROLE}
        subject = {"kind": "ServiceAccount", "name": NAME, "namespace": namespace}
        binding = {"roleRef": role, "subjects": [subject]}
        await self._ensure(ROLE_BINDINGS, binding, NAME, namespace)
        await self._ensure(SERVICE_ACCOUNTS, {}, NAME, namespace)

    async def _ensure(self, resource: Resource, content: Object, name: str, namespace: str) -> None:
        head = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}}
        with suppress(AlreadyExists):
            await self._client.create(resource, {**head, **content}, namespace)
