"""The client assertion: a signed statement "I am this client, now, to you"."""

import os
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from pkj import keys

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
    """A new assertion for one request to `audience`, the exact URL of the token endpoint.

    `now` is POSIX seconds, the local clock if None. Each assertion has a jti of its own,
    which Okta takes once, also from a request that it refuses (RFC 7523 section 3,
    developer.okta.com/docs/guides/implement-oauth-for-okta-serviceapp).

    The key may be loaded without cryptography's check, which takes some 30 ms: the fresh
    signature is verified with the public half before it leaves, so a damaged key sends
    nothing, neither a useless signature nor one that gives away a factor of the modulus.
    Raises LocalError for such a key.
    """
    issued = int(time.time() if now is None else now)
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "exp": issued + LIFETIME,
        "jti": os.urandom(16).hex(),
    }
    try:
        signed = jwt.encode(claims, key, algorithm="RS256", headers={"kid": kid} if kid else None)
        jwt.api_jws.decode(signed, key.public_key(), algorithms=["RS256"])
    except (ValueError, jwt.PyJWTError) as cause:
        raise keys.damaged() from cause
    return signed
