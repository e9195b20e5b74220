"""Derive randomness of a study's seed and a trial's number alone, not of what was drawn before.

So a request that is repeated, after a crash or in another process, is answered the same.
"""

from __future__ import annotations

import hashlib
from random import Random

from proa.ml.tuning.records import Study

SETTING = "random_state"


def find_seed(study: Study) -> int:
    """Return the seed of the algorithm's settings, else the study's."""
    return int(study.settings.get(SETTING, study.seed))


def derive_seed(study: Study, *purpose: object) -> int:
    """Return 32 bits of this study, for a purpose: a trial's number, and what of it."""
    words = "/".join(map(str, (find_seed(study), *purpose)))
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:4])


def make_random(study: Study, *purpose: object) -> Random:
    """Return a generator of the standard library for a purpose."""
    return Random(derive_seed(study, *purpose))  # noqa: S311  not for secrets
