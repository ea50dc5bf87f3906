"""The client assertion: a signed statement "I am this client, now, to you" (RFC 7523)."""

import os
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

LIFETIME = 300
"""Seconds. Okta refuses an hour or more by its own clock, so a full hour fails as soon as
the local clock is a second fast (github.com/okta/okta-sdk-python/issues/382)."""


def sign(
    key: rsa.RSAPrivateKey,
    client_id: str,
    audience: str,
    *,
    kid: str | None = None,
    now: float | None = None,
) -> str:
    """Return a new assertion for one request to `audience`, the exact URL of the token endpoint.

    `now` is POSIX seconds, the local clock if None. Each assertion has its own jti, because
    Okta accepts a jti once, which also counts for a request that it refuses (RFC 7523 section 3,
    developer.okta.com/docs/guides/implement-oauth-for-okta-serviceapp).
    """
    issued = int(time.time() if now is None else now)
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "exp": issued + LIFETIME,
        "jti": os.urandom(16).hex(),
    }
    return jwt.encode(claims, key, algorithm="RS256", headers={"kid": kid} if kid else None)
