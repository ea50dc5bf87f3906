"""The tokens that the mock org hands out: in the form of Okta's, and loudly fake."""

import secrets
from collections.abc import Sequence

import jwt

from pkj.sandbox import jws
from pkj.sandbox.state import Client, OrgState

LIFETIME = 3600


def mint(org: OrgState, client: Client, scopes: Sequence[str], jkt: str | None) -> str:
    """A token for these scopes, bound to the key with the thumbprint `jkt` if there is one."""
    now = org.now()
    claims: dict[str, object] = {
        "pretend": "made by a sandbox, worth nothing at Okta",
        "ver": 1,
        "jti": "AT.pretend" + secrets.token_urlsafe(24),
        "iss": org.url,
        "aud": org.url,
        "sub": client.id,
        "iat": now,
        "exp": now + LIFETIME,
        "cid": client.id,
        "scp": list(scopes),
    }
    if jkt:
        claims["cnf"] = {"jkt": jkt}
    header = {"kid": "pretend", "typ": "application/okta-internal-at+jwt"}
    return jwt.encode(claims, org.signing_key, "ES256", header)


def claims_of(org: OrgState, token: str) -> dict[str, object] | None:
    """The claims of a token that this org made, that lives, and whose app is active; or None."""
    try:
        parts = jws.parse(token)
    except jws.MalformedJwsError:
        return None
    if parts.header.get("alg") != "ES256":
        return None
    if not jws.is_signed_by(parts, "ES256", org.signing_key.public_key()):
        return None
    claims = parts.claims
    client = org.clients.get(str(claims["cid"]))
    lives = client is not None and client.status == "ACTIVE" and claims["aud"] == org.url
    return claims if lives and org.now() < int(str(claims["exp"])) else None
