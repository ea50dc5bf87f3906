"""Which rule answers which method and path, and who must have been let in before."""

import re
from collections.abc import Callable

from pkj.sandbox import (
    app_keys,
    app_update,
    apps,
    clients,
    grants,
    resource,
    roles,
    token_endpoint,
)
from pkj.sandbox.admins import admin_type
from pkj.sandbox.exchange import Answer, Request, management_refusal
from pkj.sandbox.state import Call, OrgState

Rule = Callable[[OrgState, Call], Answer]


def organization(org: OrgState, _: Call) -> Answer:
    """`/.well-known/okta-organization`, as recorded; pipeline idx is Identity Engine."""
    settings = {"analyticsCollectionEnabled": False, "bugReportingEnabled": True, "omEnabled": True}
    links = {"organization": {"href": org.issuer}}
    if org.issuer != org.url:
        links["alternate"] = {"href": org.url}
    body = {
        "id": "00opretendorg0000000",
        "cell": "pretend",
        "_links": links,
        "pipeline": "idx",
        "settings": settings,
    }
    return Answer(200, body)


# These check who is calling by themselves, or need nobody.
OPEN: dict[str, dict[str, Rule]] = {
    "/.well-known/okta-organization": {"GET": organization},
    token_endpoint.PATH: {"POST": token_endpoint.issue},
    "/api/v1/users": {"GET": resource.list_users},
    "/api/v1/users/ID": {"GET": resource.read_user},
}
# These take an API token (SSWS).
FOR_ADMINS: dict[str, dict[str, Rule]] = {
    "/oauth2/v1/clients": {"GET": clients.list_page, "POST": clients.register},
    "/oauth2/v1/clients/ID": {"GET": clients.read, "DELETE": clients.delete},
    "/oauth2/v1/clients/ID/roles": {"GET": roles.list_all, "POST": roles.assign},
    "/api/v1/apps/ID": {"GET": apps.read, "PUT": app_update.replace, "DELETE": apps.delete},
    "/api/v1/apps/ID/lifecycle/activate": {"POST": apps.activate},
    "/api/v1/apps/ID/lifecycle/deactivate": {"POST": apps.deactivate},
    "/api/v1/apps/ID/grants": {"GET": grants.list_all, "POST": grants.grant},
    "/api/v1/apps/ID/credentials/jwks": {"GET": app_keys.list_all, "POST": app_keys.add},
    "/api/v1/apps/ID/credentials/jwks/ID": {"DELETE": app_keys.delete},
    "/api/v1/apps/ID/credentials/jwks/ID/lifecycle/activate": {"POST": app_keys.activate},
    "/api/v1/apps/ID/credentials/jwks/ID/lifecycle/deactivate": {"POST": app_keys.deactivate},
}


def answer(org: OrgState, request: Request) -> Answer:
    """The answer of the rule for this request; or a Refusal is raised."""
    for table, for_admins in ((OPEN, False), (FOR_ADMINS, True)):
        for path, rules in table.items():
            found = re.fullmatch(path.replace(".", r"\.").replace("ID", "([^/]+)"), request.path)
            if found:
                rule = _rule(rules, request.method)
                admin = admin_type(org, request) if for_admins else ""
                return rule(org, Call(request, found.groups(), admin))
    raise management_refusal(404, "E0000008", "The requested path was not found")


def _rule(rules: dict[str, Rule], method: str) -> Rule:
    if method not in rules:
        summary = "The endpoint does not support the provided HTTP method"
        raise management_refusal(405, "E0000022", summary)
    return rules[method]
