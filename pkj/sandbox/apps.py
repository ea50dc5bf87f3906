"""`/api/v1/apps/{id}`: an app as the Admin Console shows it, its lifecycle, keys and grants."""

import re
from typing import Any

from pkj.sandbox.exchange import Refusal, Response, json_object, management_refusal
from pkj.sandbox.jose import Key, accepted_key, accepted_set, check_together, key_refusal
from pkj.sandbox.state import (
    PRIVATE_KEY_JWT,
    Call,
    Client,
    OrgState,
    Sections,
    may_change,
    may_change_keys,
    new_id,
    new_sections,
    not_found,
    only_super,
    timestamp,
)

SHOWN_METADATA = ("client_uri", "logo_uri", "redirect_uris", "response_types", "grant_types")


def read(org: OrgState, call: Call) -> Response:
    return Response(200, _app_body(org, org.app(call)))


def deactivate(org: OrgState, call: Call) -> Response:
    """POST: 200 with an empty object; the app gets no tokens, and those it has stop working."""
    response = _set_status(org, call, "INACTIVE")
    org.app(call).undeletable = org.deactivation_lag
    return response


def activate(org: OrgState, call: Call) -> Response:
    return _set_status(org, call, "ACTIVE")


def delete(org: OrgState, call: Call) -> Response:
    """DELETE: 204; 403 E0000056 while the app is active, as recorded, and a little longer
    if the org lags (terraform-provider-okta waits 20 to 30 seconds, services/idaas/app.go)."""
    client = org.app(call)
    may_change(call, client)
    if client.status == "ACTIVE" or client.undeletable:
        client.undeletable = max(client.undeletable - 1, 0)
        reason = "The application must be deactivated before deletion."
        raise management_refusal(403, "E0000056", "Delete application forbidden.", reason)
    del org.clients[client.id]
    return Response(204)


def _app_body(org: OrgState, client: Client) -> dict[str, Any]:
    """Return the whole app, as in the recordings."""
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


def _set_status(org: OrgState, call: Call, status: str) -> Response:
    client = org.app(call)
    may_change(call, client)
    client.status = status
    client.updated = org.now()
    return Response(200, {})


# PUT `/api/v1/apps/{id}` replaces the whole app: what the body lacks is lost.

Json = dict[str, Any]

# The fields of `settings.oauthClient` and `credentials.oauthClient` that have a meaning here.
ACTED_ON = {
    *SHOWN_METADATA,
    "jwks",
    "jwks_uri",
    "application_type",
    "dpop_bound_access_tokens",
    "client_id",
    "token_endpoint_auth_method",
}
AUTH_METHODS = (
    PRIVATE_KEY_JWT,
    "client_secret_basic",
    "client_secret_post",
    "client_secret_jwt",
    "none",
)


def replace(org: OrgState, call: Call) -> Response:
    """PUT: 200 with the changed app. Status and the server's own fields are ignored."""
    client = org.app(call)
    may_change(call, client)
    body = json_object(call.request)
    _check_whole(body)
    settings, credentials = _part(body, "settings"), _part(body, "credentials")
    metadata = _metadata(client, body["label"], settings, credentials)
    keys = _keys(org, client, settings)
    if keys != client.keys:
        may_change_keys(call, client)
    client.metadata, client.keys = metadata, keys
    client.dpop_bound = settings.get("dpop_bound_access_tokens") is True
    client.sections = _sections(body)
    client.updated = org.now()
    return Response(200, _app_body(org, client))


def _invalid(name: str, reason: str = "The field cannot be left blank") -> Refusal:
    summary = f"Api validation failed: {name}"
    return management_refusal(400, "E0000001", summary, f"{name}: {reason}")


def _check_whole(body: Json) -> None:
    for name, needed in (("name", "oidc_client"), ("signOnMode", "OPENID_CONNECT")):
        if body.get(name) != needed:
            raise _invalid(name, f"The field must be '{needed}'")
    if not isinstance(body.get("label"), str) or not body["label"].strip():
        raise _invalid("label")


def _part(body: Json, section: str) -> Json:
    """Return the `oauthClient` object of a section."""
    outer = body.get(section)
    part = outer.get("oauthClient") if isinstance(outer, dict) else None
    if not isinstance(part, dict):
        raise _invalid(f"{section}.oauthClient")
    return part


def _metadata(client: Client, label: object, settings: Json, credentials: Json) -> Json:
    if settings.get("application_type") != client.metadata["application_type"]:
        raise _invalid("application_type", "The field cannot be changed")
    if credentials.get("client_id", client.id) != client.id:
        raise _invalid("client_id", "The field cannot be changed")
    method = credentials.get("token_endpoint_auth_method")
    if method not in AUTH_METHODS:
        raise _invalid("token_endpoint_auth_method")
    if not isinstance(settings.get("dpop_bound_access_tokens"), bool | None):
        raise _invalid("dpop_bound_access_tokens", "The field must be true or false")
    for name in ("response_types", "grant_types"):
        if not _is_list_of_text(settings.get(name)):
            raise _invalid(name, "The field must be a list of strings")
    shown = {name: settings.get(name) for name in SHOWN_METADATA}
    fixed = {
        "client_name": label,
        "application_type": client.metadata["application_type"],
        "token_endpoint_auth_method": method,
    }
    uri = {"jwks_uri": settings["jwks_uri"]} if settings.get("jwks_uri") else {}
    kept = {name: value for name, value in client.metadata.items() if name != "jwks_uri"}
    return kept | shown | fixed | uri


