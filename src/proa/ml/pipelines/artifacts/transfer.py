"""Bring artifacts between buckets and a pod's volumes: what the containers of a placement run.

    python3 -m proa.ml.pipelines.artifacts.transfer fetch SETTINGS NUMBER=URI...     brings each to its local path
    python3 -m proa.ml.pipelines.artifacts.transfer deliver SETTINGS NUMBER=URI      after SIGTERM: what is at the local
                                            path and below /tmp/kfp to that URI, and last a marker that it is all there

SETTINGS is a JSON list of bucket_settings.to_json; credentials are in the environment. What fails is said in the
container's termination message. Links are followed within the task's folder only: this container has credentials, and
/proc/self/environ is a file.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from proa.ml.pipelines.artifacts.bucket_settings import BucketSettings, credentials_variable, from_json
from proa.ml.pipelines.artifacts.object_store import Bucket, Credentials
from proa.ml.pipelines.artifacts.protocol import ArtifactError
from proa.ml.pipelines.artifacts.uris import DELIVERED, KFP, OWN, Uri, parse

T = TypeVar("T")

TERMINATION_LOG = Path("/dev/termination-log")
KFP_PATH = Path("/tmp/kfp")  # noqa: S108  # in a container of its own
READY = Path("/pipeline-state/ready")
AT_ONCE = 8
ATTEMPTS = 4


def main(arguments: Sequence[str]) -> int:
    """Run a verb; return the exit code."""
    verb, told, *wanted = arguments
    settings = [(from_json(one), one["hasCredentials"]) for one in json.loads(told)]
    uris = [_numbered(argument) for argument in wanted]
    try:
        buckets = _open_buckets(settings, uris)
        if verb == "fetch":
            fetch([(buckets[number, uri.bucket], uri) for number, uri in uris])
        else:
            ((number, uri),) = uris
            _wait_for_the_end()
            _try_again(lambda: deliver(buckets[number, uri.bucket], uri))
    except (ArtifactError, OSError) as error:
        return _fail(str(error))
    return 0


def _numbered(argument: str) -> tuple[int, Uri]:
    number, _, uri = argument.partition("=")
    return int(number), parse(uri)


def _open_buckets(
    settings: Sequence[tuple[BucketSettings, bool]], uris: Sequence[tuple[int, Uri]]
) -> dict[tuple[int, str], Bucket]:
    opened: dict[tuple[int, str], Bucket] = {}
    for number, uri in uris:
        if (number, uri.bucket) not in opened:
            has_credentials = settings[number][1]
            credentials = _credentials(number) if has_credentials else None
            opened[number, uri.bucket] = Bucket(uri.bucket, settings[number][0], credentials)
    return opened


def _credentials(number: int) -> Credentials:
    access_key = os.environ.get(credentials_variable(number, "ACCESS_KEY"), "")
    return Credentials(access_key, os.environ[credentials_variable(number, "SECRET_KEY")])


def fetch(wanted: Sequence[tuple[Bucket, Uri]]) -> None:
    """Bring each to its local path. A task need not write what it declares, so nothing there is fine."""
    _all_at_once(lambda one: fetch_one(*one, Path(one[1].local_path)), wanted)


def fetch_one(bucket: Bucket, uri: Uri, path: Path) -> None:
    """Bring an artifact's file, or its folder's files, to `path`."""
    count = 0
    for entry in bucket.entries(uri):
        if any(part in ("", ".", "..") for part in entry.path.split("/")) and entry.path:
            raise ArtifactError(f"artifact {uri}: the object {entry.path!r} of it would be written elsewhere")
        target = path / entry.path if entry.path else path
        target.parent.mkdir(parents=True, exist_ok=True)
        assert entry.chunks is not None
        with target.open("wb") as file:
            for chunk in entry.chunks():
                file.write(chunk)
        count += 1
    print(f"fetched {uri}: {count} files" if count else f"{uri}: nothing is there", flush=True)


def deliver(bucket: Bucket, task_root: Uri, path: Path | None = None, kfp: Path = KFP_PATH) -> None:
    """Bring the task's folder and its parameters to the bucket, and last the marker."""
    own = path or Path(task_root.local_path)
    files = [(task_root.below(*names), file) for names, file in _files(own) if names[0] != OWN]
    files += [(task_root.below(*KFP, *names), file) for names, file in _files(kfp)]
    _all_at_once(lambda one: bucket.upload(*one), files)
    size = sum(file.stat().st_size for _, file in files)
    bucket.write(task_root.below(*DELIVERED), json.dumps({"files": len(files), "bytes": size}).encode())
    print(f"delivered {task_root}: {len(files)} files, {size} bytes", flush=True)


def _files(root: Path) -> Iterator[tuple[tuple[str, ...], Path]]:
    """Yield the files below a folder, by the names that lead there; raise ArtifactError for a link that leads out."""
    real_root = root.resolve()
    for folder, _, names in os.walk(root):
        for name in sorted(names):
            file = Path(folder, name)
            real = file.resolve()
            if not real.is_relative_to(real_root):
                raise ArtifactError(
                    f"{file}: a link to {os.readlink(file)}, out of the task's folder: copy the file instead"
                )
            if real.is_file():
                yield file.relative_to(root).parts, real


def _all_at_once(function: Callable[[T], None], items: Sequence[T]) -> None:
    if len(items) < 2:
        for item in items:
            function(item)
        return
    from concurrent.futures import ThreadPoolExecutor  # dear, and mostly there is one

    with ThreadPoolExecutor(AT_ONCE) as threads:
        for _ in threads.map(function, items):
            pass


def _wait_for_the_end() -> None:
    """Return when the kubelet asks for the end, which it does once the main container has ended."""
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    READY.touch()
    signal.sigwait(signals)


def _try_again(function: Callable[[], None]) -> None:
    """Call it until it works: each request was tried again already, for a minute."""
    for attempt in range(ATTEMPTS - 1):
        try:
            return function()
        except ArtifactError as error:
            print(f"attempt {attempt + 1}: {error}", file=sys.stderr, flush=True)
            time.sleep(2**attempt)
    return function()


def _fail(message: str) -> int:
    print(message, file=sys.stderr, flush=True)
    with contextlib.suppress(OSError):  # not in a container; standard error has it
        TERMINATION_LOG.write_text(message)
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
