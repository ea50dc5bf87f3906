"""`/api/v1/apps/{id}`: an app as the admin console sees it, its lifecycle, and its end."""

from typing import Any

from pkj.sandbox.admins import may_change
from pkj.sandbox.exchange import Answer, management_refusal
from pkj.sandbox.state import APP, Call, Client, OrgState, timestamp

KIND = APP
SHOWN_METADATA = ("client_uri", "logo_uri", "redirect_uris", "response_types", "grant_types")


def read(org: OrgState, call: Call) -> Answer:
    return Answer(200, app_body(org, org.client(call.ids[0], KIND)))


def deactivate(org: OrgState, call: Call) -> Answer:
    """POST: 200 with an empty object; the app gets no tokens, and those it has stop working."""
    answer = _set_status(org, call, "INACTIVE")
    org.client(call.ids[0], KIND).undeletable = org.deactivation_lag
    return answer


def activate(org: OrgState, call: Call) -> Answer:
    return _set_status(org, call, "ACTIVE")


def delete(org: OrgState, call: Call) -> Answer:
    """DELETE: 204; 403 E0000056 while the app is active, as recorded, and a little longer
    where the org lags (terraform-provider-okta waits 20 to 30 seconds, services/idaas/app.go)."""
    client = org.client(call.ids[0], KIND)
    may_change(call, client)
    if client.status == "ACTIVE" or client.undeletable:
        client.undeletable = max(client.undeletable - 1, 0)
        reason = "The application must be deactivated before deletion."
        raise management_refusal(403, "E0000056", "Delete application forbidden.", reason)
    del org.clients[client.id]
    return Answer(204)


def app_body(org: OrgState, client: Client) -> dict[str, Any]:
    """The whole app, in the shape of the recordings."""
    sections = client.sections
    return {
        "id": client.id,
        "orn": f"orn:pretend:idp:00opretend:apps:oidc_client:{client.id}",
        "name": "oidc_client",
        "label": client.metadata["client_name"],
        "status": client.status,
        "lastUpdated": timestamp(client.updated),
        "created": timestamp(client.created),
        "accessibility": sections["accessibility"],
        "visibility": sections["visibility"],
        "features": [],
        "signOnMode": "OPENID_CONNECT",
        "credentials": sections["credentials"] | {"oauthClient": _oauth_credentials(client)},
        "settings": sections["settings"] | {"oauthClient": _oauth_settings(client)},
        "_links": _links(org, client),
    }


def _oauth_credentials(client: Client) -> dict[str, object]:
    method = client.metadata["token_endpoint_auth_method"]
    own = {"client_id": client.id, "token_endpoint_auth_method": method}
    return client.sections["oauth_credentials"] | own


def _oauth_settings(client: Client) -> dict[str, object]:
    settings = {name: client.metadata.get(name) for name in SHOWN_METADATA}
    if client.metadata.get("jwks_uri"):
        settings["jwks_uri"] = client.metadata["jwks_uri"]
    if client.keys:
        settings["jwks"] = {"keys": client.keys}
    settings["application_type"] = client.metadata["application_type"]
    settings["dpop_bound_access_tokens"] = client.dpop_bound
    return settings | client.sections["oauth_settings"]


def _links(org: OrgState, client: Client) -> dict[str, object]:
    app = f"{org.url}/api/v1/apps/{client.id}"
    turn = "deactivate" if client.status == "ACTIVE" else "activate"
    return {
        "groups": {"href": f"{app}/groups"},
        "users": {"href": f"{app}/users"},
        "clientCredentials": [{"name": "jwks", "href": f"{app}/credentials/jwks"}],
        turn: {"href": f"{app}/lifecycle/{turn}"},
    }


def _set_status(org: OrgState, call: Call, status: str) -> Answer:
    client = org.client(call.ids[0], KIND)
    may_change(call, client)
    client.status = status
    client.updated = org.now()
    return Answer(200, {})
