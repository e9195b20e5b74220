"""Several servers on one etcd, and an etcd that goes away: nobody is told what is not so."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proa.apiserver.app import ApiServer
from proa.apiserver.resources import DEFINITIONS
from proa.client.api import ApiClient
from proa.client.local import LocalTransport
from proa.client.protocol import Client, User
from proa.objects.errors import Conflict, NotFound, ServiceUnavailable
from proa.objects.resource import CONFIG_MAPS, NAMESPACES
from proa.store import etcd as etcd_module
from proa.store import etcd_client
from proa.store.encryption import read_encryption_config
from proa.store.etcd import EtcdStore
from proa.store.etcd_address import EtcdAddress, parse_etcd_address
from proa.store.etcd_client import EtcdClient, EtcdUnavailable, decode, encode
from proa.store.protocol import (
    CannotOpen,
    Change,
    Entry,
    ReadOnly,
    RevisionMismatch,
    Unavailable,
    WatchOverflow,
)
from support.etcd import Etcd, run_etcd
from support.tls_server import Authority


@pytest.fixture(scope="module")
def etcd() -> Iterator[Etcd]:
    with run_etcd() as running:
        yield running


@pytest.fixture
def address(etcd: Etcd, tmp_path: Path) -> EtcdAddress:
    """A prefix of the test's own."""
    return parse_etcd_address(f"etcd://{etcd.host}{tmp_path}")


def value(text: str) -> Callable[[int], bytes]:
    return lambda revision: f"{text}@{revision}".encode()


def test_two_stores_see_each_others_writes_in_the_same_bytes(address: EtcdAddress) -> None:
    async def main() -> None:
        one, two = await EtcdStore.open(address), await EtcdStore.open(address)
        watch = two.watch("/a/", after_revision=two.revision)
        made = await one.put("/a/1", value("x"), expected_revision=0)
        gone = await one.delete("/a/1", value("last"), expected_revision=made.revision)
        await two.barrier()
        assert two.get("/a/1") is None
        changes: list[Change] = []
        while len(changes) < 2:
            changes += await asyncio.wait_for(anext(aiter(watch)), 60)
        assert changes == [
            Change("/a/1", f"x@{made.revision}".encode(), None, made.revision),
            Change("/a/1", None, f"last@{gone.revision}".encode(), gone.revision),
        ]
        again = await two.put("/a/1", value("y"), expected_revision=0)
        await one.barrier()
        assert one.get("/a/1") == again == Entry("/a/1", f"y@{again.revision}".encode(), again.revision)
        for store in (one, two):
            await store.close()

    asyncio.run(main())


def test_of_two_stores_that_swap_the_same_value_one_wins_and_the_other_sees_why(address: EtcdAddress) -> None:
    async def main() -> None:
        one, two = await EtcdStore.open(address), await EtcdStore.open(address)
        base = await one.put("/a", value("base"))
        await two.barrier()
        racing = [store.put("/a", value("new"), expected_revision=base.revision) for store in (one, two) * 10]
        results = await asyncio.gather(*racing, return_exceptions=True)
        (winner,) = [result for result in results if isinstance(result, Entry)]
        losers = [result for result in results if isinstance(result, RevisionMismatch)]
        assert len(losers) == 19
        assert {loser.current for loser in losers} == {winner}
        for store in (one, two):
            await store.close()

    asyncio.run(main())


def test_unconditional_writes_of_two_stores_all_happen(address: EtcdAddress) -> None:
    async def main() -> None:
        one, two = await EtcdStore.open(address), await EtcdStore.open(address)
        watch = one.watch("", after_revision=one.revision)
        entries = await asyncio.gather(*(store.put("/a", value("x")) for store in (one, two) * 10))
        assert len({entry.revision for entry in entries}) == 20
        seen: list[Change] = []
        while len(seen) < 20:
            seen += await asyncio.wait_for(anext(aiter(watch)), 60)
        assert [change.revision for change in seen] == sorted(entry.revision for entry in entries)
        for store in (one, two):
            await store.close()

    asyncio.run(main())


@pytest.mark.parametrize(("make", "stored"), [
    (lambda revision: b'{"a":"%d"}' % revision, b'6\n{"a":""}'),
    (lambda revision: b"%d, %d" % (revision, revision), b"0,2\n, "),
    (lambda revision: b"none", b"-\nnone"),
    (lambda revision: b"", b"-\n"),
])  # fmt: skip
def test_the_revision_is_put_in_as_a_value_is_read(
    address: EtcdAddress, make: Callable[[int], bytes], stored: bytes
) -> None:
    async def main() -> None:
        store, client = await EtcdStore.open(address), EtcdClient(address)
        entry = await store.put("/a", make)
        assert entry.value == make(entry.revision)
        (found,) = (await client.range(f"{address.prefix}/a".encode()))["kvs"]
        assert decode(found["value"]) == stored
        again = await EtcdStore.open(address)
        assert again.get("/a") == entry
        for opened in (store, again, client):
            await opened.close()

    asyncio.run(main())


