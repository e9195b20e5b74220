"""Open the store that a cluster was made with: its own log, or a part of an etcd; nothing that it wrote is left behind.

`choice` is "" for the log in the home, else the address of an etcd, as `proa up --store` takes it and cluster.json
keeps it.
"""

from __future__ import annotations

from pathlib import Path

from proa.store.protocol import CannotOpen, Store
from proa.store.transformer import CannotDecrypt, Transformer

SECRETS = "/registry/core/secrets/"
LOG = "log"
"""What `--store` calls the home's own log."""


def choose(kept: str, wanted: str | None, directory: Path) -> str:
    """Return the choice to go on with: the one that this home was made with, or else what is wanted.

    Members of an etcd may move; another prefix, or another kind of store, would be another cluster. Raises
    CannotOpen, and ValueError for what is no address.
    """
    if wanted is None or wanted == kept:
        return kept
    wanted = "" if wanted == LOG else wanted
    if wanted:
        from proa.store.etcd_address import parse_etcd_address

        address = parse_etcd_address(wanted)
        if kept and parse_etcd_address(kept).prefix == address.prefix:
            return wanted
    if not kept and not directory.exists():
        return wanted
    if wanted == kept:
        return kept
    raise CannotOpen(
        f"this home was made with {kept or f'the log in {directory}'}, not with {wanted or 'a log of its own'}: leave "
        "--store out, or give the other store a home of its own (`proa backup` and `proa restore` take objects there)"
    )


async def open_shared_store(address: str, owner: str, encryption_config: str) -> Store:
    """Open a part of an etcd that other API servers may use too; raise CannotOpen, CannotDecrypt, ValueError.

    `owner` names this one, and no other.
    """
    from proa.store.etcd import EtcdStore
    from proa.store.etcd_address import parse_etcd_address

    return await EtcdStore.open(
        parse_etcd_address(address),
        owner=owner,
        is_shared=True,
        transformer=_make_transformer(encryption_config),
    )


def _make_transformer(encryption_config: str) -> Transformer | None:
    if not encryption_config:
        return None
    from proa.store.encryption import read_encryption_config

    return read_encryption_config(Path(encryption_config))


async def open_store(choice: str, directory: Path, owner: str, encryption_config: str) -> Store:
    """Open it; raise CannotOpen, CannotDecrypt. An etcd is kept for `owner`, this cluster, alone.

    `encryption_config` is an EncryptionConfiguration's file, "" for none.
    """
    transformer = _make_transformer(encryption_config)
    if not choice:
        from proa.store.log import LogStore

        store = LogStore(directory, transformer=transformer)
        try:
            store.range(SECRETS, limit=1)  # a key that does not fit is told of now, not by each request
        except CannotDecrypt:
            await store.close()
            raise
        return store
    from proa.store.etcd import EtcdStore
    from proa.store.etcd_address import parse_etcd_address

    return await EtcdStore.open(parse_etcd_address(choice), owner=owner, transformer=transformer)
