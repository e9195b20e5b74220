"""Remember with whose credentials images were pulled, so that a pod without any does not run them (KEP-2535).

An image that came by `proa images load`, a build, or from before, is anybody's (NeverVerifyPreloadedImages). One that
was pulled is for pods with the Secret that it was pulled with, or one of the same content; one that anybody may pull is
anybody's. An intent is noted before a pull, so that a crash does not make an image anybody's. Kept in one file beside
the images, for all nodes of this machine. Follows pkg/kubelet/images/pullmanager (1.36).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from proa.images.credentials import Credential
from proa.images.locks import locked

Records = dict[str, Any]
_ANYBODY = "anybody"


class PullRecords:
    """The records of one store, in `pulls.json`: what is being pulled, and by image id and repository whose it is."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "pulls.json"
        self._lock = directory / "pulls.lock"

    def intend(self, name: str) -> None:
        """Note that an image is about to be pulled."""

        def edit(records: Records) -> None:
            pulling = records["pulling"]
            pulling[name] = pulling.get(name, 0) + 1

        self._change(edit)

    def failed(self, name: str) -> None:
        """Note that nothing came of it."""
        self._change(lambda records: _end_intent(records, name))

    def pulled(self, name: str, repository: str, image_id: str, credential: Credential | None) -> None:
        """Note that it has been pulled, and with which credential; one of the node's own makes it anybody's."""

        def edit(records: Records) -> None:
            _end_intent(records, name)
            whose = records["pulled"].setdefault(image_id, {})
            if credential is None or not credential.source:
                whose[repository] = _ANYBODY
            elif whose.get(repository) != _ANYBODY:
                known = whose.setdefault(repository, {})
                known[credential.source] = credential.fingerprint()

        self._change(edit)

    def may_use(self, name: str, repository: str, image_id: str, credentials: Iterable[Credential]) -> bool:
        """Tell whether a pod with these credentials may use an image that is here, without asking its registry."""
        records = self._read()
        known = records["pulled"].get(image_id, {}).get(repository)
        if known is None:  # it did not come by a pull of that name: somebody loaded, tagged or built it here
            return not records["pulling"].get(name)
        if known == _ANYBODY:
            return True
        fingerprints = {*known.values()}
        return any(
            one.source and (one.fingerprint() in fingerprints or one.source in known) for one in credentials
        )

    def prune(self, image_ids: Collection[str]) -> None:
        """Forget images that are here no more."""

        def edit(records: Records) -> None:
            records["pulled"] = {i: whose for i, whose in records["pulled"].items() if i in image_ids}

        self._change(edit)

    def _read(self) -> Records:
        try:
            found = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            found = {}
        return {"pulling": dict(found.get("pulling") or {}), "pulled": dict(found.get("pulled") or {})}

    def _change(self, edit: Callable[[Records], None]) -> None:
        with locked(self._lock):
            records = self._read()
            before = json.dumps(records)
            edit(records)
            after = json.dumps(records)
            if after == before:
                return
            temporary = self._path.with_name(".pulls.new")
            with temporary.open("w") as file:
                file.write(after)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path)


def _end_intent(records: Mapping[str, Any], name: str) -> None:
    pulling = records["pulling"]
    left = pulling.get(name, 0) - 1
    if left > 0:
        pulling[name] = left
    else:
        pulling.pop(name, None)
