"""What the API works with: the database, the cluster, artifacts, the clock."""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable

from proa.client.protocol import Client
from proa.ml.pipelines.api.access import Access
from proa.ml.pipelines.artifacts.protocol import ArtifactStore
from proa.ml.pipelines.database.database import Database
from proa.objects.quick_dataclass import dataclass


def new_id() -> str:
    """Return a UUID."""
    return str(uuid.uuid4())


@dataclass(frozen=True, slots=True)
class Services:
    """All of it. `artifacts` finds a namespace's store; `look_at` has a recurring run looked at soon."""

    database: Database
    client: Client
    access: Access
    artifacts: Callable[[str], Awaitable[ArtifactStore]]
    look_at: Callable[[str], None]
    now: Callable[[], float] = time.time
    new_id: Callable[[], str] = new_id
