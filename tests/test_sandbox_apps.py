"""Apps in the pretend org: listing, grants, roles, their end, and who may do what."""

from typing import Any

import pytest
from sandbox_requests import (
    URL,
    app_with,
    call,
    code,
    grant_of,
    jwk_of,
    new_org,
    reason,
    registration,
    rsa_key,
)

from pkj.sandbox.org import Org
from pkj.sandbox.state import APP_ADMIN, Client

CLIENTS = "/oauth2/v1/clients"
MOMENT = "2027-01-15T08:00:00.000Z"


@pytest.fixture
def org() -> Org:
    return new_org()


def at(client: Client, rest: str = "") -> str:
    return f"/api/v1/apps/{client.id}{rest}"


# Listing and deleting


def pages(org: Org, target: str) -> list[list[str]]:
    """The ids page by page, following `rel="next"` like a client."""
    found = []
    while target:
        answer = call(org, "GET", target)
        assert isinstance(answer.body, list)
        found.append([client["client_id"] for client in answer.body])
        links = dict(link[1:].split('>; rel="') for link in answer.headers["link"].split(", "))
        target = {rel: url for url, rel in links.items()}.get('next"', "").removeprefix(URL)
    return found


def test_pages_follow_one_another_in_order_of_creation(org: Org) -> None:
    ids = [app_with(org).id for _ in range(5)]
    assert pages(org, CLIENTS + "?limit=2") == [ids[:2], ids[2:4], ids[4:]]
    assert pages(org, CLIENTS + "?limit=5") == [ids]  # a full last page has no next one
    assert pages(org, CLIENTS + "?limit=200") == [ids]
    org.page_limit = 3
    assert pages(org, CLIENTS + "?limit=200") == [ids[:3], ids[3:]]


def test_a_page_has_20_apps_unless_another_number_is_asked_for(org: Org) -> None:
    ids = [app_with(org).id for _ in range(21)]
    assert pages(org, CLIENTS) == [ids[:20], ids[20:]]


def test_a_cursor_outlives_the_app_it_was_made_at(org: Org) -> None:
    ids = [app_with(org).id for _ in range(3)]
    link = call(org, "GET", CLIENTS + "?limit=2").headers["link"]
    assert call(org, "DELETE", f"{CLIENTS}/{ids[1]}").status == 204
    target = link.split("<")[2].split(">")[0].removeprefix(URL)
    assert pages(org, target) == [ids[2:]]


def test_a_prefix_of_the_name_selects(org: Org) -> None:
    one = org.add_client("Private one", [])
    org.add_client("Another", [])
    assert pages(org, CLIENTS + "?q=private") == [[one.id]]


@pytest.mark.parametrize(
    ("query", "error"),
    [
        pytest.param("after=nonsense", "E0000029", id="nonsense-cursor"),
        pytest.param("after=", "E0000029", id="empty-cursor"),
        pytest.param("after=abcde", "E0000029", id="cursor-of-5-characters"),
        pytest.param("after=%C3%A9", "E0000029", id="cursor-not-ascii"),
        pytest.param("limit=0", "E0000001", id="limit-0"),
        pytest.param("limit=201", "E0000001", id="limit-201"),
        pytest.param("limit=x", "E0000001", id="limit-x"),
    ],
)
def test_a_page_that_cannot_be_is_refused(org: Org, query: str, error: str) -> None:
    answer = call(org, "GET", f"{CLIENTS}?{query}")
    assert (answer.status, code(answer)) == (400, error)


def test_a_list_can_hide_the_keys_that_a_client_shows(org: Org) -> None:
    app = app_with(org)
    listed = call(org, "GET", CLIENTS).body
    assert isinstance(listed, list)
    assert listed == [call(org, "GET", f"{CLIENTS}/{app.id}").body]
    org.list_shows_keys = False
    hidden = call(org, "GET", CLIENTS).body
    assert hidden == [{name: value for name, value in listed[0].items() if name != "jwks"}]


def test_a_list_can_lag_behind_registrations(org: Org) -> None:
    old, org.list_lag = app_with(org), 2
    new: Any = call(org, "POST", CLIENTS, registration()).body
    assert call(org, "GET", f"{CLIENTS}/{new['client_id']}").status == 200
    assert [pages(org, CLIENTS) for _ in range(2)] == [[[old.id]]] * 2
    assert pages(org, CLIENTS) == [[old.id, new["client_id"]]]


