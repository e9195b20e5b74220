"""Serve an application of the user's (FastAPI, Starlette, any ASGI), which answers what is not the server's own.

It is `--model_class=module:name`, by default `app` in app.py or main.py of the model's folder.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from proa.ml.serving.server.formats import files
from proa.ml.serving.server.formats.modules import load_object
from proa.ml.serving.server.formats.protocol import LoadOptions, ModelError, ModelMissing

_DEFAULT_MODULES = ("app", "main")
_NAME = "app"


def load(folder: Path, options: LoadOptions) -> Application:
    """Return the application; it is started, as ASGI's lifespan says, by the server."""
    word = options.settings.get("model_class") or _find_word(folder)
    application = load_object(folder, word)
    if not callable(application):
        raise ModelError(
            f"{word} is a {type(application).__name__}; expected an ASGI application, as FastAPI() is"
        )
    return Application(application)


class Application:
    """An ASGI application, as a model."""

    platform = "fastapi"

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app: Callable[..., Awaitable[Any]] = app

    def close(self) -> None:
        """Nothing is held: the server ends the lifespan."""


def _find_word(folder: Path) -> str:
    for module in _DEFAULT_MODULES:
        if (folder / f"{module}.py").is_file():
            return f"{module}:{_NAME}"
    raise ModelMissing(
        f"no application in {folder}: {files.describe(folder)}; expected app.py or main.py that has app"
    )
