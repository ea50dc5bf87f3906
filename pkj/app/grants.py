"""Grant SCOPES to the app."""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from pkj.app.service_app import ServiceApp
from pkj.console import Console
from pkj.errors import Failure, NoUsableResponse, OktaRefused
from pkj.masking import shortened
from pkj.okta.org import Org
from pkj.settings import OKTA_DOMAINS


def grant_missing(
    org: Org, app: ServiceApp, scopes: Sequence[str], out: Console, refused: list[OktaRefused]
) -> None:
    """Grant those of `scopes` that are missing, and print all that are granted.

    A refusal does not stop the others: it goes to `refused`. Raises OktaRefused if the grants
    cannot be listed, NoUsableResponse.
    """
    missing = missing_scopes(org, app, scopes, out)
    granted = {scope: scope for scope in scopes if scope not in missing}
    failures: dict[str, Failure] = {}
    otherwise = "(unknown)"
    out.heading("Scopes granted:")
    try:
        issuer = _issuer(org) if missing else ""
        for scope in missing:
            if failure := _grant(org, app, issuer, scope):
                failures[scope] = failure
            else:
                granted[scope] = scope if app.new else f"{scope} (new)"
        for scope in _granted_after_all(org, app) if failures else ():
            if failures.pop(scope, None):
                granted[scope] = scope
        otherwise = "(none)"
    finally:
        out.say("\n".join(granted[scope] for scope in scopes if scope in granted) or otherwise)
        refused += [error for error in failures.values() if isinstance(error, OktaRefused)]
    for failure in failures.values():
        if isinstance(failure, NoUsableResponse):
            raise failure


def missing_scopes(org: Org, app: ServiceApp, scopes: Sequence[str], out: Console) -> Sequence[str]:
    """Return those of `scopes` that are not granted. Note grants beyond them, which stay.

    Raises OktaRefused, NoUsableResponse.
    """
    if app.new:
        return scopes
    granted = _granted(org, app)
    if beyond := sorted(granted.difference(scopes)):
        names = shortened(" ".join(beyond), 2000)
        out.note(f"the app also has grants that are not in SCOPES (not removed): {names}")
    return [scope for scope in scopes if scope not in granted]


def _grant(org: Org, app: ServiceApp, issuer: str, scope: str) -> Failure | None:
    """Grant the scope; return why it was not granted, None if Okta says that it was.

    POST /api/v1/apps/{id}/grants. Raises NoUsableResponse if there is no 2xx.
    """
    body = {"issuer": issuer, "scopeId": scope}
    try:
        response = org.post(f"granting {scope}", f"{app.api_path}/grants", body)
    except OktaRefused as error:
        return error
    try:
        if response.object().get("scopeId") == scope:
            return None
    except (OktaRefused, NoUsableResponse) as error:
        return error
    return response.unusable("the response names another scope")


def _granted(org: Org, app: ServiceApp) -> set[str]:
    listed = org.get(f"reading the grants of the app {app.id}", f"{app.api_path}/grants").array()
    active = [g for g in listed if isinstance(g, dict) and g.get("status", "ACTIVE") == "ACTIVE"]
    return {g["scopeId"] for g in active if isinstance(g.get("scopeId"), str)}


def _granted_after_all(org: Org, app: ServiceApp) -> set[str]:
    """Return the granted scopes, none if they may not be read.

    Okta's response to a duplicate grant is not documented (okta-sdk-java's live test,
    ApplicationGrantsIT, accepts a success or a 400): only the list tells.
    """
    try:
        return _granted(org, app)
    except OktaRefused:
        return set()


def _issuer(org: Org) -> str:
    """Return the org's own URL, which grants need even if OKTA_URL is a custom domain.

    /.well-known/okta-organization has it as `organization`. Without that document, OKTA_URL is
    used. Raises NoUsableResponse.
    """
    host = urlsplit(org.url).hostname or ""
    if host.endswith(tuple(f".{domain}" for domain in OKTA_DOMAINS)):
        return org.url
    try:
        doing = f"asking {org.host} for the org's own domain"
        links = org.metadata(doing, "/.well-known/okta-organization").object().get("_links")
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
