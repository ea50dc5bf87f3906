"""`/oauth2/v1/clients`: register, read, list and delete apps, and give them admin roles."""

import base64
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from pkj.sandbox.exchange import Refusal, Response, json_object, management_refusal, oauth_refusal
from pkj.sandbox.jose import accepted_set
from pkj.sandbox.state import (
    PRIVATE_KEY_JWT,
    Call,
    Client,
    OrgState,
    may_change,
    only_super,
    service_app,
    timestamp,
)

USUAL_PAGE = 20
LARGEST_PAGE = 200


def register(org: OrgState, call: Call) -> Response:
    """POST: 201 with the new app."""
    sent = json_object(call.request)
    metadata = _accepted_metadata(sent)
    jwks = sent.get("jwks")
    keys = [] if jwks is None else accepted_set(jwks, lenient=org.lenient_jwk)
    if org.max_apps is not None and len(org.clients) >= org.max_apps:
        reason = "Cannot create application instance. Maximum number of instances has been reached."
        summary = "Api validation failed: generalSettings"
        raise management_refusal(400, "E0000001", summary, reason)
    client = org.add(metadata, keys)
    client.unlisted = org.list_lag
    return Response(201, _client_body(client))


def read(org: OrgState, call: Call) -> Response:
    return Response(200, _client_body(org.client(call)))


def delete(org: OrgState, call: Call) -> Response:
    """DELETE: 204, active or not (unlike the same app at `/api/v1/apps`)."""
    client = org.client(call)
    may_change(call, client)
    del org.clients[client.id]
    return Response(204)


def list_page(org: OrgState, call: Call) -> Response:
    """GET: a page in order of creation, with `Link` to itself and to the next one."""
    query = call.request.query
    limit, after = _limit(query.get("limit")), _serial(query.get("after"))
    prefix = query.get("q", "").lower()
    matches = [
        client
        for client in org.clients.values()
        if client.serial > after
        and client.metadata["client_name"].lower().startswith(prefix)
        and not client.unlisted
    ]
    for client in org.clients.values():
        client.unlisted = max(client.unlisted - 1, 0)
    size = min(limit, org.page_limit)
    page = matches[:size]
    links = [_link(org, query, "self")]
    if len(matches) > size:
        links.append(_link(org, query | {"after": _cursor(page[-1].serial)}, "next"))
    body = [_client_body(client, with_keys=org.list_shows_keys) for client in page]
    return Response(200, body, {"link": ", ".join(links)})


def _client_body(client: Client, *, with_keys: bool = True) -> dict[str, Any]:
    """Return a client as registration shows it, without the ids and status of its keys."""
    body = {"client_id": client.id, "client_id_issued_at": client.created} | client.metadata
    if client.keys and with_keys:
        hidden = ("id", "status")
        keys = [{k: v for k, v in key.items() if k not in hidden} for key in client.keys]
        body["jwks"] = {"keys": keys}
    return body


def _limit(text: str | None) -> int:
    if text is None:
        return USUAL_PAGE
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= LARGEST_PAGE:
        reason = "limit: The field must be between 1 and 200."
        raise management_refusal(400, "E0000001", "Api validation failed: limit", reason)
    return int(text)


def _cursor(serial: int) -> str:
    return base64.urlsafe_b64encode(f"after client {serial}".encode()).decode().rstrip("=")


def _serial(cursor: str | None) -> int:
    if cursor is None:
        return 0
    try:
        text = base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4))
    except ValueError:
        raise _bad_cursor() from None
    found = re.fullmatch(rb"after client ([0-9]{1,9})", text)
    if not found:
        raise _bad_cursor()
    return int(found[1])


def _bad_cursor() -> Refusal:
    return management_refusal(400, "E0000029", "Invalid paging request.", "Invalid cursor.")


def _link(org: OrgState, query: dict[str, str], relation: str) -> str:
    parameters = f"?{urlencode(query)}" if query else ""
    return f'<{org.url}/oauth2/v1/clients{parameters}>; rel="{relation}"'


# The metadata that `POST /oauth2/v1/clients` accepts: that of a service app.

SERVER_CHOSEN = ("client_id", "client_id_issued_at", "client_secret", "client_secret_expires_at")
LINKS = ("client_uri", "logo_uri", "policy_uri", "tos_uri")
# Okta's defaults for missing fields; not suitable for a service app.
DEFAULTS = {
    "application_type": "web",
    "grant_types": ["authorization_code"],
    "response_types": ["code"],
    "token_endpoint_auth_method": "client_secret_basic",
}
# What each field may be, and the message about anything else.
RULES: dict[str, tuple[tuple[object, ...], str]] = {
    "application_type": (("service",), "Only apps of type 'service' are registered here."),
    "grant_types": (
        (["client_credentials"],),
        "A 'service' app may have 'client_credentials' only.",
    ),
    "response_types": ((None, [], ["token"]), "'client_credentials' allows 'token' only."),
    "token_endpoint_auth_method": (
        (PRIVATE_KEY_JWT,),
        "A 'service' app for the org must use 'private_key_jwt'.",
    ),
    "redirect_uris": ((None, []), "A 'service' app has no redirect URIs."),
}
KNOWN = {"client_name", "jwks", "jwks_uri", *LINKS, *RULES}


