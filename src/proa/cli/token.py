"""Make, list and remove bootstrap tokens, with which other machines join this cluster."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import string
import time
from typing import TYPE_CHECKING, Any

from proa.cli import Failure, UsageError
from proa.cli.terminal import Terminal, format_table, print_json
from proa.cluster_settings import EVERYWHERE, Settings, read_settings
from proa.home import Home, find_home
from proa.objects.errors import ApiError, NotFound

if TYPE_CHECKING:
    from proa.client.api import ApiClient
    from proa.objects.bootstrap_tokens import BootstrapToken

DESCRIPTION = """\
Make, list and remove the tokens with which other machines join this cluster (`proa join`).
A token is a Secret in kube-system, as kubeadm's are; whoever has it can add a node until its time is over.
"""
EPILOG = """\
examples:
  proa up --listen 192.0.2.1                    offer the API to other machines
  proa token create --print-join-command        what to run on each of them
  proa token create --ttl 0                     one that never ends
  proa token ls
  proa token rm abcdef                          no further machine joins by it; those that have stay
"""
ALPHABET = string.ascii_lowercase + string.digits
DEFAULT_TTL = "24h"
_SUMMARIES = {
    "create": "make a token, and print it",
    "ls": "list the tokens, without their second parts",
    "rm": "remove tokens",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    made = {}
    for name, summary in _SUMMARIES.items():
        made[name] = actions.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        made[name].add_argument(
            "--home", metavar="DIR", default=argparse.SUPPRESS, help="the cluster's folder"
        )
    for listing in (parser, made["ls"]):
        default = "text" if listing is parser else argparse.SUPPRESS
        listing.add_argument("-o", "--output", choices=["text", "json"], default=default, help="how to print")
    create = made["create"]
    create.add_argument(
        "--ttl",
        default=DEFAULT_TTL,
        metavar="DURATION",
        help=f"for how long, e.g. 2h; 0: for ever (default: {DEFAULT_TTL})",
    )
    create.add_argument("--description", default="", metavar="TEXT", help="what it is for")
    create.add_argument(
        "--print-join-command", action="store_true", help="print the whole `proa join` to run elsewhere"
    )
    made["rm"].add_argument("tokens", nargs="+", metavar="TOKEN", help="a token, or its first part")


def run(options: argparse.Namespace) -> int:
    """Do it."""
    home = find_home(options.home)
    settings = read_settings(home)
    if settings is None or not home.is_running():
        raise Failure(f"no cluster runs in {home.path}: `proa up` starts one")
    try:
        asyncio.run(_act(home, settings, options))
    except ApiError as error:
        raise Failure(error.message) from None
    return 0


async def _act(home: Home, settings: Settings, options: argparse.Namespace) -> None:
    from proa.client.kubeconfig import connect

    client = connect(home.kubeconfig)
    try:
        if options.action == "create":
            await create(client, home, settings, options)
        elif options.action == "ls":
            await list_tokens(client, as_json=options.output == "json")
        else:
            await remove_tokens(client, options.tokens)
    finally:
        await client.close()


async def create(client: ApiClient, home: Home, settings: Settings, options: argparse.Namespace) -> None:
    """Make a token, and all that a machine needs to join with it."""
    from proa.joining.invitation import (
        ensure_invitation,
        hash_authority,
        make_cluster_info,
        make_kubelet_config,
    )
    from proa.local_nodes.addresses import DNS_SERVICE_IP
    from proa.local_nodes.node import DEFAULT_LEASE_SECONDS
    from proa.objects.bootstrap_tokens import NAMESPACE, NODE_GROUP, BootstrapToken, make_secret
    from proa.objects.resource import SECRETS

    seconds = read_ttl(options.ttl)
    url = find_url(settings)
    if options.print_join_command and not url:
        raise Failure(unreachable(settings))
    authority = (home.pki / "ca.crt").read_bytes()
    lease = max(1, min(DEFAULT_LEASE_SECONDS, int(settings.node_monitor_grace_seconds)))
    info = make_cluster_info(url or f"https://{settings.address}:{settings.port}", authority)
    await ensure_invitation(client, info, make_kubelet_config(DNS_SERVICE_IP, lease))
    token = BootstrapToken(
        _random(6),
        _random(16),
        time.time() + seconds if seconds else None,
        ("authentication", "signing"),
        (NODE_GROUP,),
        options.description,
    )
    await client.create(SECRETS, make_secret(token), NAMESPACE)
    if not options.print_join_command:
        print(token.token)
        if not url:
            Terminal().warn(unreachable(settings))
        return
    print(f"proa join --server {url} --token {token.token} --ca-hash {hash_authority(authority)}")


def find_url(settings: Settings) -> str:
    """Return where other machines find the API, "" where they do not."""
    import ipaddress

    from proa.cluster import url_of

    address = settings.listen
    if address in EVERYWHERE:
        address = find_outer_address(":" in address)
    if not address or ipaddress.ip_address(address).is_loopback:
        return ""
    return url_of(address, settings.port)


def find_outer_address(is_6: bool) -> str:
    """Return the address by which this machine reaches others, else any that it has; "" without one."""
    from proa.apiserver.pki import find_own_names
    from proa.local_nodes.overlay import find_way_out

    try:
        return find_way_out("2001:db8::1" if is_6 else "192.0.2.1")[0]
    except OSError:
        own = sorted(name for name in find_own_names() if name[:1].isdigit() and not name.startswith("127."))
        return own[0] if own else ""


def unreachable(settings: Settings) -> str:
    """Say why nobody can join, and what to do."""
    return (
        f"this cluster listens on {settings.listen}, where no other machine reaches it: `proa down`, then "
        "`proa up --listen ADDRESS` with an address of this machine, or 0.0.0.0 for all"
    )


def read_ttl(text: str) -> float:
    """Return seconds, 0 for ever; raise UsageError."""
    from proa.objects.durations import parse_duration

    try:
        seconds = parse_duration(text) / 1e9
    except ValueError:
        seconds = -1.0
    if seconds < 0:
        raise UsageError(f"--ttl {text}: a time like 24h or 30m, or 0 for ever")
    return seconds


async def list_tokens(client: ApiClient, *, as_json: bool = False) -> None:
    """Print the tokens."""
    tokens = sorted(await _read_tokens(client))
    if as_json:
        print_json({"tokens": [describe(token) for token in tokens]})
        return
    if not tokens:
        print("there are no tokens: `proa token create` makes one")
        return
    rows: list[tuple[str, ...]] = [("TOKEN", "TTL", "EXPIRES", "USAGES", "DESCRIPTION", "EXTRA GROUPS")]
    rows += [_row(token, time.time()) for token in tokens]
    print(format_table(rows))


async def _read_tokens(client: ApiClient) -> list[BootstrapToken]:
    from proa.objects.bootstrap_tokens import NAMESPACE, SECRET_TYPE, read_token
    from proa.objects.resource import SECRETS

    found = await client.list(SECRETS, NAMESPACE, field_selector=f"type={SECRET_TYPE}")
    return [token for secret in found.items if (token := read_token(secret)) is not None]


def describe(token: BootstrapToken) -> dict[str, Any]:
    """Return what `-o json` tells of a token: all but its second part."""
    from proa.objects.meta import format_time

    expires = None if token.expires_at is None else format_time(token.expires_at)
    usages, groups = [*token.usages], [*token.groups]
    return {
        "id": token.id,
        "expires": expires,
        "usages": usages,
        "description": token.description,
        "groups": groups,
    }


def _row(token: BootstrapToken, now: float) -> tuple[str, ...]:
    from proa.objects.meta import format_time

    if token.expires_at is None:
        left, ends = "<forever>", "<never>"
    else:
        left = "<expired>" if token.is_expired(now) else _left(token.expires_at - now)
        ends = format_time(token.expires_at)
    none = "<none>"
    usages = ",".join(token.usages) or none
    return token.id, left, ends, usages, token.description or none, ",".join(token.groups) or none


def _left(seconds: float) -> str:
    hours, minutes = int(seconds) // 3600, int(seconds) % 3600 // 60
    return f"{hours}h" if hours else f"{minutes}m" if minutes else f"{int(seconds)}s"


async def remove_tokens(client: ApiClient, tokens: list[str]) -> None:
    """Remove tokens by their first parts."""
    from proa.objects.bootstrap_tokens import NAMESPACE, secret_name
    from proa.objects.resource import SECRETS

    for token in tokens:
        token_id = token.partition(".")[0]
        if len(token_id) != 6 or not set(token_id) <= set(ALPHABET):
            raise UsageError(f"{token_id}: a token's first part is six characters of a-z and 0-9")
        try:
            await client.delete(SECRETS, secret_name(token_id), NAMESPACE)
        except NotFound:
            raise Failure(f"there is no token {token_id}: `proa token ls` lists them") from None
        print(f"removed: {token_id}")


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))
