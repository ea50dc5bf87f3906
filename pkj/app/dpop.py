"""Make the app require DPoP, or not, as DPOP says; change nothing else."""

from collections.abc import Mapping
from typing import Any

from pkj.app.key import keys_of
from pkj.app.service_app import ServiceApp, keys_in
from pkj.console import Console
from pkj.errors import NoUsableResponse, OktaRefused
from pkj.masking import shortened
from pkj.okta.org import Org
from pkj.okta.responses import Response

FLAG = "dpop_bound_access_tokens"
CHECKBOX = "Applications > the app > General > Require Demonstrating Proof of Possession (DPoP)"


def ensure_dpop(org: Org, app: ServiceApp, wanted: bool | None, out: Console) -> None:
    """Make the app require DPoP, or not, if DPOP says so and the app differs.

    PUT /api/v1/apps/{id} replaces the whole app: it gets what was read just before, except for
    this one flag. Raises OktaRefused, NoUsableResponse.
    """
    body = differing(org, app, wanted)
    if body is None:
        return
    body["settings"]["oauthClient"][FLAG] = wanted
    doing = f"setting whether the app {app.id} requires DPoP"
    put = org.put(doing, app.api_path, body)
    if bool(_oauth_client(put, put.object()).get(FLAG)) != wanted:
        raise NoUsableResponse(f"{doing}: Okta did not change it", f"change it at {CHECKBOX}")
    out.note(f"the app {app.id} {'now' if wanted else 'no longer'} requires DPoP")


def differing(org: Org, app: ServiceApp, wanted: bool | None) -> dict[str, Any] | None:
    """Return the app in full if its flag is not as wanted. Raises OktaRefused if changing it
    would change the app's keys; NoUsableResponse."""
    if wanted is None:
        return None
    response = org.get(f"reading the settings of the app {app.id}", app.api_path)
    body = response.object()
    client = _oauth_client(response, body)
    if bool(client.get(FLAG)) == wanted:
        return None
    _refuse_to_change_keys(org, app, client)
    return body


def _oauth_client(response: Response, body: Mapping[str, Any]) -> dict[str, Any]:
    settings = body.get("settings")
    client = settings.get("oauthClient") if isinstance(settings, dict) else None
    if not isinstance(client, dict):
        raise response.unusable("the response has no settings.oauthClient")
    return client


def _refuse_to_change_keys(org: Org, app: ServiceApp, client: Mapping[str, Any]) -> None:
    """Raise OktaRefused if sending `client` back would remove, add or reactivate a key.

    A key that the body lacks is lost, and one that it does not show as INACTIVE becomes active.
    """
    shown = [_identity(key) for key in keys_in(client)]
    held = keys_of(org, app, encryption_too=True)
    hint = f"set it by hand: {CHECKBOX}"
    for key in held:
        if key.get("status") == "INACTIVE" and _identity(key) not in shown:
            kid = shortened(str(key.get("kid")), 100)
            problem = f"the app {app.id} has an INACTIVE key {kid} that a change would reactivate"
            raise OktaRefused(problem, hint)
    if not shown or sorted(shown) != sorted(map(_identity, held)):
        problem = f"the settings of app {app.id} show other keys: a change would replace its own"
        raise OktaRefused(problem, hint)


def _identity(key: Mapping[str, Any]) -> str:
    """Return what identifies a key, to compare: its material, kid and status."""
    status = key.get("status") or "ACTIVE"
    return repr([status, *(key.get(m) for m in ("kid", "kty", "n", "e", "crv", "x", "y"))])
