"""Assign ADMIN_ROLES to the app; without an admin role, Okta answers 403 to API calls."""

from collections.abc import Sequence

from pkj.app.service_app import ServiceApp
from pkj.console import Console
from pkj.errors import Failure, NoUsableResponse, OktaRefused
from pkj.masking import shortened
from pkj.okta.org import Org

NONE_YET = (
    "warning: the app has no admin role, so Okta will answer 403 to API calls: set"
    " ADMIN_ROLES=READ_ONLY_ADMIN (or another role type) in .env, and run this again"
)


def warn_if_none(org: Org, app: ServiceApp, roles: Sequence[str], out: Console) -> None:
    """Warn if the app has no admin role, and `roles` is empty. Roles that cannot be read are no
    reason to stop."""
    if roles:
        return
    try:
        held = _held(org, app, roles, out)
    except (OktaRefused, NoUsableResponse):
        return
    if not held:
        out.note(NONE_YET)


def assign_missing(
    org: Org, app: ServiceApp, roles: Sequence[str], out: Console, refused: list[OktaRefused]
) -> None:
    """Assign those of `roles` that the app lacks. A refusal does not stop the others: it goes to
    `refused`. Raises NoUsableResponse."""
    for role in missing_roles(org, app, roles, out, refused):
        try:
            _assign(org, app, role, out)
        except OktaRefused as error:
            refused.append(error)


def missing_roles(
    org: Org, app: ServiceApp, roles: Sequence[str], out: Console, refused: list[OktaRefused]
) -> list[str]:
    """Return those of `roles` that the app lacks; none if they may not be read, which goes to
    `refused`. Raises NoUsableResponse."""
    if not roles:
        return []
    if "SUPER_ADMIN" in roles:
        out.note("warning: SUPER_ADMIN lets anyone who has the key do everything in the org")
    try:
        held = _held(org, app, roles, out)
    except OktaRefused as error:
        refused.append(error)
        return []
    return [role for role in roles if role not in held]


def _held(org: Org, app: ServiceApp, roles: Sequence[str], out: Console) -> list[str]:
    """Return the role types of the app. Note those that are not in `roles`, which stay."""
    held = _read(org, app) if app.id else []
    if beyond := sorted(set(held).difference(roles)):
        names = shortened(" ".join(beyond), 2000)
        out.note(f"the app also has admin roles that are not in ADMIN_ROLES (not removed): {names}")
    return held


def _read(org: Org, app: ServiceApp) -> list[str]:
    doing = f"reading the admin roles of the app {app.id}"
    listed = org.get(doing, f"{app.client_path}/roles").array()
    return [str(role.get("type")) for role in listed if isinstance(role, dict)]


def _assign(org: Org, app: ServiceApp, role: str, out: Console) -> None:
    """POST /oauth2/v1/clients/{id}/roles: 201 as recorded, 200 by the description."""
    response = None
    failure: Failure
    try:
        response = org.post(
            f"assigning the role {role}", f"{app.client_path}/roles", {"type": role}
        )
        if response.object().get("type") == role:
            out.note(f"the role {role} was assigned to the app {app.id}")
            return
        failure = response.unusable("the response names another role")
    except OktaRefused as error:
        failure = error
    except NoUsableResponse as error:
        if response is None:  # no 2xx came
            raise
        failure = error
    if role not in _held_after_all(org, app):
        raise failure
    out.note(f"the app {app.id} has the role {role}")


def _held_after_all(org: Org, app: ServiceApp) -> list[str]:
    """Return the role types of the app, none if they may not be read."""
    try:
        return _read(org, app)
    except OktaRefused:
        return []
