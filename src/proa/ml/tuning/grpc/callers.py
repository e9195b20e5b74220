"""Say who is at the other end of a connection: a pod, by its address, or a process of this machine, by its user.

Katib's clients bring no credentials, so where a connection comes from is what there is to go by. A pod's address is in
its status; the kernel says whose a connection by this machine's loopback is. What cannot be told is nobody's.
Watches pods that belong to trials; any other pod is looked for when it calls.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from proa.client.protocol import Client, Object
from proa.ml.grpc.connection import Address, Caller
from proa.objects.resource import PODS
from proa.reconcile.informer import Informer

INDEX = "pod-address"
NEW_POD_SECONDS = 5.0
"""How long after its first call a pod's address may come into its status."""
_ENDED = ("Succeeded", "Failed")
_ESTABLISHED = "01"
"""In any other state the kernel may not know any more whose it was, and then says root's."""
_MAPPED = "::ffff:"
"""How an IPv4 address is written where the socket at its end is one of IPv6: gRPC's clients are."""
_TCP_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")


class Callers:
    """Finds pods by their addresses. `trial_pods` follows pods that have a trial's label."""

    def __init__(self, client: Client, trial_pods: Informer) -> None:
        self._client = client
        self._trial_pods = trial_pods
        trial_pods.add_index(INDEX, addresses_of)

    async def find_pod(self, caller: Caller) -> Object | None:
        """Return the pod that has the caller's address; None where none has."""
        address = caller.address[0].removeprefix(_MAPPED)
        if not address:
            return None
        found = newest(self._trial_pods.by_index(INDEX, address))
        if found is not None:
            return found
        selector = f"status.podIP={address}"
        found = newest((await self._client.list(PODS, field_selector=selector)).items)
        return found or await self._wait_for_pod(address)

    async def _wait_for_pod(self, address: str) -> Object | None:
        """Return a trial's pod that is told to have the address within a moment."""
        heard: asyncio.Future[Object] = asyncio.get_running_loop().create_future()

        def listen(old: Object | None, new: Object | None) -> None:
            if new is not None and not heard.done() and address in addresses_of(new):
                heard.set_result(new)

        self._trial_pods.listen(listen)
        try:
            return await asyncio.wait_for(heard, NEW_POD_SECONDS)
        except TimeoutError:
            return None
        finally:
            self._trial_pods.unlisten(listen)


def addresses_of(pod: Object) -> Sequence[str]:
    """Return the addresses that are a pod's alone, as long as it runs: none in the network of its node."""
    status = pod.get("status") or {}
    if status.get("phase") in _ENDED or (pod.get("spec") or {}).get("hostNetwork"):
        return ()
    found = [status.get("podIP"), *(entry.get("ip") for entry in status.get("podIPs") or ())]
    return [*dict.fromkeys(address for address in found if address)]


def newest(pods: Iterable[Object]) -> Object | None:
    """Return the pod that has an address now, of all that ever had it."""
    running = [pod for pod in pods if addresses_of(pod)]
    return max(running, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), default=None)


async def is_own_user(caller: Caller) -> bool:
    """Tell whether a connection by the loopback is of this process's user, or root, and of another process.

    What this process connects itself it may do for a pod, which then is not this machine's user.
    """
    return await asyncio.to_thread(_is_own_user, caller.address, caller.local)


def _is_own_user(peer: Address, local: Address) -> bool:
    wanted = [(_hex(*peer), _hex(*local)), (_hex(*peer, _MAPPED), _hex(*local, _MAPPED))]
    for table in _TCP_TABLES:
        with suppress(FileNotFoundError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if (fields[1], fields[2]) in wanted and fields[3] == _ESTABLISHED:
                    return int(fields[7]) in (0, os.geteuid()) and fields[9] not in _own_inodes()
    return False


def _hex(host: str, port: int, before: str = "") -> str:
    """Return an address as the kernel's table has it: words of four bytes in the machine's order."""
    family = socket.AF_INET6 if ":" in before + host else socket.AF_INET
    packed = socket.inet_pton(family, before + host if ":" not in host else host)
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return f"{''.join(f'{word:08X}' for word in words)}:{port:04X}"


def _own_inodes() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{name}")
            if target.startswith("socket:["):
                found.add(target[len("socket:[") : -1])
    return found
