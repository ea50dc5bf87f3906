"""Trading a client assertion for an access token, and the forms in which it is shown."""

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from pkj import assertion
from pkj.answers import body_of, text_in
from pkj.causes import NO_ORG
from pkj.errors import NoUsableAnswer
from pkj.okta import Org

HEADER_TEXT = re.compile(r"[!-~]+")
"""What a token and its type are made of (RFC 6749 appendix A)."""

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass(frozen=True)
class Client:
    """Who asks: the app's id, its private key, and the kid the app knows the key by, if any."""

    id: str
    key: rsa.RSAPrivateKey
    kid: str | None


@dataclass(frozen=True)
class Token:
    """A token response (RFC 6749 section 5.1) and when it came, in POSIX seconds."""

    response: Mapping[str, Any]
    received: int

    @property
    def value(self) -> str:
        return str(self.response["access_token"])

    @property
    def scheme(self) -> str:
        return str(self.response.get("token_type", "Bearer"))

    @property
    def expires_in(self) -> int | None:
        """Seconds; None where the server does not say."""
        seconds = self.response.get("expires_in")
        return seconds if isinstance(seconds, int) and not isinstance(seconds, bool) else None

    def as_json(self) -> str:
        """The response, with `expires_at` in POSIX seconds by the local clock."""
        if self.expires_in is None:
            return json.dumps(dict(self.response), indent=2)
        return json.dumps(
            {**self.response, "expires_at": self.received + self.expires_in}, indent=2
        )

    def shown(self, form: str) -> str:
        """The token in one of the forms of `-o`: text and token, json, header."""
        if form == "json":
            return self.as_json()
        return f"Authorization: {self.scheme} {self.value}" if form == "header" else self.value

    def missing(self, scopes: Sequence[str]) -> list[str]:
        """Those of the scopes asked for that were not granted; no `scope` means: as asked."""
        granted = self.response.get("scope")
        return [s for s in scopes if s not in granted.split()] if isinstance(granted, str) else []


def ask(org: Org, client: Client, scopes: Sequence[str]) -> Token:
    """A fresh access token for `scopes`. Raises OktaRefused, NoUsableAnswer."""
    doing = f"asking for a token for {' '.join(scopes)}"
    signed = assertion.sign(client.key, client.id, org.token_url, kid=client.kid)
    answer = org.ask_token(
        doing,
        {
            "grant_type": "client_credentials",
            "scope": " ".join(scopes),
            "client_id": client.id,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": signed,
        },
    )
    response = body_of(doing, answer, dict)
    token = Token(response, int(time.time()))
    text_in(doing, response, "access_token")
    text_in(doing, {"token_type": "Bearer", **response}, "token_type")
    if not HEADER_TEXT.fullmatch(token.scheme + token.value):
        raise NoUsableAnswer(f"{doing}: the token that came back fits in no header", NO_ORG)
    return token
