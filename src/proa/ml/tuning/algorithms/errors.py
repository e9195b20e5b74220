"""What can go wrong with asking for suggestions; each message says what happened and what would help."""

from __future__ import annotations


class SuggestionError(Exception):
    """There are no suggestions. `kind` is its word on the worker's wire."""

    kind = "failed"


class UnknownAlgorithm(SuggestionError):
    """There is no such algorithm here; nothing but another name helps."""

    kind = "unknown-algorithm"


class PackageMissing(SuggestionError):
    """The algorithm needs a package that is not installed."""

    kind = "package-missing"


class AlgorithmFailed(SuggestionError):
    """The algorithm raised, answered with too much or was asked with too much; the same study fails again."""

    kind = "failed"


class WorkerLost(SuggestionError):
    """The worker process ended or did not answer in time; another request may well succeed."""

    kind = "lost"


class StudyForgotten(SuggestionError):
    """The worker does not have the revision of the study that it was told the changes of."""

    kind = "study-forgotten"


KINDS: dict[str, type[SuggestionError]] = {
    error.kind: error
    for error in (UnknownAlgorithm, PackageMissing, AlgorithmFailed, WorkerLost, StudyForgotten)
}