def test_an_ai_agent_is_a_client_but_not_an_app(org: Org) -> None:
    agent = app_with(org, prefix="wlp")
    assert pages(org, CLIENTS) == [[agent.id]]
    assert call(org, "GET", f"{CLIENTS}/{agent.id}").status == 200
    for rest in ("", "/grants", "/credentials/jwks"):
        answer = call(org, "GET", at(agent, rest))
        assert (answer.status, code(answer)) == (404, "E0000007")


def test_a_deleted_client_is_gone(org: Org) -> None:
    app = app_with(org)
    assert call(org, "DELETE", f"{CLIENTS}/{app.id}").status == 204
    assert call(org, "GET", f"{CLIENTS}/{app.id}").status == 404
    assert call(org, "DELETE", f"{CLIENTS}/{app.id}").status == 404


# Grants


def test_a_grant_is_answered_as_recorded(org: Org) -> None:
    app = app_with(org)
    answer = call(org, "POST", at(app, "/grants"), grant_of("okta.users.read"))
    assert answer.status == 200
    assert isinstance(answer.body, dict)
    assert answer.body.pop("id").startswith("oag")
    self_link = answer.body["_links"].pop("self")
    assert self_link["href"].startswith(f"{URL}/api/v1/apps/{app.id}/grants/oag")
    assert answer.body == {
        "status": "ACTIVE",
        "created": MOMENT,
        "createdBy": {"id": "00upretendadmin00000", "type": "User"},
        "lastUpdated": MOMENT,
        "issuer": URL,
        "clientId": app.id,
        "scopeId": "okta.users.read",
        "source": "ADMIN",
        "_embedded": {"scope": {"id": "okta.users.read"}},
        "_links": {
            "app": {"href": f"{URL}/api/v1/apps/{app.id}", "title": "An app"},
            "client": {"href": f"{URL}/oauth2/v1/clients/{app.id}", "title": "An app"},
        },
    }


def test_grants_are_listed_as_a_plain_array(org: Org) -> None:
    app = app_with(org, "okta.users.read", "okta.myAccount.email.manage")
    answer = call(org, "GET", at(app, "/grants"))
    assert isinstance(answer.body, list)
    assert [item["scopeId"] for item in answer.body] == list(app.grants)
    assert all("_embedded" not in item for item in answer.body)
    assert "link" not in answer.headers


@pytest.mark.parametrize(
    ("body", "status", "error", "what"),
    [
        pytest.param(
            grant_of("okta.users.read") | {"issuer": URL + "/"},
            400,
            "E0000001",
            "issuer",
            id="slash",
        ),
        pytest.param(
            grant_of("okta.users.read") | {"issuer": URL + "/oauth2/default"},
            400,
            "E0000001",
            "issuer",
            id="custom-server",
        ),
        pytest.param({"scopeId": "okta.users.read"}, 400, "E0000001", "issuer", id="no-issuer"),
        pytest.param({"issuer": URL}, 400, "E0000001", "scopeId", id="no-scope"),
        pytest.param(grant_of("profile"), 400, "E0000001", "scopeId", id="openid-scope"),
        pytest.param(grant_of("okta.users"), 400, "E0000001", "scopeId", id="too-short"),
        pytest.param(
            grant_of("okta.users.read okta.apps.read"), 400, "E0000001", "scopeId", id="two"
        ),
        pytest.param(grant_of("okta.users.unknown"), 400, "E0000001", "scopeId", id="unknown"),
        pytest.param(grant_of(["okta.users.read"]), 400, "E0000001", "scopeId", id="list"),
        pytest.param(grant_of("okta.logs.read"), 409, "E0000001", "scopeId", id="duplicate"),
    ],
)
def test_a_grant_that_cannot_be_is_refused(
    org: Org, body: dict[str, Any], status: int, error: str, what: str
) -> None:
    app = app_with(org, "okta.logs.read")
    answer = call(org, "POST", at(app, "/grants"), body)
    assert (answer.status, code(answer)) == (status, error)
    assert reason(answer).startswith(f"Api validation failed: {what} | ")
    assert list(app.grants) == ["okta.logs.read"]


