"""Where the proxy's ports are on the host."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

from proa.network.gateway.handover import Handover
from proa.network.gateway.ports import Ports
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
