"""Proof that a token works: one GET of the org's API with it, and what a refusal means."""

import re
from collections.abc import Mapping
from typing import Any

from pkj import masking
from pkj.console import Console
from pkj.errors import NoUsableAnswer, OktaRefused
from pkj.okta import causes
from pkj.okta.answers import Answer
from pkj.okta.org import Org
from pkj.token.access_token import Token

NONCE_WANTED = "use_dpop_nonce"
NO_TOKEN = ("E0000004", "E0000005", "E0000011", "invalid_token")
"""What Okta's APIs say to a token that is none of theirs, or none any more."""

OTHER_PLACE = "Okta does not take the token at this address: check OKTA_URL and the path"


def call(org: Org, token: Token, path: str, out: Console) -> None:
    """GET `path` with the token, and say what came back: the status, never what is in it.

    Raises OktaRefused with what to do, NoUsableAnswer.
    """
    try:
        answer = _get(org, token, path)
    except (OktaRefused, NoUsableAnswer) as error:
        out.say(f"GET {path} {error.status or 'no answer'}")
        if isinstance(error, OktaRefused):
            error.hint = _cure(error, token)
        elif error.status == 401:  # bare, as some gateways in front of an API send it
            raise OktaRefused(str(error), OTHER_PLACE, status=401) from error
        raise
    out.say(f"GET {path} {answer.status}")


def _get(org: Org, token: Token, path: str) -> Answer:
    def parts() -> Mapping[str, Any]:
        return {"headers": token.headers("GET", org.url + path)}

    try:
        return org.call(f"calling {path}", path, parts)
    except OktaRefused as refusal:
        # Okta's APIs have not asked for a nonce so far; RFC 9449 section 9 lets them.
        nonce = refusal.headers.get("DPoP-Nonce")
        challenge = refusal.headers.get("WWW-Authenticate", "")
        if NONCE_WANTED not in refusal.code + challenge or not nonce or token.prover is None:
            raise
        token.prover.api_nonce = nonce
        return org.call(f"calling {path}", path, parts)


def _cure(refusal: OktaRefused, token: Token) -> str:
    challenge = refusal.headers.get("WWW-Authenticate", "")
    if "insufficient_scope" in challenge:
        scope = re.search(r'scope="([^"]*)"', challenge)
        needed = masking.shown(scope[1], [token.value]) if scope else "the scope of this API"
        return f"the token lacks a scope: put {needed} into SCOPES and {_run_again()}"
    if refusal.code == "E0000006":
        return (
            "the app has no admin role, or one too small for this: put one into ADMIN_ROLES"
            f" (READ_ONLY_ADMIN is enough to read) and {_run_again()}"
        )
    if refusal.code in NO_TOKEN:
        return OTHER_PLACE
    return refusal.hint


def _run_again() -> str:
    return f"run `{causes.STEP_2}`; {causes.TOO_EARLY}"
