"""Know whom a client certificate names: apiserver/pkg/authentication/request/x509."""

from __future__ import annotations

from typing import Any

from proa.client.protocol import User


def user_of_certificate(certificate: dict[str, Any] | None) -> User | None:
    """Return whom a verified client certificate (as `SSLObject.getpeercert` gives it) names.

    The common name is the user, the organizations are the groups.
    """
    if not certificate:
        return None
    name, groups = "", []
    for attributes in certificate.get("subject", ()):
        for key, value in attributes:
            if key == "commonName":
                name = value
            elif key == "organizationName":
                groups.append(value)
    return User(name, (*groups, "system:authenticated")) if name else None
