"""Assign ADMIN_ROLES to the app; without an admin role, Okta answers 403."""

from collections.abc import Sequence

from pkj.app.service_app import ServiceApp
from pkj.console import Console
from pkj.errors import NoUsableResponse, OktaRefused
from pkj.masking import shortened
from pkj.okta.hints import CURES, OTHER_ANSWER
from pkj.okta.org import Org
from pkj.okta.responses import Response, body_of

NONE_YET = (
    "the app has no admin role, so Okta will answer 403 to API calls: put"
    " ADMIN_ROLES=READ_ONLY_ADMIN (or another role type) into .env and run this again"
)


def assign_missing(
    org: Org, app: ServiceApp, roles: Sequence[str], out: Console, refused: list[OktaRefused]
) -> None:
    """Assign the roles that the app lacks; refusals go to `refused`.

    Roles beyond `roles` are named and left alone. Raises NoUsableResponse.
    """
    if "SUPER_ADMIN" in roles:
        out.note("SUPER_ADMIN lets whoever holds the key do everything in the org")
    try:
        held = _held(org, app)
    except OktaRefused as error:
        refused.extend([error] if roles else [])
        return
    if not roles and not held:
        out.note(NONE_YET)
    if beyond := sorted(set(held).difference(roles)):
        names = shortened(" ".join(beyond), 2000)
        out.note(f"the app also has admin roles that are not in ADMIN_ROLES (not removed): {names}")
    for role in roles:
        if role not in held and not out.would(f"assign the role {role}"):
            try:
                _assign(org, app, role, out)
            except OktaRefused as error:
                refused.append(error)


def _held(org: Org, app: ServiceApp) -> list[str]:
    """The role types of the app."""
    if not app.id:
        return []
    doing = f"reading the admin roles of the app {app.id}"
    listed = body_of(doing, org.get(doing, f"{app.client_path}/roles"), list)
    return [str(role.get("type")) for role in listed if isinstance(role, dict)]


def _assign(org: Org, app: ServiceApp, role: str, out: Console) -> None:
    """POST /oauth2/v1/clients/{id}/roles: 201 as recorded, 200 by the description."""
    doing = f"assigning the role {role}"
    answer: Response | None = None
    failure: OktaRefused | NoUsableResponse
    try:
        answer = org.post(doing, f"{app.client_path}/roles", {"type": role})
        if body_of(doing, answer, dict).get("type") == role:
            out.note(f"the role {role} was assigned to the app {app.id}")
            return
        failure = NoUsableResponse(f"{doing}: the response names another role", CURES[OTHER_ANSWER])
    except OktaRefused as error:
        failure = error
    except NoUsableResponse as error:
        if answer is None:  # no 2xx came
            raise
        failure = error
    if role not in _listed_again(org, app):
        raise failure
    out.note(f"the app {app.id} has the role {role}")


def _listed_again(org: Org, app: ServiceApp) -> list[str]:
    """The role types of the app, none if they may not be read."""
    try:
        return _held(org, app)
    except OktaRefused:
        return []
