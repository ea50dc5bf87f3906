"""Who calls, and what that admin may do (Okta: only a super admin grants scopes and roles)."""

from pkj.sandbox.exchange import Refusal, Request, management_refusal
from pkj.sandbox.state import SUPER_ADMIN, Call, Client, OrgState


def admin_type(org: OrgState, request: Request) -> str:
    """The admin type of the API token's owner; 401 E0000011 for a token that is none."""
    credentials = request.headers.get("authorization", "")
    if credentials.lower().startswith(("bearer ", "dpop ")):
        raise management_refusal(403, "E0000005", "Invalid session")
    # okta-sdk-python 3.4 writes no blank between the two, and works with Okta.
    token = credentials.removeprefix("SSWS").strip()
    if not credentials.startswith("SSWS") or token not in org.api_keys:
        challenge = {"www-authenticate": "SSWS"}
        raise management_refusal(401, "E0000011", "Invalid token provided", headers=challenge)
    return org.api_keys[token]


def not_permitted() -> Refusal:
    """403 E0000006, as recorded."""
    summary = "You do not have permission to perform the requested action"
    return management_refusal(403, "E0000006", summary)


def only_super(call: Call) -> None:
    """Granting a scope and assigning a role is a super admin's business."""
    if call.admin != SUPER_ADMIN:
        raise not_permitted()


def may_change(call: Call, client: Client) -> None:
    """An app that holds an admin role can be changed by a super admin only."""
    if client.roles:
        only_super(call)


def may_change_keys(call: Call, client: Client) -> None:
    """So can the keys of an app that has scopes: they are as good as its rights."""
    if client.roles or client.grants:
        only_super(call)