@pytest.mark.parametrize("status", [200, 400, 409])
def test_a_duplicate_grant_is_answered_as_told(org: Org, status: int) -> None:
    app = app_with(org, "okta.users.read")
    org.duplicate_grant_status = status
    answer = call(org, "POST", at(app, "/grants"), grant_of("okta.users.read"))
    assert answer.status == status
    assert len(app.grants) == 1


def test_at_a_custom_domain_the_org_names_both_and_grants_are_for_its_own(org: Org) -> None:
    org.okta_domain = own = "https://pretend.okta.com"
    document: Any = call(org, "GET", "/.well-known/okta-organization").body
    assert document["_links"] == {"organization": {"href": own}, "alternate": {"href": URL}}
    app = app_with(org)
    refused = call(org, "POST", at(app, "/grants"), grant_of("okta.users.read"))
    sent = grant_of("okta.users.read") | {"issuer": own}
    assert (refused.status, call(org, "POST", at(app, "/grants"), sent).status) == (400, 200)


def test_a_refused_scope_can_be_granted_once_it_is_allowed(org: Org) -> None:
    app = app_with(org)
    org.refused_scopes.add("okta.users.read")
    answer = call(org, "POST", at(app, "/grants"), grant_of("okta.users.read"))
    assert (answer.status, code(answer)) == (403, "E0000006")
    org.refused_scopes.clear()
    assert call(org, "POST", at(app, "/grants"), grant_of("okta.users.read")).status == 200


# Roles


def test_a_role_is_answered_as_recorded_and_listed(org: Org) -> None:
    app = app_with(org)
    answer = call(org, "POST", f"{CLIENTS}/{app.id}/roles", {"type": "HELP_DESK_ADMIN"})
    assert answer.status == 201
    assert answer.body == {
        "id": "JBCUYUC7IRCVGS27IFCE2SKO",
        "label": "Help Desk Administrator",
        "type": "HELP_DESK_ADMIN",
        "status": "ACTIVE",
        "created": MOMENT,
        "lastUpdated": MOMENT,
        "assignmentType": "CLIENT",
        "_links": {"assignee": {"href": f"{URL}/oauth2/v1/clients/{app.id}"}},
    }
    assert call(org, "GET", f"{CLIENTS}/{app.id}/roles").body == [answer.body]


@pytest.mark.parametrize(
    ("kind", "app_type", "status", "error"),
    [
        pytest.param("REPORT_ADMIN", "service", 409, "E0000090", id="twice"),
        pytest.param("KING", "service", 400, "E0000091", id="unknown"),
        pytest.param("CUSTOM", "service", 400, "E0000091", id="custom"),
        pytest.param(["REPORT_ADMIN"], "service", 400, "E0000091", id="list"),
        pytest.param("ORG_ADMIN", "web", 400, "E0000227", id="web-app"),
    ],
)
def test_a_role_that_cannot_be_is_refused(
    org: Org, kind: object, app_type: str, status: int, error: str
) -> None:
    app = app_with(org)
    assert call(org, "POST", f"{CLIENTS}/{app.id}/roles", {"type": "REPORT_ADMIN"}).status == 201
    app.metadata["application_type"] = app_type
    answer = call(org, "POST", f"{CLIENTS}/{app.id}/roles", {"type": kind})
    assert (answer.status, code(answer)) == (status, error)
    assert list(app.roles) == ["REPORT_ADMIN"]


SECOND = jwk_of(rsa_key("second"), kid="two", use="sig", alg="RS256")


# Its end


def test_an_app_is_deactivated_before_it_is_deleted(org: Org) -> None:
    app = app_with(org)
    answer = call(org, "DELETE", at(app))
    assert (answer.status, code(answer)) == (403, "E0000056")
    assert reason(answer) == (
        "Delete application forbidden. | The application must be deactivated before deletion."
    )
    answer = call(org, "POST", at(app, "/lifecycle/deactivate"))
    assert (answer.status, answer.body, app.status) == (200, {}, "INACTIVE")
    answer = call(org, "DELETE", at(app))
    assert (answer.status, answer.body) == (204, None)
    assert not org.clients


