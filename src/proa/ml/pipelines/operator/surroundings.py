"""What the workers of all runs share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from proa.client.protocol import Client
from proa.ml.pipelines.executor.pod import PodSettings
from proa.ml.pipelines.operator.settings import OperatorSettings
from proa.ml.pipelines.operator.slots import PodSlots
from proa.objects.quick_dataclass import dataclass
from proa.reconcile.informer import Informer
from proa.reconcile.protocol import EventRecorder

if TYPE_CHECKING:
    from proa.ml.pipelines.artifacts.choice import ArtifactStores
    from proa.ml.pipelines.database.database import Database
    from proa.ml.pipelines.operator.accounts import Accounts


@dataclass(frozen=True, slots=True)
class Surroundings:
    """`now` returns seconds since the epoch; `pods` and `runs` are followed already."""

    client: Client
    database: Database
    stores: ArtifactStores
    events: EventRecorder
    pods: Informer
    runs: Informer
    slots: PodSlots
    accounts: Accounts
    settings: OperatorSettings
    pod_settings: PodSettings
    now: Callable[[], float]
