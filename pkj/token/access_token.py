"""An access token: what a request needs to use it, and the forms in which it is shown."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pkj.token.proof import Prover

HEADER_TEXT = re.compile(r"[!-~]+")
"""What an access token is made of (RFC 6749 appendix A.12)."""

USELESS = (
    "a DPoP-bound token is useless without a proof: for the headers of one request, run"
    " get_access_token.py -o header --for METHOD URL"
)

CENTURIES = 10**10
"""Seconds, some three hundred years."""


class Token:
    """A token response (RFC 6749 section 5.1), and what its use takes.

    `received` is POSIX seconds by the local clock, `clock_offset` what Okta's is ahead of
    it; `prover` makes the proofs that a DPoP-bound token needs.
    """

    def __init__(
        self,
        response: Mapping[str, Any],
        received: int,
        clock_offset: float = 0,
        prover: Prover | None = None,
    ) -> None:
        self.response, self.received = response, received
        self.clock_offset, self.prover = clock_offset, prover

    @property
    def value(self) -> str:
        return str(self.response["access_token"])

    @property
    def scheme(self) -> str:
        return str(self.response.get("token_type", "Bearer"))

    @property
    def is_bound(self) -> bool:
        """Whether each request needs a proof (RFC 9449 section 5)."""
        return self.scheme.lower() == "dpop"

    @property
    def expires_in(self) -> int | None:
        """Seconds; None where the server does not say, or what nobody can mean."""
        seconds = self.response.get("expires_in")
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
            return None
        return int(seconds) if 0 <= seconds < CENTURIES else None

    def headers(self, method: str, url: str) -> dict[str, str]:
        """What one request needs: Authorization, and a proof of its own if the token is bound."""
        headers = {"Authorization": f"{self.scheme} {self.value}"}
        if self.is_bound and self.prover:
            offset, token = self.clock_offset, self.value
            headers["DPoP"] = self.prover.proof(method, url, clock_offset=offset, token=token)
        return headers

    def as_json(self) -> str:
        """The response, with `expires_at` in POSIX seconds, and `jkt` if the token is bound."""
        more: dict[str, object] = {}
        if self.expires_in is not None:
            more["expires_at"] = self.received + self.expires_in
        if self.is_bound and self.prover:
            more["jkt"] = self.prover.thumbprint()
        return json.dumps({**self.response, **more}, indent=2)

    def remarks(self) -> str:
        """What a person should know beside the token itself."""
        seconds = "an unknown number of" if self.expires_in is None else self.expires_in
        remark = f"the token expires in {seconds} seconds"
        return f"{remark}; {USELESS}" if self.is_bound else remark

    def printed(self, form: str, target: Sequence[str] | None) -> str:
        """The token in a form of `-o`; `target` is the method and URL that a header is for."""
        if form == "json":
            return self.as_json()
        if form == "header":
            headers = self.headers(*(target or ("", "")))
            return "\n".join(f"{name}: {value}" for name, value in headers.items())
        return self.value

    def missing(self, scopes: Sequence[str]) -> list[str]:
        """Those of the scopes asked for that were not granted; no `scope` means: as asked."""
        granted = self.response.get("scope")
        return [s for s in scopes if s not in granted.split()] if isinstance(granted, str) else []
