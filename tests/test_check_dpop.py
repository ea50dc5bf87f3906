"""`--check` with a bound token: nonces that a resource asks for, clocks, and addresses."""

import time
from urllib.parse import unquote

import pytest
from conftest import STEP_3, EnvFile, Run
from dpop_requests import call, claims_of, headers_in, told_by
from faults import Action, Fault, Sandbox, status

from pkj.sandbox.exchange import Request, management_refusal, oauth_refusal
from pkj.sandbox.state import Client

USERS = "/api/v1/users?limit=1"
GET = "GET /api/v1/"
CHALLENGE = 'DPoP error="use_dpop_nonce", error_description="Resource server requires nonce"'


def calls_in(sandbox: Sandbox) -> list[Request]:
    return [seen.request for seen in sandbox.seen if seen.request.method == "GET"]


# Nonces of a resource


def once(challenge: dict[str, str], body: object = None) -> Action:
    return status(401, body, {"DPoP-Nonce": "of-the-resource", **challenge})


@pytest.mark.parametrize(
    "action",
    [
        pytest.param(
            once(
                {"WWW-Authenticate": CHALLENGE},
                oauth_refusal(401, "use_dpop_nonce", "x").answer.body,
            ),
            id="in_body_and_challenge",
        ),
        pytest.param(once({}, {"error": "use_dpop_nonce"}), id="in_the_body"),
        pytest.param(once({"WWW-Authenticate": CHALLENGE}), id="in_the_challenge"),
        pytest.param(
            once(
                {"WWW-Authenticate": CHALLENGE},
                management_refusal(401, "E0000011", "Invalid token provided").answer.body,
            ),
            id="in_the_challenge_beside_a_body_of_management",
        ),
    ],
)
@pytest.mark.usefixtures("bound")
def test_a_resource_may_ask_for_a_nonce_once(run: Run, sandbox: Sandbox, action: Action) -> None:
    sandbox.faults.add(Fault(GET, action))

    result = run(STEP_3, "--check")

    assert (result.returncode, result.stdout) == (0, f"GET {USERS} 200\n"), result.stderr
    first, second = (claims_of(request.headers["dpop"]) for request in calls_in(sandbox))
    assert "nonce" not in first  # that of the token endpoint is for the token endpoint alone
    assert second["nonce"] == "of-the-resource"
    assert first["jti"] != second["jti"]
    assert first["ath"] == second["ath"]


@pytest.mark.parametrize(
    ("word", "nonce", "calls"),
    [
        pytest.param("true", "again", 2, id="for_ever"),
        pytest.param("true", "", 1, id="names_none"),
        pytest.param("false", "x", 1, id="of_a_bearer_token"),
    ],
)
def test_a_resource_whose_challenge_leads_nowhere_is_3(
    app: Client,
    env_with_key: EnvFile,
    run: Run,
    sandbox: Sandbox,
    word: str,
    nonce: str,
    calls: int,
) -> None:
    app.dpop_bound = word == "true"
    env_with_key.write(DPOP=word)
    headers = {"WWW-Authenticate": CHALLENGE} | ({"DPoP-Nonce": nonce} if nonce else {})
    sandbox.faults.add(Fault(GET, status(401, {"error": "use_dpop_nonce"}, headers), times=None))

    result = run(STEP_3, "--check")

    assert (result.returncode, result.stdout) == (3, f"GET {USERS} 401\n")
    assert len(calls_in(sandbox)) == calls


@pytest.mark.parametrize("ahead", [-10, 3600], ids=["fast", "an_hour_slow"])
@pytest.mark.usefixtures("bound")
def test_a_wrong_clock_is_corrected_for_the_call_too(
    run: Run, sandbox: Sandbox, ahead: int
) -> None:
    sandbox.org.clock = lambda: time.time() + ahead
    told = told_by(sandbox)

    result = run(STEP_3, "--check")

    assert (result.returncode, result.stdout) == (0, f"GET {USERS} 200\n"), result.stderr
    assert told


# Addresses


@pytest.mark.parametrize("login", ["ada%40pretend.example", "ada@pretend.example"])
@pytest.mark.usefixtures("bound")
def test_proof_names_the_path_as_okta_decodes_it(run: Run, sandbox: Sandbox, login: str) -> None:
    path = f"/api/v1/users/{login}"

    checked = run(STEP_3, "--check", path)
    printed = run(STEP_3, "-o", "header", "--for", "GET", sandbox.url + path)

    assert (checked.returncode, checked.stdout) == (0, f"GET {path} 200\n"), checked.stderr
    assert call(sandbox, headers_in(printed.stdout), target=path).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/api/v1/users?search=profile.login%20eq%20%22x%22", id="escapes_in_query"),
        pytest.param("/api/v1/users/me%2Fyou@x.example:1,2;3=4", id="marks"),
        pytest.param("/api/v1/x/../users", id="two_dots"),
        pytest.param("/api/v1/%75sers", id="a_letter_escaped_needlessly"),
        pytest.param("/api/v1/users/{id}", id="a_placeholder"),
    ],
)
@pytest.mark.usefixtures("bound")
def test_the_proof_is_for_the_address_that_is_really_called_or_the_path_is_wrong_usage(
    run: Run, sandbox: Sandbox, path: str
) -> None:
    result = run(STEP_3, "--check", path)

    if result.returncode == 2:
        assert sandbox.seen == []
        return
    (request,) = calls_in(sandbox)
    assert claims_of(request.headers["dpop"])["htu"] == sandbox.url + unquote(request.path)
    assert result.stdout.startswith(f"GET {request.target} ")
