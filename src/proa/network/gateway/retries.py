"""Read which requests may be sent again, beside those that no backend has seen (which always are). Pure.

A rule's `retry` follows GEP-1731 (HTTPRouteRetry, of the experimental channel); a route's annotations say the same for
all of its rules with the standard channel, which has no such field.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proa.client.protocol import Object
from proa.network.gateway.durations import read_duration
from proa.network.gateway.filters import Unsupported
from proa.network.gateway.model import Retry
from proa.objects import meta

ON_ANNOTATION = "gateway.proa.local/retry-on"
ATTEMPTS_ANNOTATION = "gateway.proa.local/retry-attempts"
RESET = "reset"
MAX_ATTEMPTS = 10
MIN_CODE, MAX_CODE = 400, 599


def read_retry(route: Object, rule: Mapping[str, Any]) -> Retry:
    """Return what a rule says, else what its route's annotations say; raise Unsupported."""
    if (said := rule.get("retry")) is not None:
        codes = tuple(_code(code, "retry.codes") for code in said.get("codes") or ())
        attempts = _attempts(said.get("attempts", Retry().attempts), "retry.attempts")
        backoff = read_duration(said.get("backoff")) or Retry().backoff_seconds
        return Retry(on_reset=True, codes=codes, attempts=attempts, backoff_seconds=backoff)
    annotations = meta.annotations(route)
    words = [word.strip() for word in annotations.get(ON_ANNOTATION, "").split(",") if word.strip()]
    return Retry(
        on_reset=RESET in words,
        codes=tuple(_code(word, ON_ANNOTATION) for word in words if word != RESET),
        attempts=_attempts(annotations.get(ATTEMPTS_ANNOTATION, Retry().attempts), ATTEMPTS_ANNOTATION),
    )


def _code(given: Any, field: str) -> int:
    if not str(given).isdecimal() or not MIN_CODE <= int(given) <= MAX_CODE:
        words = f'"{RESET}" or a status of {MIN_CODE} to {MAX_CODE}' if field == ON_ANNOTATION else "a status"
        raise Unsupported(f"{field}: {given!r} is not {words}")
    return int(given)


def _attempts(given: Any, field: str) -> int:
    if not str(given).isdecimal() or int(given) > MAX_ATTEMPTS:
        raise Unsupported(f"{field}: {given!r} is not a number of 0 to {MAX_ATTEMPTS}")
    return int(given)
