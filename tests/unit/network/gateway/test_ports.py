"""Where the proxy's ports are on the host."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from pathlib import Path

import pytest

from proa.network.gateway import ports as ports_module
from proa.network.gateway.handover import Handover
from proa.network.gateway.ports import Ports
from proa.network.gateway.xds import Files
from support.envoy import HostPlace


def ensure(ports, *wanted):
    place = HostPlace()
    asyncio.run(ports.ensure({*wanted}, place.address, place.open_listener))


def test_a_port_that_is_taken_is_offered_at_another_and_kept():
    handover = Handover(Path("/nonexistent"), 1)
    ports = Ports(handover, "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = taken.getsockname()[1]
        ensure(ports, wanted)
        first = ports.public[wanted]
    ensure(ports, wanted)

    assert first != wanted
    assert ports.public == {wanted: first}
    assert ports.in_node[wanted] in ports.addresses(wanted)
    ports.close()


def test_ports_that_nobody_wants_are_closed():
    ports = Ports(Handover(Path("/nonexistent"), 1), "127.0.0.1")
    ensure(ports, 18090, 18091)
    number = ports.public[18090]
    before = len(os.listdir("/proc/self/fd"))

    ensure(ports, 18091)

    assert {*ports.public} == {18091}
    assert len(os.listdir("/proc/self/fd")) < before
    with socket.create_server(("127.0.0.1", number)):
        pass
    ports.close()


class Host:
    """A host's ports, of which some are taken."""

    def __init__(self, *taken):
        self.taken = {*taken}

    def listen(self, address, number):
        if number in self.taken:
            raise OSError(errno.EADDRINUSE, "taken")
        return Listener(address, number or 40000)


class Listener:
    def __init__(self, address, number):
        self.getsockname = lambda: (address, number)

    def close(self): ...


def test_a_port_is_offered_where_it_was_before_the_last_end(monkeypatch):
    known = {}
    for taken, expected in (
        ({80}, 8080),
        (set(), 8080),  # another cluster has ended: addresses stay what they were
        ({80, 8080}, 40000),
        ({80}, 40000),
        ({40000}, 80),
        (set(), 80),
    ):
        monkeypatch.setattr(ports_module, "_listen", Host(*taken).listen)
        ports = Ports(Handover(Path("/nonexistent"), 1), "127.0.0.1", known)
        ensure(ports, 80)
        assert ports.public == {80: expected}
        ports.close()
        known = ports.known
    assert known == {}


@pytest.mark.parametrize(
    "content", [b"", b"[8080]", b'{"80": "8080", "x": 1, "81": 0, "82": 70000, "83": true}']
)
def test_what_is_kept_of_ports_is_what_was_written(tmp_path, content):
    files = Files(tmp_path, -1)
    assert files.read_known() == {}
    (tmp_path / "host-ports.json").write_bytes(content)
    assert files.read_known() == {}
    files.write_known({80: 8080, **{port: port + 1 for port in range(1000, 1063)}})
    files.make()
    assert len(files.read_known()) == 64
    assert files.read_known()[80] == 8080