def test_a_second_owner_is_refused_until_the_first_has_ended(address: EtcdAddress) -> None:
    async def main() -> None:
        first = await EtcdStore.open(address, owner="one")
        with pytest.raises(CannotOpen, match=r"uses this part of etcd.*a prefix of its own"):
            await EtcdStore.open(address, owner="two")
        await first.close()
        second = await EtcdStore.open(address, owner="two")
        await second.put("/a", value("x"))
        await second.close()

    asyncio.run(main())


def test_an_owner_takes_over_from_its_last_server_which_can_write_no_more(address: EtcdAddress) -> None:
    async def main() -> None:
        first = await EtcdStore.open(address, owner="one")
        await first.put("/a", value("x"))
        second = await EtcdStore.open(address, owner="one")
        with pytest.raises(ReadOnly, match="another server uses this part of etcd"):
            await first.put("/a", value("late"))
        assert "read-only" in first.refusal
        await second.put("/a", value("y"))
        assert second.refusal == ""
        for store in (first, second):
            await store.close()

    asyncio.run(main())


def test_servers_that_share_a_prefix_keep_away_one_that_would_be_alone_and_the_other_way_round(
    address: EtcdAddress,
) -> None:
    async def main() -> None:
        one, two = [await EtcdStore.open(address, owner=name, is_shared=True) for name in ("one", "two")]
        assert one.is_shared
        entry = await one.put("/a", value("x"))
        await two.barrier()
        assert two.get("/a") == entry
        with pytest.raises(CannotOpen, match=r"API servers share this part of etcd.*pid \d+ on .*; pid"):
            await EtcdStore.open(address, owner="alone")
        await one.close()
        with pytest.raises(CannotOpen, match="API servers share this part of etcd"):
            await EtcdStore.open(address, owner="alone")
        await two.close()
        alone = await EtcdStore.open(address, owner="alone")
        assert not alone.is_shared
        with pytest.raises(CannotOpen, match=r"a cluster \(pid \d+ on .*\) has this part of etcd"):
            await EtcdStore.open(address, owner="one", is_shared=True)
        await alone.close()

    asyncio.run(main())


def test_a_server_that_was_cut_off_while_another_took_the_store_for_itself_writes_no_more(
    address: EtcdAddress,
) -> None:
    async def main() -> None:
        shared, client = await EtcdStore.open(address, owner="one", is_shared=True), EtcdClient(address)
        (registered,) = (await client.range(f"{address.prefix}/!servers/one".encode()))["kvs"]
        await client.revoke_lease(int(registered["lease"]))
        alone = await EtcdStore.open(address, owner="alone")
        with pytest.raises(ReadOnly, match="another server uses this part of etcd"):
            await shared.put("/a", value("late"))
        assert alone.get("/a") is None
        for opened in (shared, alone, client):
            await opened.close()

    asyncio.run(main())


def test_writes_go_on_when_the_lock_ran_out_and_nobody_took_it(address: EtcdAddress) -> None:
    async def main() -> None:
        store, client = await EtcdStore.open(address, owner="one"), EtcdClient(address)
        key = f"{address.prefix}/!server".encode()
        (lock,) = (await client.range(key))["kvs"]
        await client.revoke_lease(int(lock["lease"]))
        assert (await store.put("/a", value("x"))).key == "/a"
        with pytest.raises(CannotOpen):
            await EtcdStore.open(address, owner="two")
        for opened in (store, client):
            await opened.close()

    asyncio.run(main())


