"""Keep of an update only what its client may write: not another object's identity, not status beside the rest.

Follows BeforeUpdate of apiserver/pkg/registry/rest/update.go and the strategies' PrepareForUpdate.
"""

from __future__ import annotations

from collections.abc import Mapping

from proa.client.protocol import Object
from proa.objects.errors import BadRequest
from proa.objects.patch.values import private_copy


def check_name(metadata: Mapping[str, object], name: str) -> None:
    """Raise BadRequest where what is sent has another name than the URL."""
    if not metadata.get("name"):
        raise BadRequest(
            f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )
    if metadata["name"] != name:
        raise BadRequest(
            f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
        )


def take(new: Object, old: Object, key: str) -> None:
    """Give the new object what the old one has at a key, or has not."""
    if key in old:
        new[key] = old[key]
    else:
        new.pop(key, None)


def copy_for_status(old: Object) -> Object:
    """Return a copy to write the status in; what `keep_all_but_status` takes from the old object anyway is shared."""
    managed = old["metadata"].get("managedFields")
    mine = {"metadata": {k: v for k, v in old["metadata"].items() if k != "managedFields"}}
    if "status" in old:
        mine["status"] = old["status"]
    private: Object = private_copy(mine)
    if managed is not None:
        private["metadata"]["managedFields"] = managed
    return {**old, **private}


def keep_all_but_status(new: Object, old: Object) -> None:
    """For a write to the status subresource: everything is the old object's but status and loose metadata."""
    for key in [k for k in new if k not in old and k != "status"]:
        del new[key]
    for key, value in old.items():
        if key not in ("metadata", "status"):
            new[key] = value
    for key in ("labels", "ownerReferences", "generateName"):
        take(new["metadata"], old["metadata"], key)


def differs(new: Object, old: Object) -> bool:
    """Tell whether anything but metadata and status is not the same: what a generation counts."""
    keys = (new.keys() | old.keys()) - {"metadata", "status", "kind", "apiVersion"}
    return any(new.get(key) != old.get(key) for key in keys)
