"""PUT `/api/v1/apps/{id}`: the whole app is replaced, and what the body lacks is lost."""

from typing import Any

from pkj.sandbox.admins import may_change, may_change_keys
from pkj.sandbox.app_sections import Sections, new_sections
from pkj.sandbox.apps import KIND, SHOWN_METADATA, app_body
from pkj.sandbox.body import json_object
from pkj.sandbox.exchange import Answer, Refusal, management_refusal
from pkj.sandbox.key_rules import Key, accepted_set
from pkj.sandbox.state import Call, Client, OrgState

Json = dict[str, Any]

# Fields of `settings.oauthClient` and `credentials.oauthClient` that the sandbox acts on.
ACTED_ON = {
    *SHOWN_METADATA,
    "jwks",
    "jwks_uri",
    "application_type",
    "dpop_bound_access_tokens",
    "client_id",
    "token_endpoint_auth_method",
}
AUTH_METHODS = ("client_secret_basic", "client_secret_post", "client_secret_jwt", "none")


def replace(org: OrgState, call: Call) -> Answer:
    """PUT: 200 with the app as it is now. Status and the server's own fields are ignored."""
    client = org.client(call.ids[0], KIND)
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
    return Answer(200, app_body(org, client))


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
    """The `oauthClient` object of a section."""
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
    if method not in ("private_key_jwt", *AUTH_METHODS):
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
    """The keys that are sent: no others stay. One that was there may be in any old encoding."""
    jwks, uri = settings.get("jwks"), settings.get("jwks_uri")
    if uri and (jwks or not isinstance(uri, str)):
        raise _invalid("jwks_uri", "Exactly one of 'jwks' and 'jwks_uri' can be given")
    return accepted_set(jwks, client.keys, lenient=org.lenient_jwk) if jwks else []


def _sections(body: Json) -> Sections:
    """The parts without meaning here, as sent; those that were not sent start afresh."""
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
