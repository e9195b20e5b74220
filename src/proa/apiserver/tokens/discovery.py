"""Tell others, as OpenID Connect has it, who issues service-account tokens and with which keys they verify.

Follows pkg/serviceaccount/openidmetadata.go and pkg/routes/openidmetadata.go; who may ask is up to the role
system:service-account-issuer-discovery.
"""

from __future__ import annotations

import orjson

from proa.apiserver.registry.refusals import method_not_allowed
from proa.apiserver.tokens.authenticator import ISSUER
from proa.client.protocol import Request, Response
from proa.objects.token_keys import TokenKeys

CONFIGURATION_PATH, KEYS_PATH = "/.well-known/openid-configuration", "/openid/v1/jwks"
MAX_AGE_SECONDS = 3600


class IssuerDiscovery:
    """Answers for the keys; `address` (host:port) is where others find this server."""

    def __init__(self, keys: TokenKeys, address: str) -> None:
        self._keys = keys
        self._address = address

    async def serve_configuration(self, request: Request) -> Response:
        """Answer with the issuer's metadata."""
        algorithms = sorted({key["alg"] for key in self._keys.key_set()["keys"]})
        metadata = {
            "issuer": ISSUER,
            "jwks_uri": f"https://{self._address}{KEYS_PATH}",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
        }
        return _answer(request, metadata, "application/json")

    async def serve_keys(self, request: Request) -> Response:
        """Answer with the JSON Web Key Set."""
        return _answer(request, self._keys.key_set(), "application/jwk-set+json")


def _answer(request: Request, body: object, content_type: str) -> Response:
    if request.method not in ("GET", "HEAD"):
        raise method_not_allowed()
    caching = f"public, max-age={MAX_AGE_SECONDS}"
    return Response(200, {"Content-Type": content_type, "Cache-Control": caching}, orjson.dumps(body))
