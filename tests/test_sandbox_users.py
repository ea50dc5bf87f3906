"""What an access token of the pretend org is good for: `GET /api/v1/users`, as Bearer."""

import jwt
import pytest
from sandbox_requests import (
    NOW,
    URL,
    app_with,
    ask,
    assertion_of,
    call,
    code,
    ec_key,
    new_org,
    reason,
    signed,
    token_form,
)

from pkj.sandbox.exchange import Request, Response
from pkj.sandbox.org import Org
from pkj.sandbox.state import Client

USERS = "/api/v1/users"
READ = "okta.users.read"
CHALLENGE = f'authorization_uri="{URL}/oauth2/v1/authorize", realm="{URL}", scope="{READ}", '


@pytest.fixture
def org() -> Org:
    return new_org()


def users(org: Org, authorization: str, target: str = USERS) -> Response:
    return org.answer(Request("GET", target, {"authorization": authorization}))


def token_for(org: Org, app: Client) -> str:
    answer = ask(org, token_form(assertion_of(app), scope=" ".join(app.grants)))
    assert isinstance(answer.body, dict)
    return str(answer.body["access_token"])


@pytest.mark.parametrize("scope", [READ, "okta.users.manage"])
def test_a_token_with_the_scope_gets_the_users(org: Org, scope: str) -> None:
    token = token_for(org, app_with(org, scope))
    answer = users(org, f"Bearer {token}")
    assert (answer.status, answer.body) == (200, org.users)
    assert answer.headers["link"] == f'<{URL}/api/v1/users>; rel="self"'
    assert users(org, f"bearer {token}", USERS + "?limit=1").body == org.users[:1]


@pytest.mark.parametrize("limit", ["x", "-1", "9" * 5000, "%C2%B2"])
def test_a_limit_of_rubbish_is_none(org: Org, limit: str) -> None:
    token = token_for(org, app_with(org, READ))
    assert users(org, f"Bearer {token}", f"{USERS}?limit={limit}").body == org.users


def test_an_api_token_gets_the_users_too(org: Org) -> None:
    assert users(org, f"SSWS {org.api_key}").status == 200
    answer = users(org, "SSWS nonsense")
    assert (answer.status, code(answer)) == (401, "E0000011")


def test_nobody_gets_no_users(org: Org) -> None:
    answer = org.answer(Request("GET", USERS))
    assert (answer.status, code(answer)) == (401, "E0000011")


def test_a_token_without_the_scope_is_told_which_is_missing(org: Org) -> None:
    answer = users(org, f"Bearer {token_for(org, app_with(org, 'okta.logs.read'))}")
    assert (answer.status, code(answer)) == (403, "E0000006")
    assert answer.headers["www-authenticate"] == (
        f'Bearer {CHALLENGE}error="insufficient_scope", error_description="The access token '
        'provided does not contain the required scopes."'
    )


def test_a_token_without_a_role_is_refused_as_by_an_org_with_default_settings(org: Org) -> None:
    app = app_with(org, READ)
    token = token_for(org, app)
    assert users(org, f"Bearer {token}").status == 200
    org.role_needed = Org(URL).role_needed
    answer = users(org, f"Bearer {token}")
    assert (answer.status, code(answer)) == (403, "E0000006")
    assert reason(answer) == "You do not have permission to perform the requested action"
    assert "www-authenticate" not in answer.headers
    call(org, "POST", f"/oauth2/v1/clients/{app.id}/roles", {"type": "READ_ONLY_ADMIN"})
    assert users(org, f"Bearer {token}").status == 200


def bad_token(org: Org, app: Client, kind: str) -> str:
    token = token_for(org, app)
    claims = jwt.decode(token, options={"verify_signature": False})
    header = jwt.get_unverified_header(token)
    return {
        "garbage": "garbage",
        "empty": "",
        "foreign": token_for(other := new_org(), app_with(other, READ)),
        "another-key": signed(header, claims, ec_key()),
        "unsigned": signed({"alg": "none"}, claims, ec_key()).rpartition(".")[0] + ".",
        "changed": ".".join([*token.split(".")[:2], "AAAA"]),
        "another-org": signed(header, claims | {"aud": "https://x"}, org.signing_key),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    ["garbage", "empty", "foreign", "another-key", "unsigned", "changed", "another-org"],
)
def test_a_token_that_is_not_the_org_s_is_refused(org: Org, kind: str) -> None:
    invalid(users(org, f"Bearer {bad_token(org, app_with(org, READ), kind)}"))


def invalid(answer: Response) -> None:
    assert (answer.status, code(answer)) == (401, "E0000011")
    challenge = answer.headers["www-authenticate"]
    assert challenge.startswith(f'Bearer {CHALLENGE}error="invalid_token", ')


def test_a_token_dies_after_an_hour_on_the_org_s_clock(org: Org) -> None:
    token = token_for(org, app_with(org, READ))
    org.clock = lambda: NOW + 3599.9
    assert users(org, f"Bearer {token}").status == 200
    org.clock = lambda: NOW + 3600
    invalid(users(org, f"Bearer {token}"))


def test_a_token_dies_with_its_app(org: Org) -> None:
    app = app_with(org, READ)
    token = token_for(org, app)
    call(org, "POST", f"/api/v1/apps/{app.id}/lifecycle/deactivate")
    invalid(users(org, f"Bearer {token}"))
    call(org, "POST", f"/api/v1/apps/{app.id}/lifecycle/activate")
    assert users(org, f"Bearer {token}").status == 200
    call(org, "DELETE", f"/oauth2/v1/clients/{app.id}")
    invalid(users(org, f"Bearer {token}"))
