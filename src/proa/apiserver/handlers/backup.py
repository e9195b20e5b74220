"""Stream everything in the store as of one revision, for `proa backup`: GET /proa/backup, for administrators alone.

Pages are read one by one while writes go on; history keeps the revision readable. Values leave as they are stored:
what is encrypted at rest is encrypted here. The lines are those of apiserver/backup_file.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from proa.apiserver.backup_file import encode_end, encode_entry, encode_failure, encode_start
from proa.client.protocol import Request, Response
from proa.objects.errors import Forbidden
from proa.store.protocol import Store, StoreError

PATH = "/proa/backup"
ADMINISTRATORS = "system:masters"
PAGE = 200


def serve_backup(request: Request, store: Store) -> Response:
    """Answer with the stream; raise Forbidden whatever authorization says: it has every Secret."""
    if request.user is None or ADMINISTRATORS not in request.user.groups:
        name = request.user.name if request.user else "system:anonymous"
        raise Forbidden(f'User "{name}" cannot get path "{PATH}": only members of {ADMINISTRATORS} can')
    return Response(200, {"Content-Type": "application/x-ndjson"}, stream=dump(store))


async def dump(store: Store) -> AsyncIterator[bytes]:
    """Yield the lines of a backup, without files: a start, every entry, and an end or a failure."""
    await store.barrier()
    revision, count, last = store.revision, 0, ""
    yield encode_start(revision, store.count(""))
    while True:
        try:
            page = store.range("", start_after=last, limit=PAGE, revision=revision)
            lines = [encode_entry(entry, store.seal(entry)) for entry in page.entries]
        except (StoreError, OSError) as error:
            yield encode_failure(str(error))
            return
        count += len(lines)
        if lines:
            yield b"".join(lines)
            last = page.entries[-1].key
        if not page.remaining:
            break
    yield encode_end(count)
