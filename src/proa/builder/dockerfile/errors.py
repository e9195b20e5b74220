"""Say what is wrong in a Dockerfile: the file, the line, what was found, and what would work."""

from __future__ import annotations


class DockerfileError(Exception):
    """A Dockerfile asks for something that cannot be; `line` counts from 1, 0 is the file as a whole."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message
        self.path = "Dockerfile"

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}" if self.line else f"{self.path}: {self.message}"


def did_you_mean(word: str, known: list[str]) -> str:
    """Return " (did you mean X?)" where a known word is near, else ""."""
    import difflib  # errors alone need it

    near = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""
