"""Whether the app binds tokens to a key: set as DPOP says, the rest of the app left alone."""

from collections.abc import Mapping
from typing import Any

from pkj.app.key import keys_of
from pkj.app.service_app import ServiceApp, keys_in
from pkj.console import Console
from pkj.errors import NoUsableResponse, OktaRefused
from pkj.masking import shortened
from pkj.okta.hints import CURES, OTHER_ANSWER
from pkj.okta.org import Org
from pkj.okta.responses import body_of

FLAG = "dpop_bound_access_tokens"
ADMIN_BOX = "Applications > the app > General > Require Demonstrating Proof of Possession (DPoP)"

Key = Mapping[str, Any]


def ensure_dpop(org: Org, app: ServiceApp, wanted: bool | None, out: Console) -> None:
    """Make the app require DPoP, or lift that, where DPOP says so and the app differs.

    PUT /api/v1/apps/{id} replaces the whole app: it goes back as it was read just before,
    but for this one flag. Raises OktaRefused, NoUsableResponse.
    """
    if wanted is None:
        return
    change = "require DPoP of" if wanted else "lift the DPoP requirement of"
    if not app.id:
        if wanted:
            out.would(f"{change} the new app")
        return
    doing = f"reading the settings of the app {app.id}"
    body = body_of(doing, org.get(doing, app.api_path), dict)
    client = _oauth_client(doing, body)
    if bool(client.get(FLAG)) == wanted:
        return
    _refuse_to_change_keys(org, app, client)
    if out.would(f"{change} the app {app.id}"):
        return
    client[FLAG] = wanted
    doing = f"setting whether the app {app.id} requires DPoP"
    put = body_of(doing, org.put(doing, app.api_path, body), dict)
    if bool(_oauth_client(doing, put).get(FLAG)) != wanted:
        raise NoUsableResponse(f"{doing}: Okta did not change it", f"change it at {ADMIN_BOX}")
    out.note(f"the app {app.id} {'now' if wanted else 'no longer'} requires DPoP")


def _oauth_client(doing: str, body: dict[str, Any]) -> dict[str, Any]:
    settings = body.get("settings")
    client = settings.get("oauthClient") if isinstance(settings, dict) else None
    if not isinstance(client, dict):
        problem = f"{doing}: the response has no settings.oauthClient"
        raise NoUsableResponse(problem, CURES[OTHER_ANSWER])
    return client


def _refuse_to_change_keys(org: Org, app: ServiceApp, client: Mapping[str, Any]) -> None:
    """Raise OktaRefused if sending `client` back would wipe, add or revive a key.

    What the body lacks is lost, and a key that it does not show as INACTIVE becomes active.
    """
    shown = [_identity(key) for key in keys_in(client)]
    held = keys_of(org, app, encryption_too=True)
    hint = f"set it by hand: {ADMIN_BOX}"
    for key in held:
        if key.get("status") == "INACTIVE" and _identity(key) not in shown:
            kid = shortened(str(key.get("kid")), 100)
            problem = f"the app {app.id} has an INACTIVE key {kid} that a change would revive"
            raise OktaRefused(problem, hint)
    if not shown or sorted(shown) != sorted(map(_identity, held)):
        problem = f"the app {app.id} shows other keys than it has: a change would replace them"
        raise OktaRefused(problem, hint)


def _identity(key: Key) -> str:
    """What makes a key the same one: its material, kid and status, as text to compare."""
    status = key.get("status") or "ACTIVE"
    return repr([status, *(key.get(m) for m in ("kid", "kty", "n", "e", "crv", "x", "y"))])