def test_an_etcd_that_is_not_there_is_named(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(CannotOpen, match=r"etcd at 127\.0\.0\.1:1 cannot be used: cannot connect"):
            await EtcdStore.open(parse_etcd_address("etcd://127.0.0.1:1"))

    asyncio.run(main())


def test_values_that_are_not_ours_are_not_taken_for_ours(address: EtcdAddress) -> None:
    async def main() -> None:
        client = EtcdClient(address)
        key = {"request_put": {"key": encode(f"{address.prefix}/a".encode()), "value": encode(b"foreign")}}
        await client.transact([], [key], [])
        with pytest.raises(CannotOpen, match="not one that proa wrote"):
            await EtcdStore.open(address)
        await client.close()

    asyncio.run(main())


def test_a_watch_that_compaction_has_overtaken_reads_again_and_tells_its_watchers(
    address: EtcdAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        one, two = await EtcdStore.open(address), await EtcdStore.open(address)
        watch = two.watch("", after_revision=two.revision)
        assert two._following is not None
        two._following.cancel()  # as if its connection were gone
        await asyncio.wait([two._following])
        for _ in range(3):
            last = await one.put("/a", value("x"))
        await one.compact(last.revision)
        two._following = asyncio.create_task(two._follow())
        with pytest.raises(WatchOverflow):
            await asyncio.wait_for(anext(aiter(watch)), 60)
        assert two.get("/a") == last
        assert (await two.put("/a", value("y"), expected_revision=last.revision)).key == "/a"
        for store in (one, two):
            await store.close()

    asyncio.run(main())


class Cutting(EtcdClient):
    """Loses the connection as it writes: before the transaction arrives, or after it has happened."""

    cut = ""
    cuts = 0

    async def transact(self, *arguments: list[dict[str, object]]) -> dict[str, object]:
        cut, self.cut = self.cut, ""
        self.cuts += bool(cut)
        if cut == "before":
            raise EtcdUnavailable("cut before")
        answer = await super().transact(*arguments)
        if cut == "after":
            raise EtcdUnavailable("cut after")
        return answer


@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_write_whose_connection_broke_happens_exactly_once(
    address: EtcdAddress, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    monkeypatch.setattr(etcd_module, "EtcdClient", Cutting)

    async def main() -> None:
        store = await EtcdStore.open(address)
        client = store._client
        assert isinstance(client, Cutting)
        watch = store.watch("", after_revision=store.revision)
        client.cut = cut
        made = await store.put("/a", value("x"), expected_revision=0)
        client.cut = cut
        swapped = await store.put("/a", value("y"), expected_revision=made.revision)
        client.cut = cut
        gone = await store.delete("/a", expected_revision=swapped.revision)
        assert client.cuts == 3
        changes: list[Change] = []
        while len(changes) < 3:
            changes += await asyncio.wait_for(anext(aiter(watch)), 60)
        assert [change.revision for change in changes] == [made.revision, swapped.revision, gone.revision]
        assert store.revision == gone.revision
        await store.close()

    asyncio.run(main())


def test_an_etcd_that_dies_and_comes_back_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(etcd: Etcd) -> None:
        store = await EtcdStore.open(parse_etcd_address(f"etcd://{etcd.host}"))
        watch = store.watch("", after_revision=store.revision)
        before = await store.put("/a", value("x"))
        await asyncio.to_thread(etcd.kill)
        writing = asyncio.create_task(store.put("/a", value("y"), expected_revision=before.revision))
        with pytest.raises(Unavailable, match="etcd"):
            await store.barrier()
        while not store.refusal:
            await asyncio.sleep(0.01)
        assert "cannot be reached" in store.refusal
        assert store.get("/a") == before, "what is known can be read without a barrier"
        await asyncio.to_thread(etcd.start)
        after = await asyncio.wait_for(writing, 60)
        assert store.get("/a") == after
        await store.barrier()
        assert store.refusal == ""
        changes: list[Change] = []
        while len(changes) < 2:
            changes += await asyncio.wait_for(anext(aiter(watch)), 60)
        assert [change.revision for change in changes] == [before.revision, after.revision]
        await store.close()

    with run_etcd() as own:
        asyncio.run(main(own))


def test_an_etcd_that_hangs_holds_nobody_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(etcd: Etcd) -> None:
        store = await EtcdStore.open(parse_etcd_address(f"etcd://{etcd.host}"))
        watch = store.watch("", after_revision=store.revision)
        etcd.pause()
        with monkeypatch.context() as impatient:
            impatient.setattr(etcd_client, "CALL_SECONDS", 0.5)
            writing = asyncio.create_task(store.put("/a", value("x"), expected_revision=0))
            with pytest.raises(Unavailable, match="no answer"):
                await store.barrier()
        etcd.resume()
        entry = await asyncio.wait_for(writing, 60)
        burst = await asyncio.wait_for(anext(aiter(watch)), 60)
        assert [change.revision for change in burst] == [entry.revision]
        assert store.get("/a") == entry
        await store.close()

    with run_etcd() as own:
        asyncio.run(main(own))


def test_a_watch_that_has_fallen_silent_is_begun_anew(
    address: EtcdAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        one, two = await EtcdStore.open(address), await EtcdStore.open(address)
        take, two._take = two._take, lambda answer: None  # type: ignore[method-assign]
        entry = await one.put("/a", value("x"))
        with monkeypatch.context() as impatient:
            impatient.setattr(etcd_module, "CATCH_UP_SECONDS", 0.5)
            with pytest.raises(Unavailable, match="etcd tells nothing new"):
                await two.barrier()
        two._take = take  # type: ignore[method-assign]
        monkeypatch.setattr(etcd_module, "CATCH_UP_SECONDS", 60.0)
        await two.barrier()
        assert two.get("/a") == entry
        for store in (one, two):
            await store.close()

    asyncio.run(main())


def make_client(store: EtcdStore) -> Client:
    server = ApiServer(store, DEFINITIONS)
    return ApiClient(LocalTransport(server.handle, User("admin", ("system:masters",))), "test")


def test_two_api_servers_share_an_etcd(address: EtcdAddress) -> None:
    async def main() -> None:
        stores = [await EtcdStore.open(address), await EtcdStore.open(address)]
        one, two = map(make_client, stores)
        namespace = {"metadata": {"name": "default"}}
        await one.create(NAMESPACES, namespace)
        created = await one.create(CONFIG_MAPS, {"metadata": {"name": "a"}, "data": {"k": "1"}}, "default")
        found = await two.get(CONFIG_MAPS, "a", "default")
        assert found == created, "what one server has acknowledged the other one shows"
        newer = await two.update(CONFIG_MAPS, {**found, "data": {"k": "2"}})
        with pytest.raises(Conflict):
            await one.update(CONFIG_MAPS, {**created, "data": {"k": "3"}})
        assert await one.get(CONFIG_MAPS, "a", "default") == newer
        listed = await one.list(CONFIG_MAPS, "default")
        assert [item["data"] for item in listed.items] == [{"k": "2"}]
        await one.delete(CONFIG_MAPS, "a", "default")
        with pytest.raises(NotFound):
            await two.get(CONFIG_MAPS, "a", "default")
        for store in stores:
            await store.close()

    asyncio.run(main())


def test_an_api_server_without_its_etcd_answers_503(address: EtcdAddress) -> None:
    async def main(etcd: Etcd) -> None:
        store = await EtcdStore.open(parse_etcd_address(f"etcd://{etcd.host}"))
        client = make_client(store)
        await asyncio.to_thread(etcd.kill)
        with pytest.raises(ServiceUnavailable, match="etcd"):
            await client.get(CONFIG_MAPS, "a", "default")
        await store.close()

    with run_etcd() as own:
        asyncio.run(main(own))


def test_etcd_has_no_word_of_what_is_encrypted(address: EtcdAddress, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources:\n"
        "- resources: [secrets]\n  providers:\n  - aesgcm: {keys: [{name: k1, secret: AAAAAAAAAAAAAAAAAAAAAA==}]}\n"
    )
    key = "/registry/core/secrets/default/x"

    async def main() -> None:
        one, two = [
            await EtcdStore.open(address, transformer=read_encryption_config(config)) for _ in range(2)
        ]
        watch = two.watch("", after_revision=two.revision)
        made = await one.put(key, value("hush"))
        gone = await one.put(key + "2", value("hush"))
        gone = await one.delete(key + "2", value("hush, gone"))
        client = EtcdClient(address)
        _, found = await client.snapshot(f"{address.prefix}/".encode(), f"{address.prefix}0".encode())
        assert not [kv for kv in found if b"hush" in decode(kv["value"])]
        await two.barrier()
        assert two.get(key) == made
        changes: list[Change] = []
        while len(changes) < 3:
            changes += await asyncio.wait_for(anext(aiter(watch)), 60)
        assert changes[2].previous == gone.value == f"hush, gone@{gone.revision}".encode()
        with pytest.raises(CannotOpen, match=r"x' is|x is encrypted \(aesgcm, key \"k1\"\)"):
            await EtcdStore.open(address)
        for opened in (one, two, client):
            await opened.close()

    asyncio.run(main())


def test_etcd_over_tls_knows_its_clients_by_their_certificates(tmp_path: Path) -> None:
    authority = Authority()
    ca = tmp_path / "ca.pem"
    ca.write_bytes(base64.b64decode(authority.bundle))
    pair = authority.write_server(tmp_path, "127.0.0.1")

    async def main(host: str) -> None:
        store = await EtcdStore.open(
            parse_etcd_address(f"etcds://{host}?ca={ca}&cert={pair}&key={pair}"), owner="me"
        )
        watch = store.watch("", after_revision=store.revision)
        entry = await store.put("/a", value("x"))
        assert [change.revision for change in await asyncio.wait_for(anext(aiter(watch)), 60)] == [
            entry.revision
        ]
        await store.close()
        for refused in (f"etcds://{host}?ca={ca}", f"etcds://{host}?cert={pair}", f"etcd://{host}"):
            with pytest.raises(CannotOpen, match=r"etcd at 127\.0\.0\.1:\d+ cannot be used"):
                await EtcdStore.open(parse_etcd_address(refused))
        with pytest.raises(CannotOpen, match=r"TLS files for etcd cannot be used \(/none\)"):
            await EtcdStore.open(parse_etcd_address(f"etcds://{host}?ca=/none"))

    with run_etcd(ca, pair) as own:
        asyncio.run(main(own.host))
