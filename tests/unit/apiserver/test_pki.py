"""The cluster's keys are made once, kept private, and made anew when a name is missing."""

from __future__ import annotations

import datetime
import os
import socket
import ssl
import stat
from pathlib import Path

from cryptography import x509

from proa.apiserver.pki import CERTIFICATE_DAYS, ensure_pki, find_own_names

NOW = datetime.datetime.now(datetime.UTC)


def test_keys_are_made_once_and_for_their_owner_alone(tmp_path: Path) -> None:
    pki = ensure_pki(tmp_path / "pki", ["127.0.0.1", "localhost"], NOW)
    files = {f: f.read_bytes() for f in (tmp_path / "pki").iterdir()}
    ensure_pki(tmp_path / "pki", ["localhost", "127.0.0.1"], NOW)
    assert {f: f.read_bytes() for f in (tmp_path / "pki").iterdir()} == files
    assert all(stat.S_IMODE(f.stat().st_mode) == 0o600 for f in files)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.server.certificate, pki.server.key)


def test_a_new_name_signs_anew_with_the_same_authority(tmp_path: Path) -> None:
    pki = ensure_pki(tmp_path, ["localhost"], NOW)
    authority, tokens = pki.authority.certificate.read_bytes(), pki.service_account.key.read_bytes()
    ensure_pki(tmp_path, ["localhost", "10.96.0.1"], NOW)
    assert pki.authority.certificate.read_bytes() == authority
    assert pki.service_account.key.read_bytes() == tokens
    server = x509.load_pem_x509_certificate(pki.server.certificate.read_bytes())
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["10.96.0.1"]


def test_this_machine_is_known_by_its_name_and_its_addresses() -> None:
    assert {"127.0.0.1", socket.gethostname().lower()} <= find_own_names()


def test_certificates_are_renewed_before_they_expire(tmp_path: Path) -> None:
    pki = ensure_pki(tmp_path, ["localhost"], NOW)
    before = pki.admin.certificate.read_bytes()
    old = NOW.timestamp() - (CERTIFICATE_DAYS - 10) * 86400
    os.utime(pki.admin.certificate, (old, old))
    ensure_pki(tmp_path, ["localhost"], NOW)
    assert pki.admin.certificate.read_bytes() != before


def test_the_administrator_is_of_the_group_that_may_do_everything(tmp_path: Path) -> None:
    pki = ensure_pki(tmp_path, ["localhost"], NOW)
    admin = x509.load_pem_x509_certificate(pki.admin.certificate.read_bytes())
    assert admin.subject.rfc4514_string() == "CN=kubernetes-admin,O=system:masters"