def _metadata_refusal(name: str, reason: str) -> Refusal:
    """Return a refusal in the OAuth shape, as in the example of Okta's specification."""
    return oauth_refusal(400, "invalid_client_metadata", f"`{name}`: {reason}")


def _accepted_metadata(sent: Mapping[str, object]) -> dict[str, Any]:
    """Return the metadata of a new app without its keys, in the order of Okta's response."""
    _check_names(sent)
    name = _client_name(sent)
    for member, (allowed, reason) in RULES.items():
        if sent.get(member, DEFAULTS.get(member)) not in allowed:
            raise _metadata_refusal(member, reason)
    for member in LINKS:
        if not isinstance(sent.get(member), str | None):
            raise _metadata_refusal(member, "The field must be a string.")
    _check_key_source(sent)
    metadata = service_app(name)
    metadata |= {key: sent[key] for key in (*LINKS, "jwks_uri") if sent.get(key) is not None}
    return metadata | {"response_types": sent["response_types"] or []}


def _check_names(sent: Mapping[str, object]) -> None:
    for name in sent:
        if name in SERVER_CHOSEN:
            raise _metadata_refusal(name, "The field is chosen by the server.")
        if name not in KNOWN:
            raise _metadata_refusal(name, "The field is not one that a 'service' app may have.")


def _client_name(sent: Mapping[str, object]) -> str:
    name = sent.get("client_name")
    if not isinstance(name, str) or not name.strip():
        raise _metadata_refusal("client_name", "The field can't be left blank.")
    return name


def _check_key_source(sent: Mapping[str, object]) -> None:
    uri = sent.get("jwks_uri")
    if (uri is None) == (sent.get("jwks") is None):
        raise _metadata_refusal("jwks", "Exactly one of 'jwks' and 'jwks_uri' must be given.")
    if uri is not None and not (isinstance(uri, str) and uri.startswith("https://")):
        raise _metadata_refusal("jwks_uri", "The field must be an https URL.")


# `/oauth2/v1/clients/{id}/roles`: the standard admin roles of an app.

ROLES = {
    "ACCESS_CERTIFICATIONS_ADMIN": "Access Certifications Administrator",
    "ACCESS_REQUESTS_ADMIN": "Access Requests Administrator",
    "API_ACCESS_MANAGEMENT_ADMIN": "API Access Management Administrator",
    "APP_ADMIN": "Application Administrator",
    "GROUP_MEMBERSHIP_ADMIN": "Group Membership Administrator",
    "HELP_DESK_ADMIN": "Help Desk Administrator",
    "ORG_ADMIN": "Organization Administrator",
    "READ_ONLY_ADMIN": "Read-only Administrator",
    "REPORT_ADMIN": "Report Administrator",
    "SUPER_ADMIN": "Super Administrator",
    "USER_ADMIN": "Group Administrator",
    "WORKFLOWS_ADMIN": "Workflows Administrator",
}


def list_roles(org: OrgState, call: Call) -> Response:
    return Response(200, list(org.client(call).roles.values()))


def assign_role(org: OrgState, call: Call) -> Response:
    """POST: 201, as in every recording; 409 E0000090 when the app has the role."""
    client = org.client(call)
    only_super(call)
    kind = json_object(call.request).get("type")
    if client.metadata["application_type"] != "service":
        raise management_refusal(400, "E0000227", "Roles are assigned to service apps only.")
    if not isinstance(kind, str) or kind not in ROLES:
        summary = "Invalid role type exception: The provided role type was not the same as required"
        raise management_refusal(400, "E0000091", summary + " role type.")
    if kind in client.roles:
        summary = "Duplicate role exception: The role specified is already assigned to the client."
        raise management_refusal(409, "E0000090", summary)
    client.roles[kind] = _assigned_role(org, client.id, kind)
    return Response(201, client.roles[kind])


def _assigned_role(org: OrgState, client_id: str, kind: str) -> dict[str, object]:
    """Return a role; its id is the type in base32, the same on every app (recorded)."""
    moment = timestamp(org.now())
    return {
        "id": base64.b32encode(kind.encode()).decode().rstrip("="),
        "label": ROLES[kind],
        "type": kind,
        "status": "ACTIVE",
        "created": moment,
        "lastUpdated": moment,
        "assignmentType": "CLIENT",
        "_links": {"assignee": {"href": f"{org.url}/oauth2/v1/clients/{client_id}"}},
    }
