"""Granting SCOPES to the app."""

from collections.abc import Sequence

from pkj.answers import body_of, text_in
from pkj.console import Console
from pkj.errors import OktaRefused
from pkj.masking import shortened
from pkj.okta import Org
from pkj.service_app import ServiceApp


def converge(
    org: Org, app: ServiceApp, scopes: Sequence[str], out: Console, refused: list[OktaRefused]
) -> None:
    """Grant what is missing of `scopes`, saying each granted one; refusals go to `refused`.

    A refused scope does not stop the others. Grants beyond `scopes` are named and left
    alone. Raises OktaRefused if the grants cannot be listed, NoUsableAnswer.
    """
    granted = set() if app.new else _granted(org, app)
    if beyond := sorted(granted.difference(scopes)):
        names = shortened(" ".join(beyond), 2000)
        out.note(f"the app has grants beyond SCOPES, which stay: {names}")
    errors: dict[str, OktaRefused] = {}
    try:
        for scope in scopes:
            if scope in granted:
                out.say(scope)
            elif not out.would(f"grant {scope}"):
                _try_to_grant(org, app, scope, out, errors)
        errors = _still_refused(org, app, errors, out)
    finally:
        refused.extend(errors.values())


def _try_to_grant(
    org: Org, app: ServiceApp, scope: str, out: Console, errors: dict[str, OktaRefused]
) -> None:
    try:
        new = _grant(org, app, scope)
    except OktaRefused as error:
        errors[scope] = error
    else:
        out.say(f"{scope} (new)" if new and not app.new else scope)


def _grant(org: Org, app: ServiceApp, scope: str) -> bool:
    """Whether this granted the scope, False if it was granted meanwhile.

    POST /api/v1/apps/{id}/grants; the issuer is the org's URL in its normal form.
    """
    doing, body = f"granting {scope}", {"issuer": org.url, "scopeId": scope}
    try:
        granted = body_of(doing, org.post(doing, f"{app.api_path}/grants", body), dict)
        text_in(doing, granted, "scopeId")
    except OktaRefused as error:
        if error.status == 409:  # somebody was faster, or an answer of ours was lost
            return False
        raise
    return True


def _granted(org: Org, app: ServiceApp) -> set[str]:
    doing = f"reading the grants of the app {app.id}"
    listed = body_of(doing, org.get(doing, f"{app.api_path}/grants"), list)
    active = [g for g in listed if isinstance(g, dict) and g.get("status", "ACTIVE") == "ACTIVE"]
    return {g["scopeId"] for g in active if isinstance(g.get("scopeId"), str)}


def _still_refused(
    org: Org, app: ServiceApp, refused: dict[str, OktaRefused], out: Console
) -> dict[str, OktaRefused]:
    # What Okta says to a grant that exists is not documented: a second look tells, if it may.
    try:
        granted = _granted(org, app) if refused else set()
    except OktaRefused:
        return refused
    for scope in granted.intersection(refused):
        out.say(scope)
    return {scope: error for scope, error in refused.items() if scope not in granted}
