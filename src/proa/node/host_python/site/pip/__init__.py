"""Stand before the real pip: what is installed already is answered at once, all else is the real one's.

Only `python -m pip` comes to `__main__` here. Whoever imports pip gets the real one: its submodules are found by
`__path__`, its own names when they are asked for.
"""

from __future__ import annotations

import os
import sys


def _find_real() -> str:
    """Return the folder of the real pip: the next on the path, or the one that Python brings along; "" for none."""
    own = os.path.dirname(os.path.abspath(__file__))
    for folder in sys.path:
        found = os.path.join(folder, "pip")
        if folder and found != own and os.path.isfile(os.path.join(found, "__init__.py")):
            return found
    bundled = os.path.join(os.path.dirname(os.__file__), "ensurepip", "_bundled")
    wheels = (
        [name for name in os.listdir(bundled) if name.startswith("pip-")] if os.path.isdir(bundled) else []
    )
    return os.path.join(bundled, wheels[0], "pip") if wheels else ""


REAL = ""
"""The folder of the real pip, "" where there is none."""
if __name__ == "pip":
    REAL = _find_real()
    if REAL:
        __path__.append(REAL)
        __file__ = os.path.join(REAL, "__init__.py")  # beside it pip looks for what it runs to build packages

    def __getattr__(name: str) -> object:
        """Return a name of the real package (`__version__`, `main`)."""
        if name.startswith("__") and name != "__version__":
            raise AttributeError(name)
        from importlib.machinery import PathFinder
        from importlib.util import module_from_spec

        spec = PathFinder.find_spec("pip", [os.path.dirname(REAL)]) if REAL else None
        if spec is None or spec.loader is None:
            raise AttributeError(f"this Python has no pip, so there is no pip.{name}")
        real = module_from_spec(spec)
        spec.loader.exec_module(real)
        return getattr(real, name)
