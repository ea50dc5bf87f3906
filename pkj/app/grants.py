"""Grant SCOPES to the app."""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from pkj.app.service_app import ServiceApp
from pkj.console import Console
from pkj.errors import NoUsableResponse, OktaRefused
from pkj.masking import shortened
from pkj.okta.hints import CURES, OTHER_ANSWER
from pkj.okta.org import Org
from pkj.okta.responses import body_of
from pkj.settings import OKTA_DOMAINS

Failure = OktaRefused | NoUsableResponse


def grant_missing(
    org: Org, app: ServiceApp, scopes: Sequence[str], out: Console, refused: list[OktaRefused]
) -> None:
    """Grant the missing ones of `scopes` and print all granted ones; refusals go to `refused`.

    A refused scope does not stop the others. Grants beyond `scopes` are named and left
    alone. Raises OktaRefused if the grants cannot be listed, NoUsableResponse.
    """
    granted = set() if app.new else _granted(org, app)
    out.heading("Scopes granted:")
    if beyond := sorted(granted.difference(scopes)):
        names = shortened(" ".join(beyond), 2000)
        out.note(f"the app also has grants that are not in SCOPES (not removed): {names}")
    lines = {scope: scope for scope in granted}
    missing = [scope for scope in scopes if scope not in granted]
    missing = [scope for scope in missing if not out.would(f"grant {scope}")]
    failures: dict[str, Failure] = {}
    nothing = ""
    try:
        issuer = _issuer(org) if missing else ""
        for scope in missing:
            if failure := _grant(org, app, issuer, scope):
                failures[scope] = failure
            else:
                lines[scope] = scope if app.new else f"{scope} (new)"
        for scope in _listed(org, app) if failures else ():
            if failures.pop(scope, None):
                lines[scope] = scope
        nothing = "(none)"
    except NoUsableResponse:
        nothing = "(unknown)"
        raise
    finally:
        if text := "\n".join(lines[scope] for scope in scopes if scope in lines) or nothing:
            out.say(text)
        refused += [error for error in failures.values() if isinstance(error, OktaRefused)]
    for failure in failures.values():
        if isinstance(failure, NoUsableResponse):
            raise failure


def _grant(org: Org, app: ServiceApp, issuer: str, scope: str) -> Failure | None:
    """Grant the scope; why it may not be granted, None if Okta says that it is.

    POST /api/v1/apps/{id}/grants. Raises NoUsableResponse if there is no 2xx.
    """
    doing, body = f"granting {scope}", {"issuer": issuer, "scopeId": scope}
    try:
        answer = org.post(doing, f"{app.api_path}/grants", body)
    except OktaRefused as error:
        return error
    try:
        if body_of(doing, answer, dict).get("scopeId") == scope:
            return None
    except (OktaRefused, NoUsableResponse) as error:
        return error
    return NoUsableResponse(f"{doing}: the response names another scope", CURES[OTHER_ANSWER])


def _granted(org: Org, app: ServiceApp) -> set[str]:
    doing = f"reading the grants of the app {app.id}"
    listed = body_of(doing, org.get(doing, f"{app.api_path}/grants"), list)
    active = [g for g in listed if isinstance(g, dict) and g.get("status", "ACTIVE") == "ACTIVE"]
    return {g["scopeId"] for g in active if isinstance(g.get("scopeId"), str)}


def _listed(org: Org, app: ServiceApp) -> set[str]:
    """The granted scopes, none if they may not be read.

    What Okta answers to a grant that exists is not documented (okta-sdk-java's live test,
    ApplicationGrantsIT, takes a success or a 400): only the list tells.
    """
    try:
        return _granted(org, app)
    except OktaRefused:
        return set()


def _issuer(org: Org) -> str:
    """The org's URL as grants name it: its own also where OKTA_URL is a custom domain.

    /.well-known/okta-organization names it as `organization`. Where there is no such
    document, OKTA_URL has to do. Raises NoUsableResponse.
    """
    host = urlsplit(org.url).hostname or ""
    if host.endswith(tuple(f".{domain}" for domain in OKTA_DOMAINS)):
        return org.url
    doing = f"asking {org.host} for the org's own domain"
    try:
        answer = org.metadata(doing, "/.well-known/okta-organization")
        links = body_of(doing, answer, dict).get("_links")
    except OktaRefused:
        return org.url
    except NoUsableResponse as error:
        if error.status == 404:
            return org.url
        raise
    link = links.get("organization") if isinstance(links, dict) else None
    url = link.get("href") if isinstance(link, dict) else None
    if isinstance(url, str) and re.fullmatch(r"https://[^/?#\s]{1,255}/?", url):
        return url.removesuffix("/")
    return org.url
