"""Whoever shows a bootstrap token is who its Secret says, for as long as that holds."""

from __future__ import annotations

from typing import Any

import pytest

from proa.apiserver.tokens.bootstrap import user_of_token
from proa.objects.bootstrap_tokens import BootstrapToken, make_secret

NOW = 1_800_000_000.0
GROUP = "system:bootstrappers:workers"
TOKEN = BootstrapToken("abcdef", "0123456789abcdef", NOW + 60, ("authentication",), (GROUP,))
SECRETS = "/api/v1/namespaces/kube-system/secrets"
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"


def test_a_good_token_is_a_user_of_the_bootstrappers() -> None:
    user = user_of_token(make_secret(TOKEN), TOKEN.token, NOW)
    assert user is not None
    assert (user.name, user.groups) == (
        "system:bootstrap:abcdef",
        ("system:bootstrappers", GROUP, "system:authenticated"),
    )


@pytest.mark.parametrize(
    ("secret", "token", "now"),
    [
        pytest.param(None, TOKEN.token, NOW, id="no-secret"),
        pytest.param(make_secret(TOKEN), "abcdef.ffffffffffffffff", NOW, id="wrong-secret"),
        pytest.param(make_secret(TOKEN), TOKEN.token, NOW + 60, id="expired"),
        pytest.param(
            make_secret(TOKEN._replace(usages=("signing",))), TOKEN.token, NOW, id="for-signing-only"
        ),
        pytest.param({**make_secret(TOKEN), "type": "Opaque"}, TOKEN.token, NOW, id="another-type"),
    ],
)
def test_any_other_is_nobody(secret: dict[str, Any] | None, token: str, now: float) -> None:
    assert user_of_token(secret, token, now) is None


def test_the_api_server_knows_a_token_from_its_creation_to_its_deletion(make_api: Any) -> None:
    api = make_api()
    api.post("/api/v1/namespaces", {"metadata": {"name": "kube-system"}})
    token = TOKEN._replace(expires_at=None)

    def review() -> Any:
        return api.post(REVIEWS, {"spec": {"token": token.token}}).json["status"]

    assert "authenticated" not in review()
    assert api.post(SECRETS, make_secret(token)).status == 201
    assert review()["user"]["username"] == "system:bootstrap:abcdef"
    api.delete(f"{SECRETS}/bootstrap-token-abcdef")
    assert "authenticated" not in review()
