"""Let anything that has a part in a request say something beside its answer: warnings, and notes for the audit log.

The filter `with_notes` opens a list for each request; `warn` finds it by context, as upstream's warning.AddWarning and
audit.AddAuditAnnotation do (apiserver/pkg/warning/context.go). Outside of a request nothing is kept.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import field

from proa.objects.quick_dataclass import dataclass


@dataclass(slots=True)
class Notes:
    """What was said during one request. Warnings reach the client as Warning headers, each text once."""

    warnings: list[str] = field(default_factory=list)
    audit_annotations: dict[str, str] = field(default_factory=dict)
    is_audited: bool = False
    """Whether there will be an audit event: what costs more than a note is left out otherwise."""
    audits_bodies: bool = False
    """Whether the event may show what is in objects, Secrets too: its level is above Metadata."""
    panic: str = ""
    """The error that nobody expected, where there was one."""


NOTES: ContextVar[Notes | None] = ContextVar("NOTES", default=None)


def warn(text: str) -> None:
    """Warn the client of this request."""
    notes = NOTES.get()
    if notes is not None and text not in notes.warnings:
        notes.warnings.append(text)


def annotate_audit(key: str, value: str, *, holds_body: bool = False) -> None:
    """Note something in this request's audit event; the first word on a key stands.

    What `holds_body`, a part of an object, is noted where the event may show bodies alone.
    """
    notes = NOTES.get()
    if notes is not None and (notes.audits_bodies or not holds_body):
        notes.audit_annotations.setdefault(key, value)
