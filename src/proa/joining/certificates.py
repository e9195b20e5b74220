"""Have a node's certificates signed by its cluster, and renewed before they end.

A key never leaves the machine: a CertificateSigningRequest goes to the API, and the answer is waited for. Follows
client-go's util/certificate (certificate_manager.go, csr.go) and pkg/kubelet/certificate.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proa.client.protocol import Client
from proa.home import write_private
from proa.joining.membership import JoinFailure
from proa.objects.certificate_request import NODE_PREFIX, NODES_GROUP
from proa.objects.errors import ApiError
from proa.objects.meta import find_condition
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import CERTIFICATE_SIGNING_REQUESTS

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

logger = logging.getLogger(__name__)

CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
SERVING = "kubernetes.io/kubelet-serving"
ANSWER_SECONDS = 60.0
RENEWED_AFTER = (0.7, 0.9)
"""A certificate is renewed after this part of its life, at a moment drawn by lot."""
RETRY_SECONDS = 30.0
MAX_SLEEP_SECONDS = 3600.0
"""Clocks jump, machines sleep: it is looked at once an hour at least."""


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a node's certificate is for. `names` are what it is to be called by, where it is a server's."""

    signer: str
    usage: str
    names: tuple[str, ...] = ()


def client_purpose() -> Purpose:
    """Return that of the certificate by which the API server knows a node."""
    return Purpose(CLIENT, "client auth")


def serving_purpose(names: Sequence[str]) -> Purpose:
    """Return that of the certificate by which the API server trusts a node's kubelet."""
    return Purpose(SERVING, "server auth", tuple(names))


async def request_certificate(client: Client, node: str, purpose: Purpose) -> tuple[bytes, bytes]:
    """Return (certificate, key) in PEM; raise JoinFailure where it is denied or nobody answers, ApiError."""
    key, request = await asyncio.to_thread(_make_request, node, purpose.names)
    made = await client.create(
        CERTIFICATE_SIGNING_REQUESTS,
        {
            "apiVersion": CERTIFICATE_SIGNING_REQUESTS.api_version,
            "kind": CERTIFICATE_SIGNING_REQUESTS.kind,
            "metadata": {"generateName": "csr-"},
            "spec": {
                "request": base64.b64encode(request).decode(),
                "signerName": purpose.signer,
                "usages": ["digital signature", purpose.usage],
            },
        },
    )
    return await _wait_for_answer(client, made), _pem_of(key)


async def _wait_for_answer(client: Client, request: dict[str, Any]) -> bytes:
    name = request["metadata"]["name"]
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            while True:
                if (certificate := _answer_of(request)) is not None:
                    return certificate
                version = request["metadata"]["resourceVersion"]
                async for event in client.watch(
                    CERTIFICATE_SIGNING_REQUESTS,
                    field_selector=f"metadata.name={name}",
                    resource_version=version,
                    timeout_seconds=int(ANSWER_SECONDS),
                ):
                    if (
                        event.type in ("ADDED", "MODIFIED")
                        and (found := _answer_of(event.object)) is not None
                    ):
                        return found
                request = await client.get(CERTIFICATE_SIGNING_REQUESTS, name)
    except TimeoutError:
        raise JoinFailure(
            f"the cluster has not signed the certificate within {ANSWER_SECONDS:.0f} s: `kubectl get csr {name}` tells "
            "how it stands, `kubectl certificate approve` approves it"
        ) from None


def _answer_of(request: dict[str, Any]) -> bytes | None:
    """Return the certificate, None while there is no answer; raise JoinFailure where it is a refusal."""
    for verdict in ("Denied", "Failed"):
        if condition := find_condition(request, verdict):
            name = request["metadata"]["name"]
            raise JoinFailure(
                f"the cluster has refused the certificate {name}: {condition.get('message') or verdict}"
            )
    encoded = (request.get("status") or {}).get("certificate")
    return base64.b64decode(encoded) if encoded else None


def _make_request(node: str, names: Sequence[str]) -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, NODES_GROUP),
        x509.NameAttribute(NameOID.COMMON_NAME, f"{NODE_PREFIX}{node}"),
    ])  # fmt: skip
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names:
        alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    return key, builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _alternative(name: str) -> Any:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def write_pair(certificate_file: Path, key_file: Path, certificate: bytes, key: bytes) -> None:
    """Keep a certificate and its key. The key's file has both, so that a crash between the two leaves a pair."""
    write_private(key_file, key + certificate)
    write_private(certificate_file, certificate)


def renewal_time(pem: bytes, part: float) -> float:
    """Return when (epoch seconds) that part of a certificate's life is over."""
    from cryptography import x509

    found = x509.load_pem_x509_certificate(pem)
    begin, end = found.not_valid_before_utc.timestamp(), found.not_valid_after_utc.timestamp()
    return begin + (end - begin) * part


def has_names(pem: bytes, names: Sequence[str]) -> bool:
    """Tell whether a certificate is for all of these names."""
    from cryptography import x509

    found = x509.load_pem_x509_certificate(pem).extensions
    try:
        alternatives = found.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return not names
    has = {*alternatives.get_values_for_type(x509.DNSName)}
    has |= {str(address) for address in alternatives.get_values_for_type(x509.IPAddress)}
    return has.issuperset(names)


class Keeper:
    """Keeps one certificate new. `client` asks for it; `on_renewed` hears that another is in its files."""

    def __init__(
        self,
        client: Client,
        node: str,
        purpose: Purpose,
        files: tuple[Path, Path],
        on_renewed: Callable[[], None],
        *,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._node = node
        self._purpose = purpose
        self._files = files
        self._on_renewed = on_renewed
        self._now = now
        self._sleep = sleep
        low, high = RENEWED_AFTER
        self._part = low + (high - low) * random()

    async def ensure(self) -> None:
        """See that there is one, for the names that it is to have, and that it is new; raise JoinFailure, ApiError."""
        pem = self._read()
        if pem is None or not has_names(pem, self._purpose.names) or self._seconds_left(pem) <= 0:
            await self._renew()

    async def run(self) -> None:
        """Renew it in time, for ever."""
        while True:
            pem = self._read()
            left = self._seconds_left(pem) if pem is not None else 0.0
            if left > 0:
                await self._sleep(min(left, MAX_SLEEP_SECONDS))
                continue
            try:
                await self._renew()
            except (ApiError, JoinFailure) as error:
                logger.warning(
                    "certificate not renewed, will try again signer=%s error=%s", self._purpose.signer, error
                )
                await self._sleep(RETRY_SECONDS)

    async def _renew(self) -> None:
        certificate, key = await request_certificate(self._client, self._node, self._purpose)
        write_pair(*self._files, certificate, key)
        logger.info("certificate renewed signer=%s", self._purpose.signer)
        self._on_renewed()

    def _seconds_left(self, pem: bytes) -> float:
        return renewal_time(pem, self._part) - self._now()

    def _read(self) -> bytes | None:
        try:
            return self._files[0].read_bytes()
        except FileNotFoundError:
            return None
