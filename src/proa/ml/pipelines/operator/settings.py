"""What an administrator may choose about how runs are carried out."""

from __future__ import annotations

from proa.objects.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """Seconds, unless a name says otherwise."""

    pods_of_a_run: int = 200
    """Unfinished pods that one run may have at a time; more steps wait."""
    pods_in_all: int = 1000
    """Unfinished pods of all runs together; those with the fewest come first."""
    status_seconds: float = 1.0
    """A Run object's status is written at most so often."""
    object_ttl_seconds: int = 3600
    """How long a finished run's object and pods stay where its pipeline does not say; its history stays for good."""
    cache_ttl_seconds: int = 0
    """How old a result may be to answer a task from the cache; 0 for any age."""
    stop_grace_seconds: int = 10
    """How long a container has to end when its task is stopped: most ignore SIGTERM, being the first of their pod."""
    log_bytes: int = 16 * 1024 * 1024
    """How much of a step's log is kept: its beginning."""
    longest_back_off: float = 30.0
    """Between attempts at what the API server or the database has refused."""