def _is_list_of_text(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _keys(org: OrgState, client: Client, settings: Json) -> list[Key]:
    """Return the keys that were sent; all others are removed. Existing keys keep their encoding."""
    jwks, uri = settings.get("jwks"), settings.get("jwks_uri")
    if uri and (jwks or not isinstance(uri, str)):
        raise _invalid("jwks_uri", "Exactly one of 'jwks' and 'jwks_uri' can be given")
    return accepted_set(jwks, client.keys, lenient=org.lenient_jwk) if jwks else []


def _sections(body: Json) -> Sections:
    """Return the parts without a meaning here, as sent; those that were not sent are reset."""
    sections = new_sections()
    for name in ("accessibility", "visibility"):
        if isinstance(body.get(name), dict):
            sections[name] = body[name]
    for name in ("settings", "credentials"):
        outer: Json = body[name]
        sections[name] = {k: v for k, v in outer.items() if k != "oauthClient"}
        sent = outer["oauthClient"].items()
        sections[f"oauth_{name}"] = {k: v for k, v in sent if k not in ACTED_ON}
    return sections


# `/api/v1/apps/{id}/credentials/jwks`: the signing keys of an app, one at a time.


def list_keys(org: OrgState, call: Call) -> Response:
    """GET: a plain array (one of Okta's examples wraps it)."""
    return Response(200, org.app(call).keys)


def add_key(org: OrgState, call: Call) -> Response:
    """POST: 201 with the key and the `pks…` id that Okta gives it."""
    client = org.app(call)
    may_change_keys(call, client)
    if client.metadata.get("jwks_uri"):
        raise key_refusal("The keys of this app are at its 'jwks_uri'.")
    key = accepted_key(json_object(call.request), lenient=org.lenient_jwk)
    check_together([*client.keys, key])
    client.keys.append(key)
    return Response(201, key)


def activate_key(org: OrgState, call: Call) -> Response:
    _, key = _key_to_change(org, call)
    key["status"] = "ACTIVE"
    return Response(200, key)


def deactivate_key(org: OrgState, call: Call) -> Response:
    """POST: 200; an app that signs assertions must keep an active key.

    A key for encryption does not stand in for it.
    """
    client, key = _key_to_change(org, call)
    active = [other for other in client.keys if other["status"] == "ACTIVE"]
    signing = [other for other in active if other["use"] != "enc"]
    method = client.metadata["token_endpoint_auth_method"]
    if signing == [key] and method == PRIVATE_KEY_JWT:
        raise key_refusal("The only active key of the app can't be deactivated.")
    key["status"] = "INACTIVE"
    return Response(200, key)


def delete_key(org: OrgState, call: Call) -> Response:
    """DELETE: 204, of an INACTIVE key only."""
    client, key = _key_to_change(org, call)
    if key["status"] == "ACTIVE":
        raise key_refusal("An active key can't be deleted.")
    client.keys.remove(key)
    return Response(204)


def _key_to_change(org: OrgState, call: Call) -> tuple[Client, Key]:
    client = org.app(call)
    may_change_keys(call, client)
    for key in client.keys:
        if key["id"] == call.ids[1]:
            return client, key
    raise not_found(call.ids[1], "JsonWebKey")


# `/api/v1/apps/{id}/grants`: the okta.* scopes that an app may request.


def is_okta_scope(scope: object) -> bool:
    """Return whether this may be a scope of Okta's APIs; there is no list, as new ones appear."""
    if not isinstance(scope, str) or scope.endswith(".unknown"):
        return False
    return re.fullmatch(r"okta(\.[A-Za-z0-9]+){2,}", scope) is not None


def list_grants(org: OrgState, call: Call) -> Response:
    """GET: a plain array; its items have no `_embedded`."""
    grants = org.app(call).grants.values()
    return Response(200, [{k: v for k, v in g.items() if k != "_embedded"} for g in grants])


def grant(org: OrgState, call: Call) -> Response:
    """POST: 200, as in every recording (201 in the specification); one scope per request."""
    client = org.app(call)
    only_super(call)
    sent = json_object(call.request)
    scope = sent.get("scopeId")
    if sent.get("issuer") != org.issuer:
        raise _invalid("issuer", "The field must be the URL of the org.")
    if not isinstance(scope, str) or not is_okta_scope(scope):
        raise _invalid("scopeId", "The field must be a scope of the org.")
    if scope in client.grants:
        summary = "Api validation failed: scopeId"
        raise management_refusal(409, "E0000001", summary, "The scope is already granted.")
    client.grants[scope] = _consent(org, client, scope)
    return Response(200, client.grants[scope])


def _consent(org: OrgState, client: Client, scope: str) -> dict[str, object]:
    """Return a grant, as in the recordings."""
    grant_id, moment = new_id("oag"), timestamp(org.now())
    app, title = f"{org.url}/api/v1/apps/{client.id}", client.metadata["client_name"]
    return {
        "id": grant_id,
        "status": "ACTIVE",
        "created": moment,
        "createdBy": {"id": "00upretendadmin00000", "type": "User"},
        "lastUpdated": moment,
        "issuer": org.issuer,
        "clientId": client.id,
        "scopeId": scope,
        "source": "ADMIN",
        "_embedded": {"scope": {"id": scope}},
        "_links": {
            "app": {"href": app, "title": title},
            "self": {"href": f"{app}/grants/{grant_id}", "hints": {"allow": ["GET", "DELETE"]}},
            "client": {"href": f"{org.url}/oauth2/v1/clients/{client.id}", "title": title},
        },
    }
