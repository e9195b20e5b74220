"""Hold what the admission webhooks of one API server share: their configurations, and the client that calls them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proa.apiserver.webhooks.configurations import Configurations
from proa.apiserver.webhooks.resolver import ServiceResolver
from proa.objects.resource import MUTATING_WEBHOOK_CONFIGURATIONS, VALIDATING_WEBHOOK_CONFIGURATIONS

if TYPE_CHECKING:
    from proa.apiserver.registry.catalog import Catalog
    from proa.apiserver.webhooks.client import WebhookClient
    from proa.client.kubelet_api import KubeletDialer


class Webhooks:
    """`client` is made when the first webhook is called."""

    def __init__(self, catalog: Catalog, kubelet: KubeletDialer) -> None:
        self.mutating = Configurations(catalog, MUTATING_WEBHOOK_CONFIGURATIONS)
        self.validating = Configurations(catalog, VALIDATING_WEBHOOK_CONFIGURATIONS)
        self.resolver = ServiceResolver(catalog, kubelet)
        self._client: WebhookClient | None = None

    @property
    def client(self) -> WebhookClient:
        """Return the client that all webhooks are called with, conversion's too."""
        if self._client is None:
            from proa.apiserver.webhooks.client import WebhookClient

            self._client = WebhookClient(self.resolver)
        return self._client

    async def close(self) -> None:
        """Let go of connections."""
        if self._client is not None:
            await self._client.close()
