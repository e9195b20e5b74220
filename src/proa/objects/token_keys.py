"""Sign service-account tokens with the cluster's key, and verify them with any of the keys that it has had.

The private key is ECDSA P-256. The file of public keys has the one that belongs to it and, after a change, those
before, as long as their tokens are to be good; RSA keys may be among them. Follows pkg/serviceaccount/jwt.go and
openidmetadata.go. `cryptography` is imported when the first token is made or seen.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

MAX_TOKEN_BYTES = 64 * 1024
_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)


class BadToken(Exception):
    """Not one of ours, or not signed with our keys."""


class NoKey(Exception):
    """There is no key to sign with."""


class TokenKeys:
    """The keys in two files; without a file of public keys, no token is good."""

    def __init__(self, private: Path | None, public: Path | None) -> None:
        self._private_path = private
        self._public_path = public
        self._private: ec.EllipticCurvePrivateKey | None = None
        self._public: dict[str, ec.EllipticCurvePublicKey | rsa.RSAPublicKey] | None = None

    def sign(self, claims: dict[str, Any]) -> str:
        """Return a JWT; raise NoKey."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

        key = self._private_key()
        head = orjson.dumps({"alg": "ES256", "kid": _key_id(key.public_key())})
        signed = f"{_encode(head)}.{_encode(orjson.dumps(claims))}"
        r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_encode(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def verify(self, token: str) -> dict[str, Any]:
        """Return the claims of a token that one of the keys has signed; raise BadToken."""
        if token.count(".") != 2 or len(token) > MAX_TOKEN_BYTES:
            raise BadToken("malformed")
        signed, _, signature = token.rpartition(".")
        head, _, payload = signed.partition(".")
        try:
            header, raw = orjson.loads(_decode(head)), _decode(signature)
            algorithm, key_id = header.get("alg"), header.get("kid", "")
        except (ValueError, AttributeError):
            raise BadToken("malformed") from None
        keys = self._public_keys()
        candidates = [keys[key_id]] if key_id in keys else list(keys.values())
        if not any(_is_signed(key, algorithm, signed.encode(), raw) for key in candidates):
            raise BadToken("go-jose/go-jose: error in cryptographic primitive")
        try:
            claims = orjson.loads(_decode(payload))
        except ValueError:
            raise BadToken("malformed") from None
        if not isinstance(claims, dict):
            raise BadToken("malformed")
        return claims

    def key_set(self) -> dict[str, Any]:
        """Return the public keys as a JSON Web Key Set (RFC 7517)."""
        return {"keys": [_as_jwk(key_id, key) for key_id, key in self._public_keys().items()]}

    def _private_key(self) -> ec.EllipticCurvePrivateKey:
        if self._private is None:
            from cryptography.hazmat.primitives.asymmetric import ec
            from cryptography.hazmat.primitives.serialization import load_pem_private_key

            if self._private_path is None:
                raise NoKey("this server has no key for service-account tokens")
            key = load_pem_private_key(self._private_path.read_bytes(), None)
            assert isinstance(key, ec.EllipticCurvePrivateKey)
            self._private = key
        return self._private

    def _public_keys(self) -> dict[str, ec.EllipticCurvePublicKey | rsa.RSAPublicKey]:
        """Return the keys by their names, as upstream makes them: the hash of the key."""
        if self._public is None:
            from cryptography.hazmat.primitives.asymmetric import ec, rsa
            from cryptography.hazmat.primitives.serialization import load_pem_public_key

            found = {}
            data = self._public_path.read_bytes() if self._public_path is not None else b""
            for block in _PEM.findall(data):
                key = load_pem_public_key(block)
                if isinstance(key, (ec.EllipticCurvePublicKey, rsa.RSAPublicKey)):
                    found[_key_id(key)] = key
            self._public = found
        return self._public


def _key_id(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> str:
    from cryptography.hazmat.primitives import serialization

    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return _encode(hashlib.sha256(der).digest())


def _is_signed(
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey, algorithm: object, signed: bytes, signature: bytes
) -> bool:
    """Tell whether a key made a signature; the algorithm that the token names must be the key's."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            if algorithm != "ES256" or key.key_size != 256 or len(signature) != 64:
                return False
            r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
            key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
        elif algorithm != "RS256":
            return False
        else:
            key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True


def _as_jwk(key_id: str, key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> dict[str, str]:
    from cryptography.hazmat.primitives.asymmetric import ec

    if isinstance(key, ec.EllipticCurvePublicKey):
        point, size = key.public_numbers(), (key.key_size + 7) // 8
        x, y = (_encode(n.to_bytes(size, "big")) for n in (point.x, point.y))
        algorithm = {256: "ES256", 384: "ES384", 521: "ES512"}.get(key.key_size, "")
        curve = f"P-{key.key_size}"
        return {"use": "sig", "kty": "EC", "kid": key_id, "crv": curve, "alg": algorithm, "x": x, "y": y}
    numbers = key.public_numbers()
    n, e = (_encode(v.to_bytes((v.bit_length() + 7) // 8, "big")) for v in (numbers.n, numbers.e))
    return {"use": "sig", "kty": "RSA", "kid": key_id, "alg": "RS256", "n": n, "e": e}


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
