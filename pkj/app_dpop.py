"""Whether the app binds tokens to a key: set as DPOP says, the rest of the app left alone."""

from collections.abc import Mapping
from typing import Any

from pkj.answers import body_of
from pkj.app_key import keys_of
from pkj.console import Console
from pkj.errors import NoUsableAnswer, OktaRefused
from pkj.instead import CURES, OTHER_ANSWER
from pkj.masking import shortened
from pkj.okta import Org
from pkj.service_app import ServiceApp

FLAG = "dpop_bound_access_tokens"
ADMIN_BOX = "Applications > the app > General > Require Demonstrating Proof of Possession (DPoP)"

Key = Mapping[str, Any]


def converge(org: Org, app: ServiceApp, wanted: bool | None, out: Console) -> None:
    """Make the app require DPoP, or lift that, where DPOP says so and the app differs.

    PUT /api/v1/apps/{id} replaces the whole app: it goes back as it was read just before,
    but for this one flag. Raises OktaRefused, NoUsableAnswer.
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
    _refuse_to_revive(org, app, client)
    if out.would(f"{change} the app {app.id}"):
        return
    client[FLAG] = wanted
    doing = f"setting whether the app {app.id} requires DPoP"
    put = body_of(doing, org.put(doing, app.api_path, body), dict)
    if bool(_oauth_client(doing, put).get(FLAG)) != wanted:
        raise NoUsableAnswer(f"{doing}: Okta did not change it", f"change it at {ADMIN_BOX}")
    out.note(f"the app {app.id} {'now' if wanted else 'no longer'} requires DPoP")


def _oauth_client(doing: str, body: dict[str, Any]) -> dict[str, Any]:
    settings = body.get("settings")
    client = settings.get("oauthClient") if isinstance(settings, dict) else None
    if not isinstance(client, dict):
        problem = f"{doing}: the answer has no settings.oauthClient in it"
        raise NoUsableAnswer(problem, CURES[OTHER_ANSWER])
    return client


def _refuse_to_revive(org: Org, app: ServiceApp, client: Mapping[str, Any]) -> None:
    """An INACTIVE key that the body does not show as such would be active once it is sent."""
    jwks = client.get("jwks")
    listed = jwks.get("keys") if isinstance(jwks, dict) else None
    shown = listed if isinstance(listed, list) else []
    for key in keys_of(org, app, encryption_too=True):
        if key.get("status") != "INACTIVE" or any(_same(key, k) for k in shown if _inactive(k)):
            continue
        kid = shortened(str(key.get("kid")), 100)
        problem = f"the app {app.id} has an INACTIVE key {kid} that a change would revive"
        raise OktaRefused(problem, f"set it by hand: {ADMIN_BOX}")


def _inactive(key: object) -> bool:
    return isinstance(key, dict) and key.get("status") == "INACTIVE"


def _same(one: Key, other: Key) -> bool:
    members = ("kty", "n", "e", "crv", "x", "y")
    return all(one.get(member) == other.get(member) for member in members)
