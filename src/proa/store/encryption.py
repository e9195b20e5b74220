"""Encrypt resources at rest as an EncryptionConfiguration says, in upstream's own format.

Follows apiserver/pkg/server/options/encryptionconfig and storage/value/encrypt (aes, secretbox, identity). The first
provider of a resource writes; all of them read. A stored value is

    k8s:enc:<provider>:v1:<key name>:<nonce or IV><ciphertext>

aesgcm authenticates the store's key besides, so that a value cannot be moved to another object. Keys are named in
errors, never shown.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from proa.objects.quick_dataclass import dataclass
from proa.store.protocol import CannotOpen
from proa.store.transformer import ENCRYPTED, CannotDecrypt, describe

API_VERSION = "apiserver.config.k8s.io/v1"
MAX_CONFIG_BYTES = 1 << 20
_AES_KEY_BYTES = (16, 24, 32)
_SECRETBOX_KEY_BYTES = (32,)
_GCM_NONCE_BYTES = 12
_BLOCK_BYTES = 16
_SECRETBOX_NONCE_BYTES = 24

Seal = Callable[[bytes, bytes], bytes]
"""(plaintext, what is authenticated besides) -> ciphertext, or the other way round."""


@dataclass(frozen=True, slots=True)
class Cipher:
    """One key of one provider. `prefix` is what its values begin with; identity's is empty."""

    prefix: bytes
    seal: Seal
    open: Seal


class EncryptingTransformer:
    """A `Transformer` for the resources of one configuration; others are stored as they are."""

    def __init__(self, rules: Sequence[tuple[str, str, Sequence[Cipher]]], source: str) -> None:
        """`rules` are (group or "*", plural or "*", ciphers), the first that fits counts; `source` is for errors."""
        self._rules = rules
        self._source = source
        self._ciphers: dict[tuple[str, str], Sequence[Cipher]] = {}

    def seal(self, key: str, value: bytes) -> bytes:
        """See `Transformer.seal`."""
        ciphers = self._of(key)
        if not ciphers or not ciphers[0].prefix:
            return value
        return ciphers[0].prefix + ciphers[0].seal(value, key.encode())

    def open(self, key: str, stored: bytes) -> tuple[bytes, bool]:
        """See `Transformer.open`."""
        ciphers = self._of(key)
        if not stored.startswith(ENCRYPTED):
            if all(cipher.prefix for cipher in ciphers) and ciphers:
                raise CannotDecrypt(
                    f"{key} is not encrypted, and {self._source} does not allow that: add `identity: {{}}` as its last "
                    "provider until everything has been written anew"
                )
            return stored, bool(ciphers and ciphers[0].prefix)
        for position, cipher in enumerate(ciphers):
            if cipher.prefix and stored.startswith(cipher.prefix):
                try:
                    return cipher.open(stored[len(cipher.prefix) :], key.encode()), position > 0
                except Exception as error:  # each library has its own
                    raise CannotDecrypt(
                        f"{key} cannot be decrypted with {describe(stored)} of {self._source}: the key has another "
                        f"secret, or what is stored was changed ({type(error).__name__})"
                    ) from None
        raise CannotDecrypt(
            f"{key} is encrypted ({describe(stored)}), which {self._source} does not have for it: add that key"
        )

    def _of(self, key: str) -> Sequence[Cipher]:
        """Return the ciphers for a store's key, `/registry/<group>/<plural>/…`."""
        parts = key.split("/", 4)
        if len(parts) < 4:
            return ()
        group, plural = parts[2], parts[3]
        found = self._ciphers.get((group, plural))
        if found is None:
            fits = (ciphers for g, p, ciphers in self._rules if g in ("*", group) and p in ("*", plural))
            found = self._ciphers[group, plural] = next(fits, ())
        return found