def test_a_deactivation_can_lag_behind(org: Org) -> None:
    app, org.deactivation_lag = app_with(org), 2
    call(org, "POST", at(app, "/lifecycle/deactivate"))
    answers = [call(org, "DELETE", at(app)) for _ in range(3)]
    assert [answer.status for answer in answers] == [403, 403, 204]
    assert code(answers[0]) == "E0000056"


def test_an_activated_app_cannot_be_deleted(org: Org) -> None:
    app = app_with(org, status="INACTIVE")
    assert call(org, "POST", at(app, "/lifecycle/activate")).body == {}
    assert call(org, "DELETE", at(app)).status == 403


# What an app admin may do

ORDINARY = [
    pytest.param("POST", CLIENTS, registration(), 201, id="register"),
    pytest.param("GET", CLIENTS, None, 200, id="list"),
    pytest.param("GET", CLIENTS + "/ID", None, 200, id="read"),
    pytest.param("GET", CLIENTS + "/ID/roles", None, 200, id="read-roles"),
    pytest.param("GET", "/api/v1/apps/ID/grants", None, 200, id="read-grants"),
    pytest.param("POST", "/api/v1/apps/ID/credentials/jwks", SECOND, 201, id="add-key"),
    pytest.param("POST", "/api/v1/apps/ID/lifecycle/deactivate", None, 200, id="deactivate"),
    pytest.param("DELETE", CLIENTS + "/ID", None, 204, id="delete"),
]
SUPER_ONLY = [
    pytest.param("", "POST", CLIENTS + "/ID/roles", {"type": "ORG_ADMIN"}, id="assign"),
    pytest.param("", "POST", "/api/v1/apps/ID/grants", grant_of("okta.apps.read"), id="grant"),
    pytest.param(
        "grant", "POST", "/api/v1/apps/ID/credentials/jwks", SECOND, id="add-key-after-grant"
    ),
    pytest.param(
        "role", "POST", "/api/v1/apps/ID/credentials/jwks", SECOND, id="add-key-after-role"
    ),
    *(
        pytest.param(has, method, f"/api/v1/apps/ID/credentials/jwks/KEY{rest}", None)
        for has in ("grant", "role")
        for method, rest in (
            ("POST", "/lifecycle/deactivate"),
            ("POST", "/lifecycle/activate"),
            ("DELETE", ""),
        )
    ),
    pytest.param(
        "role", "POST", "/api/v1/apps/ID/lifecycle/deactivate", None, id="deactivate-after-role"
    ),
    pytest.param("role", "DELETE", CLIENTS + "/ID", None, id="delete-after-role"),
    pytest.param("role", "PUT", "/api/v1/apps/ID", {}, id="change-after-role"),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), ORDINARY)
def test_an_app_admin_may_do_this(org: Org, method: str, path: str, body: Any, status: int) -> None:
    org.api_keys["app-admin"] = APP_ADMIN
    path = path.replace("ID", app_with(org).id)
    assert call(org, method, path, body, api_key="app-admin").status == status


@pytest.mark.parametrize(("has", "method", "path", "body"), SUPER_ONLY)
def test_an_app_admin_may_not_do_what_a_super_admin_may(
    org: Org, has: str, method: str, path: str, body: Any
) -> None:
    org.api_keys["app-admin"] = APP_ADMIN
    app = app_with(org, *(["okta.users.read"] if has == "grant" else []))
    if has == "role":
        call(org, "POST", f"{CLIENTS}/{app.id}/roles", {"type": "REPORT_ADMIN"})
    path = path.replace("ID", app.id).replace("KEY", app.keys[0]["id"])
    answer = call(org, method, path, body, api_key="app-admin")
    assert (answer.status, code(answer)) == (403, "E0000006")
    assert reason(answer) == "You do not have permission to perform the requested action"
    assert call(org, method, path, body).status != 403


def test_an_app_admin_may_not_change_keys_by_sending_the_app_back(org: Org) -> None:
    org.api_keys["app-admin"] = APP_ADMIN
    app = app_with(org, "okta.users.read")
    body: Any = call(org, "GET", at(app)).body
    assert call(org, "PUT", at(app), body, api_key="app-admin").status == 200
    body["settings"]["oauthClient"]["jwks"]["keys"].append(SECOND)
    assert call(org, "PUT", at(app), body, api_key="app-admin").status == 403
    assert len(app.keys) == 1
