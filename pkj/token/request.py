"""The access token: request it, retry a refusal that can be remedied, and print it."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric import rsa

from pkj.errors import LocalError, OktaRefused
from pkj.okta import responses
from pkj.okta.hints import CREATE_APP
from pkj.okta.org import Org
from pkj.okta.responses import Response
from pkj.token import assertion
from pkj.token.proof import Prover

HEADER_TEXT = r"[!-~]+"
"""The characters of an access token (RFC 6749 appendix A.12)."""

USELESS = (
    "a DPoP-bound token is useless without a proof: for the headers of one request, run"
    " get_access_token.py -o header --for METHOD URL"
)

CENTURIES = 10**10
"""Seconds, some three hundred years."""

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

NONCE_WANTED = "use_dpop_nonce"
PROOF_REFUSED = "invalid_dpop_proof"
PROOF_MISSING = "header is missing"
"""In Okta's description of an invalid_dpop_proof."""

ABOUT_TIME = {
    "invalid_client": ("is expired", "too far into the future", "before the current time"),
    PROOF_REFUSED: ("issued in the future", "minutes in the past", "is expired", "'iat' claim"),
}
"""In Okta's descriptions of an assertion, or a proof, that it refuses for its time."""


class Token:
    """A token response (RFC 6749 section 5.1), and what is needed to use the token.

    `received` is in POSIX seconds by the local clock, `clock_offset` the seconds by which Okta's
    clock is ahead of it; `prover` makes the proofs for a DPoP-bound token.
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
        """Seconds; None if missing or absurd."""
        seconds = self.response.get("expires_in")
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
            return None
        return int(seconds) if 0 <= seconds < CENTURIES else None

    def headers(self, method: str, url: str) -> dict[str, str]:
        """Return the headers for one request: Authorization, and a proof if the token is bound."""
        headers = {"Authorization": f"{self.scheme} {self.value}"}
        if self.is_bound and self.prover:
            offset, token = self.clock_offset, self.value
            headers["DPoP"] = self.prover.proof(method, url, clock_offset=offset, token=token)
        return headers

    def missing(self, scopes: Sequence[str]) -> list[str]:
        """Return those of the requested scopes that were not granted; without `scope` in the
        response, all were (RFC 6749 section 5.1)."""
        granted = self.response.get("scope")
        return [s for s in scopes if s not in granted.split()] if isinstance(granted, str) else []

    def printed(self, form: str, target: Sequence[str] | None) -> str:
        """Return the token in a form of `-o`; `target` is the method and URL that headers are
        for. Raises LocalError as `refuse_useless` does, NoUsableResponse."""
        if self.is_bound:
            refuse_useless(form, target)
        if form == "json":
            return self._as_json()
        if form == "header":
            headers = self.headers(*(target or ("", "")))
            return "\n".join(f"{name}: {value}" for name, value in headers.items())
        return self.value

    def remark(self, form: str) -> str:
        """Return what a person should know besides what is printed, if anything."""
        if form == "json" and self.is_bound:
            return f"warning: {USELESS}"
        if form != "text":
            return ""
        seconds = "an unknown number of" if self.expires_in is None else self.expires_in
        expiry = f"the token expires in {seconds} seconds"
        return f"{expiry}; {USELESS}" if self.is_bound else expiry

    def _as_json(self) -> str:
        """Return JSON: the response, `expires_at` in POSIX seconds, and `jkt` of a bound token."""
        more: dict[str, object] = {}
        if self.expires_in is not None:
            more["expires_at"] = self.received + self.expires_in
        if self.is_bound and self.prover:
            more["jkt"] = self.prover.thumbprint()
        return responses.written("asking for a token", {**self.response, **more}, ascii_only=True)


def refuse_useless(form: str, target: Sequence[str] | None) -> None:
    """Raise LocalError for a form in which nobody could use a DPoP-bound token."""
    if form == "token" or (form == "header" and not target):
        problem = "the token is bound to a key (DPoP): without a proof it is useless"
        raise LocalError(problem, "get the headers of one request: -o header --for METHOD URL")


class Client(NamedTuple):
    """Who asks: the client ID, the private key, and the kid by which the app knows it, if any."""

    id: str
    key: rsa.RSAPrivateKey
    kid: str | None


class TokenRequest:
    """A request for `scopes`, and what Okta's refusals have shown so far.

    `dpop` is what DPOP says: True to send a proof from the start, False never, None to find out.
    `note` is given lines for people.
    """

    def __init__(
        self,
        org: Org,
        client: Client,
        scopes: Sequence[str],
        dpop: bool | None,
        note: Callable[[str], None],
    ) -> None:
        self._org, self._client, self._scopes, self._dpop = org, client, scopes, dpop
        self._note = note
        self._prover = Prover() if dpop else None
        self._clock_offset, self._sent = 0.0, 0.0

    def send(self) -> Token:
        """Return a new access token. Each kind of refusal is remedied at most once.

        Raises OktaRefused, NoUsableResponse.
        """
        doing = f"asking for a token for {' '.join(self._scopes)}"
        remedies = [self._use_nonce, self._correct_clock, self._begin_proving]
        while True:
            try:
                response = self._org.ask_token(doing, self._arguments)
            except OktaRefused as refusal:
                used = next((remedy for remedy in remedies if remedy(refusal)), None)
                if used is None:
                    raise
                remedies.remove(used)
            else:
                return self._token(response)

    def _arguments(self) -> Mapping[str, Any]:
        url, client = self._org.token_url, self._client
        self._sent = time.time()
        now = self._sent + self._clock_offset
        form = {
            "grant_type": "client_credentials",
            "scope": " ".join(self._scopes),
            "client_id": client.id,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion.sign(client.key, client.id, url, kid=client.kid, now=now),
        }
        if self._prover is None:
            return {"data": form}
        proof = self._prover.proof("POST", url, clock_offset=self._clock_offset)
        return {"data": form, "headers": {"DPoP": proof}}

    def _use_nonce(self, refusal: OktaRefused) -> bool:
        nonce = refusal.headers.get("DPoP-Nonce")
        if refusal.code != NONCE_WANTED or self._prover is None or not nonce:
            return False
        self._prover.nonce = nonce
        self._compare_clocks(refusal.headers)
        return True

    def _correct_clock(self, refusal: OktaRefused) -> bool:
        about_time = any(text in refusal.summary for text in ABOUT_TIME.get(refusal.code, ()))
        return about_time and self._compare_clocks(refusal.headers)

    def _begin_proving(self, refusal: OktaRefused) -> bool:
        missing = refusal.code == PROOF_REFUSED and PROOF_MISSING in refusal.summary
        if not missing or self._dpop is not None:
            return False
        self._note(
            "the app requires DPoP: retrying with a proof; DPOP=true skips the failed first request"
        )
        self._prover = Prover()
        return True

    def _compare_clocks(self, headers: Mapping[str, str]) -> bool:
        """Sign by Okta's clock from now on; return whether that changes anything."""
        offset = responses.clock_offset(headers, self._sent)
        if offset is None or abs(offset - self._clock_offset) <= responses.LEAST_OFFSET:
            return False
        off = f"{abs(offset):.0f} s {'slow' if offset > 0 else 'fast'}"
        self._note(f"this machine's clock is {off}: signing by Okta's clock in this run")
        self._clock_offset = offset
        return True

    def _token(self, response: Response) -> Token:
        body = response.object()
        responses.text_in(response.doing, body, "access_token")
        if "token_type" in body:  # required by RFC 6749, but a Bearer token can do without
            responses.text_in(response.doing, body, "token_type")
        if self._prover:
            self._compare_clocks(response.headers)
        token = Token(body, int(time.time()), self._clock_offset, self._prover)
        if not re.fullmatch(HEADER_TEXT, token.scheme + token.value):
            raise response.unusable("the token that came back cannot be used in a header")
        if token.is_bound and self._prover is None:
            raise response.unusable("the token is bound to a key although no proof was sent")
        if self._dpop and not token.is_bound:
            kind = response.shown(token.scheme, 60)
            problem = f"{response.doing}: Okta issued a {kind} token although DPOP=true"
            raise OktaRefused(problem, f"run `{CREATE_APP}`, which makes the app require DPoP")
        return token