def read_encryption_config(path: Path) -> EncryptingTransformer:
    """Read an EncryptionConfiguration; raise CannotOpen with the field that is wrong."""
    import yaml

    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
        if len(data) > MAX_CONFIG_BYTES:
            raise CannotOpen(f"{path}: larger than {MAX_CONFIG_BYTES} bytes")
        document = yaml.load(data, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 a safe one
    except OSError as error:
        raise CannotOpen(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date that is none
        mark = getattr(error, "problem_mark", None)  # the error's own words may quote a secret
        where = f", line {mark.line + 1}" if mark else ""
        raise CannotOpen(f"{path}{where}: not YAML") from None
    try:
        return EncryptingTransformer(_rules(document), str(path))
    except _Wrong as error:
        raise CannotOpen(f"{path}: {error}") from None


class _Wrong(ValueError):
    pass


def _rules(document: Any) -> list[tuple[str, str, Sequence[Cipher]]]:
    if not isinstance(document, dict) or document.get("kind") != "EncryptionConfiguration":
        raise _Wrong('kind: must be "EncryptionConfiguration"')
    if document.get("apiVersion") != API_VERSION:
        raise _Wrong(f'apiVersion: must be "{API_VERSION}"')
    entries = _list(document, "resources", "resources")
    rules: list[tuple[str, str, Sequence[Cipher]]] = []
    for index, entry in enumerate(entries):
        path = f"resources[{index}]"
        names = _list(entry, "resources", f"{path}.resources")
        providers = _list(entry, "providers", f"{path}.providers")
        ciphers = [
            cipher
            for number, provider in enumerate(providers)
            for cipher in _ciphers(provider, f"{path}.providers[{number}]")
        ]
        rules += [(*_resource(name, f"{path}.resources"), ciphers) for name in names]
    return rules


def _list(holder: Any, name: str, path: str) -> list[Any]:
    found = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(found, list) or not found:
        raise _Wrong(f"{path}: at least one is needed")
    return found


def _resource(name: Any, path: str) -> tuple[str, str]:
    """Return (group, plural) as the store's keys have them."""
    if not isinstance(name, str) or not name or name != name.lower() or "/" in name:
        raise _Wrong(f"{path}: {name!r} is no resource; write e.g. secrets, deployments.apps, *.apps or *.*")
    plural, _, group = name.partition(".")
    if plural == "*" and "." not in name:
        raise _Wrong(f'{path}: "*" is not allowed; *. is the core group, *.* everything')
    return group or "core", plural


def _ciphers(provider: Any, path: str) -> list[Cipher]:
    """Return a provider's keys, in order."""
    if not isinstance(provider, dict) or len(provider) != 1:
        raise _Wrong(f"{path}: must be exactly one of aesgcm, aescbc, secretbox and identity")
    ((kind, settings),) = provider.items()
    if kind == "identity":
        return [Cipher(b"", _unchanged, _unchanged)]
    make = _MAKERS.get(kind)
    if make is None:
        raise _Wrong(f"{path}: {kind!r} is not served; there are aesgcm, aescbc, secretbox and identity")
    sizes, make_cipher = make
    found: list[Cipher] = []
    for index, key in enumerate(_list(settings, "keys", f"{path}.{kind}.keys")):
        where = f"{path}.{kind}.keys[{index}]"
        name = key.get("name") if isinstance(key, dict) else None
        if not isinstance(name, str) or not name or ":" in name:
            raise _Wrong(f"{where}.name: must be there, and have no colon")
        prefix = ENCRYPTED + f"{kind}:v1:{name}:".encode()
        if any(cipher.prefix == prefix for cipher in found):
            raise _Wrong(f"{where}.name: {name!r} is there twice")
        seal, unseal = make_cipher(_secret(key.get("secret"), sizes, f"{where}.secret"))
        found.append(Cipher(prefix, seal, unseal))
    return found


def _secret(text: Any, sizes: Sequence[int], path: str) -> bytes:
    try:
        secret = base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise _Wrong(f"{path}: must be base64") from None
    if len(secret) not in sizes:
        raise _Wrong(f"{path}: must be {' or '.join(map(str, sizes))} bytes, in base64; it is {len(secret)}")
    return secret


def _unchanged(data: bytes, _: bytes) -> bytes:
    return data


def _make_aesgcm(secret: bytes) -> tuple[Seal, Seal]:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    cipher = AESGCM(secret)

    def seal(value: bytes, name: bytes) -> bytes:
        nonce = os.urandom(_GCM_NONCE_BYTES)
        return nonce + cipher.encrypt(nonce, value, name)

    def unseal(data: bytes, name: bytes) -> bytes:
        return cipher.decrypt(data[:_GCM_NONCE_BYTES], data[_GCM_NONCE_BYTES:], name)

    return seal, unseal


def _make_aescbc(secret: bytes) -> tuple[Seal, Seal]:
    from cryptography.hazmat.primitives.ciphers import Cipher as BlockCipher
    from cryptography.hazmat.primitives.ciphers import algorithms, modes

    algorithm = algorithms.AES(secret)

    def seal(value: bytes, _: bytes) -> bytes:
        vector = os.urandom(_BLOCK_BYTES)
        encryptor = BlockCipher(algorithm, modes.CBC(vector)).encryptor()
        missing = _BLOCK_BYTES - len(value) % _BLOCK_BYTES
        return vector + encryptor.update(value + bytes([missing]) * missing) + encryptor.finalize()

    def unseal(data: bytes, _: bytes) -> bytes:
        vector, data = data[:_BLOCK_BYTES], data[_BLOCK_BYTES:]
        decryptor = BlockCipher(algorithm, modes.CBC(vector)).decryptor()
        padded = decryptor.update(data) + decryptor.finalize()
        missing = padded[-1] if padded else 0
        if not 0 < missing <= _BLOCK_BYTES or padded[-missing:] != bytes([missing]) * missing:
            raise ValueError("padding")
        return padded[:-missing]

    return seal, unseal


def _make_secretbox(secret: bytes) -> tuple[Seal, Seal]:
    try:
        from nacl.secret import SecretBox
    except ImportError:
        raise _Wrong(
            "secretbox needs PyNaCl: pip install 'proa[secretbox]'; aesgcm and aescbc need nothing"
        ) from None
    box = SecretBox(secret)

    def seal(value: bytes, _: bytes) -> bytes:
        return bytes(box.encrypt(value, os.urandom(_SECRETBOX_NONCE_BYTES)))

    def unseal(data: bytes, _: bytes) -> bytes:
        return bytes(box.decrypt(data))

    return seal, unseal


_MAKERS: dict[str, tuple[Sequence[int], Callable[[bytes], tuple[Seal, Seal]]]] = {
    "aesgcm": (_AES_KEY_BYTES, _make_aesgcm),
    "aescbc": (_AES_KEY_BYTES, _make_aescbc),
    "secretbox": (_SECRETBOX_KEY_BYTES, _make_secretbox),
}
