"""What can go wrong with the database, for whoever turns it into an answer. Messages hold no passwords."""

from __future__ import annotations


class DatabaseError(Exception):
    """The family of what the database raises."""


class NotFound(DatabaseError):
    """There is no such record."""

    def __init__(self, kind: str, id: str) -> None:
        """Say which, in upstream's words."""
        super().__init__(f"{kind} {id} not found")


class AlreadyExists(DatabaseError):
    """Another record has the id or the name that must be unique."""


class Conflict(DatabaseError):
    """The record is not in a state in which that can be done; nothing was changed."""


class Invalid(DatabaseError):
    """What was asked for cannot be: a filter, a page token, a name that is too long."""


class Unavailable(DatabaseError):
    """The database does not answer or cannot write now; a write that was under way may or may not have been made."""


class CannotOpen(DatabaseError):
    """The database cannot be used at all: damaged, of a newer version, not allowed, a library is missing."""
