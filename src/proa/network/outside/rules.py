"""Write the nftables rules that hand to the server what pods send to other networks.

Theory of operation. Packets are looked at after services have been translated. What is addressed to this node, or to
the cluster's networks, is none of our business. The rest of TCP and UDP is given (tproxy) to two sockets of the
server's, marked, and by the mark delivered on this node with its destination unchanged: the server reads there where
it was to go. Once a flow has a socket of its own, the kernel finds that one. What the node itself sends comes by again
on `lo` (`divert_outside` in node/noded/network.py), and is treated alike. Nothing else goes out: a ping is refused at
once, and so is what has no way inside (the kernel would refuse the first few only).

The marks and routes are node/noded/network.py's. Follows Documentation/networking/tproxy.rst.
"""

from __future__ import annotations

from collections.abc import Iterable

TABLE = "inet proa_outside"
MARK = "0x1000000"
"""As OUTSIDE_MARK in node/noded/network.py."""

NEVER_OUTSIDE = ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")
"""This host, links, multicast and what is reserved."""


def render(inside: Iterable[str], tcp_port: int = 0, udp_port: int = 0) -> str:
    """Return the commands that make the table, in place of any that is there; without ports nothing goes out."""
    own = ", ".join(sorted({*inside, *NEVER_OUTSIDE}))
    taken = "" if not tcp_port else f"""
    meta l4proto tcp tproxy ip to :{tcp_port} meta mark set meta mark or {MARK} accept
    meta l4proto udp tproxy ip to :{udp_port} meta mark set meta mark or {MARK} accept"""  # fmt: skip
    return f"""add table {TABLE}
delete table {TABLE}
table {TABLE} {{
  set inside {{ type ipv4_addr; flags interval; auto-merge; elements = {{ {own} }}; }}
  chain prerouting {{
    type filter hook prerouting priority dstnat + 10; policy accept;
    meta nfproto != ipv4 return
    fib daddr type != unicast return
    ip daddr @inside goto inside{taken}
    goto refuse
  }}
  chain inside {{
    iifname "lo" goto refuse
    fib daddr oif missing goto refuse
  }}
  chain refuse {{
    iifname "lo" meta l4proto tcp reject with tcp reset
    reject with icmpx type no-route
  }}
}}
"""


def render_nothing() -> str:
    """Return the commands that take the table away."""
    return f"add table {TABLE}\ndelete table {TABLE}\n"
