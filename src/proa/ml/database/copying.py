"""Copy a database file that is in use: as of one moment, while its writer goes on."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from proa.ml.database.errors import CannotOpen
from proa.ml.database.sqlite import BUSY_SECONDS


@contextmanager
def copied(path: Path) -> Iterator[IO[bytes]]:
    """Open a copy that is gone after the block; it needs as much room beside the file. Raises CannotOpen."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".backup-") as folder:  # made 0700
        copy = Path(folder) / path.name
        try:
            with closing(sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)) as connection:
                connection.execute("VACUUM INTO ?", (str(copy),))
        except sqlite3.Error as error:
            raise CannotOpen(f"{path} cannot be copied: {error}") from error
        with copy.open("rb") as file:
            yield file
