"""Read a pod's imagePullSecrets: the API has them there already for pods whose service account has some.

Follows pkg/kubelet/kubelet_pods.go (getPullSecretsForPod) and credentialprovider/secrets.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from proa.client.protocol import Object
from proa.images.credentials import Credential, InvalidCredentials, read_secret
from proa.node.environment import Lookup
from proa.objects.errors import ApiError
from proa.objects.meta import namespace
from proa.objects.resource import SECRETS
from proa.reconcile.protocol import EventRecorder

logger = logging.getLogger(__name__)


class PullSecrets:
    """Reads them through the kubelet's view of Secrets; what cannot be had is an Event, and the pull goes on."""

    def __init__(self, lookup: Lookup, events: EventRecorder) -> None:
        self._lookup = lookup
        self._events = events

    async def __call__(self, pod: Object) -> Sequence[Credential]:
        """Return the credentials in the pod's Secrets, in order."""
        found: list[Credential] = []
        missing: list[str] = []
        for reference in pod["spec"].get("imagePullSecrets") or []:
            wanted = reference.get("name") or ""
            if not wanted:
                continue
            try:
                found += read_secret(await self._lookup(SECRETS, namespace(pod), wanted))
            except (ApiError, InvalidCredentials) as error:
                logger.info("pull secret not read secret=%s/%s error=%s", namespace(pod), wanted, error)
                missing.append(wanted)
        if missing:
            message = f"Unable to retrieve some image pull secrets ({', '.join(missing)}); "
            message += "attempting to pull the image may not succeed."
            self._events.event(pod, "Warning", "FailedToRetrieveImagePullSecret", message)
        return found
