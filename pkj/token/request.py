"""The access token: request it, retry where a refusal can be remedied, and print it."""

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric import rsa

from pkj.errors import NoUsableResponse, OktaRefused
from pkj.okta import responses
from pkj.okta.hints import CURES, OTHER_ANSWER
from pkj.okta.org import Org
from pkj.okta.responses import Response, body_of, text_in
from pkj.token import assertion
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


ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

ABOUT_TIME = ("is expired", "too far into the future", "before the current time")
"""Of Okta's descriptions of an assertion that it refuses for its exp or iat."""

ABOUT_PROOF_TIME = ("issued in the future", "minutes in the past", "is expired", "'iat' claim")
PROOF_IS_MISSING = "header is missing"
"""Of Okta's descriptions under invalid_dpop_proof."""


class Client(NamedTuple):
    """Who asks: the app's id, its private key, and the kid the app knows the key by, if any."""

    id: str
    key: rsa.RSAPrivateKey
    kid: str | None


class TokenRequest:
    """A request for `scopes`, and what Okta's refusals have taught it so far.

    `dpop` is what DPOP says: True for a proof from the first try, False for none, None to
    find out. `note` takes a line for people.
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
        self._doing = f"asking for a token for {' '.join(scopes)}"

    def send(self) -> Token:
        """A fresh access token. Each kind of refusal is answered with at most one more try.

        Raises OktaRefused, NoUsableResponse.
        """
        lessons = [self._use_nonce, self._correct_clock, self._begin_proving]
        while True:
            try:
                answer = self._org.ask_token(self._doing, self._parts)
            except OktaRefused as refusal:
                learnt = next((lesson for lesson in lessons if lesson(refusal)), None)
                if learnt is None:
                    raise
                lessons.remove(learnt)
            else:
                return self._token(answer)

    def _parts(self) -> Mapping[str, Any]:
        url, client = self._org.token_url, self._client
        self._sent = time.time()
        moment = self._sent + self._clock_offset
        form = {
            "grant_type": "client_credentials",
            "scope": " ".join(self._scopes),
            "client_id": client.id,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion.sign(
                client.key, client.id, url, kid=client.kid, now=moment
            ),
        }
        if self._prover is None:
            return {"data": form}
        proof = self._prover.proof("POST", url, clock_offset=self._clock_offset)
        return {"data": form, "headers": {"DPoP": proof}}

    def _use_nonce(self, refusal: OktaRefused) -> bool:
        nonce = refusal.headers.get("DPoP-Nonce")
        if refusal.code != "use_dpop_nonce" or self._prover is None or not nonce:
            return False
        self._prover.nonce = nonce
        self._learn_time(refusal.headers)
        return True

    def _correct_clock(self, refusal: OktaRefused) -> bool:
        texts = {"invalid_client": ABOUT_TIME, "invalid_dpop_proof": ABOUT_PROOF_TIME}
        about_time = any(text in refusal.summary for text in texts.get(refusal.code, ()))
        return about_time and self._learn_time(refusal.headers)

    def _begin_proving(self, refusal: OktaRefused) -> bool:
        missing = refusal.code == "invalid_dpop_proof" and PROOF_IS_MISSING in refusal.summary
        if not missing or self._dpop is not None:
            return False
        self._note(
            "the app requires DPoP: retrying with a proof; DPOP=true skips the failed first request"
        )
        self._prover = Prover()
        return True

    def _learn_time(self, headers: Mapping[str, str]) -> bool:
        offset = responses.offset(headers, self._sent)
        if offset is None or abs(offset - self._clock_offset) <= responses.LEAST:
            return False
        self._note(f"{responses.described(offset)}: signing by Okta's clock in this run")
        self._clock_offset = offset
        return True

    def _token(self, answer: Response) -> Token:
        response = body_of(self._doing, answer, dict)
        text_in(self._doing, response, "access_token")
        text_in(self._doing, {"token_type": "Bearer", **response}, "token_type")
        if self._prover:
            self._learn_time(answer.headers)
        token = Token(response, int(time.time()), self._clock_offset, self._prover)
        if not HEADER_TEXT.fullmatch(token.scheme + token.value):
            problem = f"{self._doing}: the token that came back cannot be used in a header"
            raise NoUsableResponse(problem, CURES[OTHER_ANSWER])
        if token.is_bound and self._prover is None:
            problem = f"{self._doing}: the token is bound to a key although no proof was sent"
            raise NoUsableResponse(problem, CURES[OTHER_ANSWER])
        if self._dpop and not token.is_bound:
            kind = answer.shown(token.scheme, 60)
            problem = f"{self._doing}: Okta gave a {kind} token although DPOP=true"
            hint = "run `python create_okta_service_app.py`, which makes the app require DPoP"
            raise OktaRefused(problem, hint)
        return token
