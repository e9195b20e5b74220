"""Read where an etcd is from `--store etcd://…`, so that a wrong address is refused with words before anything starts.

    etcd://HOST[:PORT][,HOST[:PORT]…][/PREFIX]            plain HTTP: for loopback and tests
    etcds://…[?ca=FILE][&cert=FILE&key=FILE]              TLS; with a client certificate where etcd asks for one

The port is 2379 where none is said, the prefix `/proa`: everything below it is this cluster's.
"""

from __future__ import annotations

import re
import ssl
from urllib.parse import parse_qsl, unquote

from proa.objects.quick_dataclass import dataclass
from proa.store.protocol import CannotOpen

DEFAULT_PORT = 2379
DEFAULT_PREFIX = "/proa"
_HOST = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class EtcdAddress:
    """Where etcd's members are, and which keys are ours. `prefix` begins with a slash and ends without."""

    endpoints: tuple[str, ...]
    prefix: str = DEFAULT_PREFIX
    ca: str = ""
    cert: str = ""
    key: str = ""

    def make_ssl_context(self) -> ssl.SSLContext | None:
        """Return what TLS needs, None for plain HTTP; raise CannotOpen where a file cannot be used."""
        if not self.endpoints[0].startswith("https://"):
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca or None)
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # as Go's clients: Python 3.13 asks for more
            if self.cert:
                context.load_cert_chain(self.cert, self.key or None)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(filter(None, (self.ca, self.cert, self.key)))
            raise CannotOpen(f"the TLS files for etcd cannot be used ({files}): {error}") from None
        return context


def parse_etcd_address(text: str) -> EtcdAddress:
    """Return what an address says; raise ValueError with what is wrong and what would be right."""
    word, _, rest = text.partition("://")  # urlsplit knows one host, and refuses several with an IPv6 address
    if word not in ("etcd", "etcds"):
        raise ValueError(
            f"{text}: a store is log, etcd://HOST[:PORT][,HOST[:PORT]…][/PREFIX] or, for TLS, etcds://…"
        )
    rest, _, query = rest.partition("?")
    hosts, _, path = rest.partition("/")
    scheme = "https" if word == "etcds" else "http"
    endpoints = tuple(f"{scheme}://{_host(text, host)}" for host in hosts.split(","))
    prefix = f"/{unquote(path)}".rstrip("/") or DEFAULT_PREFIX
    options = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := sorted(options.keys() - {"ca", "cert", "key"}):
        raise ValueError(f"{text}: unknown option {unknown[0]}; there are ca, cert and key")
    if options and scheme == "http":
        raise ValueError(f"{text}: ca, cert and key are for TLS: begin with etcds://")
    if ("key" in options) and not options.get("cert"):
        raise ValueError(f"{text}: a key needs its certificate: add cert=FILE")
    return EtcdAddress(
        endpoints, prefix, options.get("ca", ""), options.get("cert", ""), options.get("key", "")
    )


def _host(text: str, host: str) -> str:
    match = _HOST.fullmatch(host)
    port = int(match[2] or DEFAULT_PORT) if match else 0
    if match is None or not 0 < port < 65536:
        raise ValueError(f"{text}: {host!r} is no HOST or HOST:PORT")
    return f"{match[1]}:{port}"
