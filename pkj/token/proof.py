"""DPoP proofs: they show that the sender of a request has the key its token is bound to."""

import os
import time
from urllib.parse import unquote, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from pkj import keys

SECONDS_BACK = 5
"""How far back a proof is dated: Okta refuses one from the future, or over five minutes old."""


class Prover:
    """A P-256 key made for this run, and the nonces that Okta asked for.

    `nonce` is the authorization server's and `api_nonce` the API's: a nonce is for the server
    that issued it (RFC 9449 section 9). The key is not saved: after the run, a token bound to it
    can be used only for requests whose proofs were made in the run.
    """

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.nonce: str | None = None
        self.api_nonce: str | None = None

    def jwk(self) -> dict[str, str]:
        """Return the public key; Okta reads only these members (okta-sdk-dotnet issue 758)."""
        numbers = self._key.public_key().public_numbers()
        x, y = (keys.base64url(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
        return {"kty": "EC", "crv": "P-256", "x": x, "y": y}

    def thumbprint(self) -> str:
        """Return the thumbprint (RFC 7638, SHA-256), the `jkt` of a token bound to this key."""
        jwk = self.jwk()
        return keys.digest(f'{{"crv":"P-256","kty":"EC","x":"{jwk["x"]}","y":"{jwk["y"]}"}}')

    def proof(
        self, method: str, url: str, *, clock_offset: float = 0, token: str | None = None
    ) -> str:
        """Return a proof for one request (RFC 9449 section 4.2), which uses `token` if given.

        `clock_offset` is by how many seconds Okta's clock is ahead of the local one.
        """
        claims: dict[str, str | int] = {
            "htm": method,
            "htu": htu(url),
            "iat": int(time.time() + clock_offset) - SECONDS_BACK,
            "jti": os.urandom(16).hex(),
        }
        if nonce := self.api_nonce if token else self.nonce:
            claims["nonce"] = nonce
        if token:
            claims["ath"] = keys.digest(token)
        headers = {"typ": "dpop+jwt", "jwk": self.jwk()}
        return jwt.encode(claims, self._key, algorithm="ES256", headers=headers)


def htu(url: str) -> str:
    """Return the URL without query and fragment (RFC 9449 section 4.2), as Okta compares it.

    Okta compares percent-decoded paths, except for the four characters that its Java SDK encodes
    again (github.com/okta/okta-sdk-java/pull/1526 and /1528, okta-sdk-python issue 541).
    """
    parts = urlsplit(url)
    path = unquote(parts.path).replace("%", "%25").replace(" ", "%20")
    path = path.replace('"', "%22").replace("#", "%23")
    return f"{parts.scheme}://{parts.netloc}{path or '/'}"
