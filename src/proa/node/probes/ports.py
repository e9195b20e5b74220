"""Find the number of a port that a probe or hook names."""

from __future__ import annotations

from proa.client.protocol import Object


def find_port(container: Object, port: int | str) -> int:
    """Return the number; raise ValueError for a name that the container does not have, or a number out of range."""
    if isinstance(port, str) and not port.isdigit():
        named = [p["containerPort"] for p in container.get("ports") or [] if p.get("name") == port]
        if not named:
            raise ValueError(f"port {port} not found")
        port = named[0]
    number = int(port)
    if not 0 < number < 65536:
        raise ValueError(f"invalid port number: {number}")
    return number
