"""Tell servers of aggregated APIs whom to believe: clients by their certificates, and this server about others.

Follows pkg/controlplane/controller/clusterauthenticationtrust. The ConfigMap is brought to what is true at every start.
"""

from __future__ import annotations

import json

from proa.apiserver.bootstrap import ensure
from proa.apiserver.pki import FRONT_PROXY_CLIENT, Pki
from proa.client.protocol import Client
from proa.objects.resource import CONFIG_MAPS

NAMESPACE, NAME = "kube-system", "extension-apiserver-authentication"


async def publish_authentication(client: Client, pki: Pki) -> None:
    """Write the authorities, and the headers in which this server says who asks."""
    data = {
        "client-ca-file": pki.authority.certificate.read_text(),
        "requestheader-allowed-names": json.dumps([FRONT_PROXY_CLIENT]),
        "requestheader-client-ca-file": pki.front_proxy_authority.certificate.read_text(),
        "requestheader-extra-headers-prefix": json.dumps(["X-Remote-Extra-"]),
        "requestheader-group-headers": json.dumps(["X-Remote-Group"]),
        "requestheader-uid-headers": json.dumps(["X-Remote-Uid"]),
        "requestheader-username-headers": json.dumps(["X-Remote-User"]),
    }
    body = {"metadata": {"name": NAME, "namespace": NAMESPACE}, "data": data}
    await ensure(client, CONFIG_MAPS, body, NAMESPACE, ("data",))
