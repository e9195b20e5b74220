"""What the API works with: the database, the cluster, artifacts, the clock."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

from proa.client.protocol import Client
from proa.ml.pipelines.api.access import Access
from proa.ml.pipelines.artifacts.choice import ArtifactStores
from proa.ml.pipelines.database.database import Database
from proa.objects.quick_dataclass import dataclass


def new_id() -> str:
    """Return a UUID."""
    return str(uuid.uuid4())


@dataclass(frozen=True, slots=True)
class Services:
    """All of it. `look_at` has a recurring run looked at soon."""

    database: Database
    client: Client
    access: Access
    stores: ArtifactStores
    look_at: Callable[[str], None]
    now: Callable[[], float] = time.time
    new_id: Callable[[], str] = new_id
