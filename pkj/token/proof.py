"""DPoP proofs: that whoever sends a request holds the key that its token is bound to."""

import os
import time
from urllib.parse import unquote, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from pkj import keys

SECONDS_BACK = 5
"""How far back a proof is dated: Okta refuses one from the future, or over five minutes old."""


class Prover:
    """A P-256 key made for this run, and what Okta has said that proofs must agree with.

    `nonce` is the authorization server's and `api_nonce` the API's, where they asked for one:
    a nonce is for the server that issued it (RFC 9449 section 9). The key is not saved: a
    token bound to it is of no use after the run, but for requests whose proofs were made in it.
    """

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.nonce: str | None = None
        self.api_nonce: str | None = None

    def jwk(self) -> dict[str, str]:
        """The public key; Okta reads no member but these (okta-sdk-dotnet issue 758)."""
        numbers = self._key.public_key().public_numbers()
        x, y = (keys.base64url(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
        return {"kty": "EC", "crv": "P-256", "x": x, "y": y}

    def thumbprint(self) -> str:
        """RFC 7638 with SHA-256: what a token bound to this key has as `jkt`."""
        jwk = self.jwk()
        return keys.digest(f'{{"crv":"P-256","kty":"EC","x":"{jwk["x"]}","y":"{jwk["y"]}"}}')

    def proof(
        self, method: str, url: str, *, clock_offset: float = 0, token: str | None = None
    ) -> str:
        """A proof for one request (RFC 9449 section 4.2), with `token` for one that uses it.

        `clock_offset` is what Okta's clock is ahead of the local one, in seconds.
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
    """The address without query and fragment (RFC 9449 section 4.2), its path as Okta compares it.

    That is percent-decoded, but for the four characters that Okta's Java SDK encodes again
    (github.com/okta/okta-sdk-java/pull/1526 and /1528, okta-sdk-python issue 541).
    """
    parts = urlsplit(url)
    path = unquote(parts.path).replace("%", "%25").replace(" ", "%20")
    path = path.replace('"', "%22").replace("#", "%23")
    return f"{parts.scheme}://{parts.netloc}{path or '/'}"
