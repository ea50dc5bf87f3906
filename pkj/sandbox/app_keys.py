"""`/api/v1/apps/{id}/credentials/jwks`: the signing keys of an app, one at a time."""

from pkj.sandbox.admins import may_change_keys
from pkj.sandbox.apps import KIND
from pkj.sandbox.body import json_object
from pkj.sandbox.exchange import Answer, management_refusal
from pkj.sandbox.key_rules import Key, accepted_key, check_together, key_refusal
from pkj.sandbox.state import PRIVATE_KEY_JWT, Call, Client, OrgState


def list_all(org: OrgState, call: Call) -> Answer:
    """GET: a plain array (one example of Okta's wraps it)."""
    return Answer(200, org.client(call.ids[0], KIND).keys)


def add(org: OrgState, call: Call) -> Answer:
    """POST: 201 with the key and the `pks…` id that Okta gives it."""
    client = org.client(call.ids[0], KIND)
    may_change_keys(call, client)
    if client.metadata.get("jwks_uri"):
        raise key_refusal("The keys of this app are at its 'jwks_uri'.")
    key = accepted_key(json_object(call.request), lenient=org.lenient_jwk)
    check_together([*client.keys, key])
    client.keys.append(key)
    return Answer(201, key)


def activate(org: OrgState, call: Call) -> Answer:
    _, key = _key_to_change(org, call)
    key["status"] = "ACTIVE"
    return Answer(200, key)


def deactivate(org: OrgState, call: Call) -> Answer:
    """POST: 200; the only active key of an app that signs assertions has to stay active.

    A key for encryption does not stand in for it.
    """
    client, key = _key_to_change(org, call)
    active = [other for other in client.keys if other["status"] == "ACTIVE"]
    signing = [other for other in active if other["use"] != "enc"]
    method = client.metadata["token_endpoint_auth_method"]
    if signing == [key] and method == PRIVATE_KEY_JWT:
        raise key_refusal("The only active key of the app can't be deactivated.")
    key["status"] = "INACTIVE"
    return Answer(200, key)


def delete(org: OrgState, call: Call) -> Answer:
    """DELETE: 204, of an INACTIVE key only."""
    client, key = _key_to_change(org, call)
    if key["status"] == "ACTIVE":
        raise key_refusal("An active key can't be deleted.")
    client.keys.remove(key)
    return Answer(204)


def _key_to_change(org: OrgState, call: Call) -> tuple[Client, Key]:
    client = org.client(call.ids[0], KIND)
    may_change_keys(call, client)
    for key in client.keys:
        if key["id"] == call.ids[1]:
            return client, key
    summary = f"Not found: Resource not found: {call.ids[1]} (JsonWebKey)"
    raise management_refusal(404, "E0000007", summary)
