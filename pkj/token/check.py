"""Check that a token works with one GET; also what --for and --check may name."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pkj import masking, settings
from pkj.console import Console
from pkj.errors import LocalError, NoUsableResponse, OktaRefused, UsageError
from pkj.okta import hints
from pkj.okta import org as okta
from pkj.okta.org import Org
from pkj.okta.responses import Response
from pkj.token.request import Token


def check_usage(form: str | None, target: list[str] | None, path: str | None) -> None:
    """Raises UsageError where `-o`, `--for` and `--check` do not go together."""
    if target and form != "header":
        raise UsageError("--for requires -o header")
    if path is not None and form:
        raise UsageError("--check cannot be combined with -o")
    if path is not None and not re.fullmatch(r"/(?!/)[!-\"$-\[\]-~]*", path):
        raise UsageError("--check takes a path of the org, like /api/v1/users")
    if target and not re.fullmatch(r"[A-Za-z]+", target[0]):
        raise UsageError(f"--for takes a method like GET, not {target[0]!r}")


def check_url(url: str, org: str) -> None:
    """Raises UsageError for a URL that is not of the org at the URL `org`: the token is for
    nobody else. Also for one that would go out in another form than the proof is made for."""
    try:
        parts = urlsplit(url)
        same = settings.okta_url(f"{parts.scheme}://{parts.netloc}") == org
        # OKTA_URL goes without the dot, and a proof would name another address than Okta's.
        same = same and not (parts.hostname or "").endswith(".")
    except (ValueError, LocalError):
        same = False
    if not same or not re.fullmatch(r"[!-\[\]-~]+", url):
        raise UsageError(f"--for takes a URL that begins with {org}/")
    sent = okta.as_sent(url.partition("#")[0])
    if sent not in (url.partition("#")[0], f"{url}/"):
        raise UsageError("a request for that URL goes out in another form", f"write {sent}")


def refuse_bound(form: str, target: list[str] | None) -> None:
    """Raises LocalError for a form in which nobody could use a DPoP-bound token."""
    if form == "token" or (form == "header" and not target):
        problem = "the token is bound to a key (DPoP): without a proof it is useless"
        raise LocalError(problem, "ask for a request's own headers: -o header --for METHOD URL")


NONCE_WANTED = "use_dpop_nonce"
NO_TOKEN = ("E0000004", "E0000005", "E0000011", "invalid_token")
"""What Okta's APIs say to a token that is none of theirs, or none any more."""

OTHER_PLACE = "Okta does not take the token at this address: check OKTA_URL and the path"


def call(org: Org, token: Token, path: str, out: Console) -> None:
    """GET `path` with the token, and say what came back: the status, never what is in it.

    Raises OktaRefused with what to do, NoUsableResponse.
    """
    try:
        answer = _get(org, token, path)
    except (OktaRefused, NoUsableResponse) as error:
        out.say(f"GET {path} {error.status or 'no answer'}")
        if isinstance(error, OktaRefused):
            error.hint = _cure(error, token)
        elif error.status == 401:  # bare, as some gateways in front of an API send it
            raise OktaRefused(str(error), OTHER_PLACE, status=401) from error
        raise
    out.say(f"GET {path} {answer.status}")


def _get(org: Org, token: Token, path: str) -> Response:
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
    return f"run `{hints.STEP_2}`; {hints.TOO_EARLY}"
