"""Check that a token works with one GET; also validate the URLs of --check and --for."""

import re
from argparse import Namespace
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pkj import masking, settings
from pkj.console import Console
from pkj.errors import LocalError, NoUsableResponse, OktaRefused, UsageError
from pkj.okta.hints import CREATE_APP, TOO_EARLY
from pkj.okta.org import Org, as_sent
from pkj.okta.responses import Response
from pkj.token.request import NONCE_WANTED, Token

REFUSED_TOKEN = ("E0000004", "E0000005", "E0000011", "invalid_token")
"""What Okta's APIs say to a token that they did not issue, or that has expired."""

OTHER_PLACE = "Okta does not accept the token at this URL: check OKTA_URL and the path"


def target_of(options: Namespace, org: str) -> tuple[str, str] | None:
    """Return the method and the URL of `--for`, if given. Raises UsageError if it, or the path of
    `--check`, is not in the org at the URL `org`; the token is sent nowhere else."""
    if options.check:
        _check_url("--check", org + options.check, org)
    if not options.target:
        return None
    method, url = options.target
    _check_url("--for", url, org)
    return method.upper(), url


def _check_url(option: str, url: str, org: str) -> None:
    """Raise UsageError for a URL outside the org, or one that requests would rewrite, so that
    the proof would be for another one."""
    try:
        parts = urlsplit(url)
        same = settings.okta_url(f"{parts.scheme}://{parts.netloc}") == org
        # OKTA_URL is without the dot, so that a proof would name another URL than Okta's.
        same = same and not (parts.hostname or "").endswith(".")
    except (ValueError, LocalError):
        same = False
    if not same or not re.fullmatch(r"[!-\[\]-~]+", url):
        raise UsageError(f"{option} needs a URL that begins with {org}/")
    sent = as_sent(url.partition("#")[0])
    if sent not in (url.partition("#")[0], f"{url}/"):
        problem = f"the URL of {option} would be sent in another form"
        raise UsageError(problem, f"write {sent} for {url}")


def call(org: Org, token: Token, path: str, out: Console) -> None:
    """GET `path` with the token, and print the status, but nothing of the response.

    Raises OktaRefused, with a hint that fits the call, and NoUsableResponse.
    """
    try:
        response = _get(org, token, path)
    except (OktaRefused, NoUsableResponse) as error:
        out.say(f"GET {path} {error.status or 'no response'}")
        if isinstance(error, OktaRefused):
            error.hint = _hint(error, token)
        elif error.status == 401:  # bare, as some gateways in front of an API send it
            raise OktaRefused(str(error), OTHER_PLACE, status=401) from error
        raise
    out.say(f"GET {path} {response.status}")


def _get(org: Org, token: Token, path: str) -> Response:
    def arguments() -> Mapping[str, Any]:
        return {"headers": token.headers("GET", org.url + path)}

    try:
        return org.call(f"calling {path}", path, arguments)
    except OktaRefused as refusal:
        # Okta's APIs have not asked for a nonce so far; RFC 9449 section 9 allows it.
        nonce = refusal.headers.get("DPoP-Nonce")
        challenge = refusal.headers.get("WWW-Authenticate", "")
        if NONCE_WANTED not in refusal.code + challenge or not nonce or token.prover is None:
            raise
        token.prover.api_nonce = nonce
        return org.call(f"calling {path}", path, arguments)


def _hint(refusal: OktaRefused, token: Token) -> str:
    challenge = refusal.headers.get("WWW-Authenticate", "")
    run_again = f"run `{CREATE_APP}`; {TOO_EARLY}"
    if "insufficient_scope" in challenge:
        scope = re.search(r'scope="([^"]*)"', challenge)
        needed = masking.shown(scope[1], [token.value]) if scope else "the scope of this API"
        return f"the token lacks a scope: add {needed} to SCOPES and {run_again}"
    if refusal.code == "E0000006":
        return (
            "the app has no admin role, or not one that allows this: add one to ADMIN_ROLES"
            f" (READ_ONLY_ADMIN is enough to read) and {run_again}"
        )
    if refusal.code in REFUSED_TOKEN:
        return OTHER_PLACE
    return refusal.hint
