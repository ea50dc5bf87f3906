"""`/oauth2/v1/clients/{id}/roles`: the standard admin roles of an app."""

import base64

from pkj.sandbox.admins import only_super
from pkj.sandbox.body import json_object
from pkj.sandbox.clients import KIND
from pkj.sandbox.exchange import Answer, management_refusal
from pkj.sandbox.state import Call, OrgState, timestamp

LABELS = {
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


def list_all(org: OrgState, call: Call) -> Answer:
    return Answer(200, list(org.client(call.ids[0], KIND).roles.values()))


def assign(org: OrgState, call: Call) -> Answer:
    """POST: 201, as in every recording; 409 E0000090 when the app has the role."""
    client = org.client(call.ids[0], KIND)
    only_super(call)
    kind = json_object(call.request).get("type")
    if client.metadata["application_type"] != "service":
        raise management_refusal(400, "E0000227", "Roles are assigned to service apps only.")
    if not isinstance(kind, str) or kind not in LABELS:
        summary = "Invalid role type exception: The provided role type was not the same as required"
        raise management_refusal(400, "E0000091", summary + " role type.")
    if kind in client.roles:
        summary = "Duplicate role exception: The role specified is already assigned to the client."
        raise management_refusal(409, "E0000090", summary)
    client.roles[kind] = _assignment(org, client.id, kind)
    return Answer(201, client.roles[kind])


def _assignment(org: OrgState, client_id: str, kind: str) -> dict[str, object]:
    """The id is the type in base32, so it is the same on every app (recorded)."""
    moment = timestamp(org.now())
    return {
        "id": base64.b32encode(kind.encode()).decode().rstrip("="),
        "label": LABELS[kind],
        "type": kind,
        "status": "ACTIVE",
        "created": moment,
        "lastUpdated": moment,
        "assignmentType": "CLIENT",
        "_links": {"assignee": {"href": f"{org.url}/oauth2/v1/clients/{client_id}"}},
    }
