"""`/api/v1/apps/{id}/grants`: the okta.* scopes that an app may ask for."""

import re

from pkj.sandbox.admins import not_permitted, only_super
from pkj.sandbox.apps import KIND
from pkj.sandbox.body import json_object
from pkj.sandbox.exchange import Answer, Refusal, management_refusal
from pkj.sandbox.state import Call, Client, OrgState, new_id, timestamp


def is_okta_scope(scope: object) -> bool:
    """Whether this could be a scope of Okta's APIs. New ones appear: there is no list."""
    if not isinstance(scope, str) or scope.endswith(".unknown"):
        return False
    return re.fullmatch(r"okta(\.[A-Za-z0-9]+){2,}", scope) is not None


def list_all(org: OrgState, call: Call) -> Answer:
    """GET: a plain array; its items have no `_embedded`."""
    grants = org.client(call.ids[0], KIND).grants.values()
    return Answer(200, [{k: v for k, v in g.items() if k != "_embedded"} for g in grants])


def grant(org: OrgState, call: Call) -> Answer:
    """POST: 200, as in every recording (201 in the specification); one scope a call."""
    client = org.client(call.ids[0], KIND)
    only_super(call)
    sent = json_object(call.request)
    scope = sent.get("scopeId")
    if sent.get("issuer") != org.issuer:
        raise _invalid("issuer", "issuer: The field must be the URL of the org.")
    if not isinstance(scope, str) or not is_okta_scope(scope):
        raise _invalid("scopeId", "scopeId: The field must be a scope of the org.")
    if scope in org.refused_scopes:
        raise not_permitted()
    if scope in client.grants:
        status, summary = org.duplicate_grant_status, "Api validation failed: scopeId"
        if status < 300:
            return Answer(status, client.grants[scope])
        raise management_refusal(status, "E0000001", summary, "The scope is already granted.")
    client.grants[scope] = _consent(org, client, scope)
    return Answer(200, client.grants[scope])


def _invalid(name: str, reason: str) -> Refusal:
    return management_refusal(400, "E0000001", f"Api validation failed: {name}", reason)


def _consent(org: OrgState, client: Client, scope: str) -> dict[str, object]:
    """In the shape of the recordings."""
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
