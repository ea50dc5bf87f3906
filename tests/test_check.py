"""`--check`: the fresh token is used once, and what came back is said in a line and a sentence."""

import re
from typing import Any

import pytest
from conftest import STEP_3, EnvFile, Run
from dpop_requests import bare_claims, claims_of
from faults import (
    Action,
    Fault,
    Sandbox,
    delay,
    echo,
    hang,
    html,
    patch,
    rate_limit,
    redirect,
    reset_before,
    status,
    truncate,
)

from pkj.errors import UsageError
from pkj.sandbox.exchange import Request, Response, management_refusal, oauth_refusal
from pkj.sandbox.state import Client
from pkj.token.check import check_usage

USERS = "/api/v1/users?limit=1"
GET = "GET /api/v1/"


def calls_in(sandbox: Sandbox) -> list[Request]:
    return [seen.request for seen in sandbox.seen if seen.request.method == "GET"]


def refusal(code: int, error: str, summary: str, **headers: str) -> Action:
    """In the management shape; header names have underscores for hyphens."""
    body = management_refusal(code, error, summary).answer.body
    return status(code, body, {k.replace("_", "-"): v for k, v in headers.items()})


def hint_of(stderr: str) -> str:
    return stderr.partition("what to do: ")[2]


# It works


@pytest.mark.parametrize("word", ["true", "false", ""], ids=["dpop", "bearer", "absent_and_dpop"])
def test_a_token_that_works_is_a_line_on_stdout_and_0(
    app: Client, env_with_key: EnvFile, run: Run, sandbox: Sandbox, word: str
) -> None:
    app.dpop_bound = word != "false"
    env_with_key.write(DPOP=word)
    before = env_with_key.path.read_bytes()

    result = run(STEP_3, "--check")

    assert result.returncode == 0, result.stderr
    assert result.stdout == f"GET {USERS} 200\n"
    assert "pretend" not in result.stderr
    assert "eyJ" not in result.stderr
    (request,) = calls_in(sandbox)
    assert request.target == USERS
    scheme, _, token = request.headers["authorization"].partition(" ")
    assert scheme == ("DPoP" if app.dpop_bound else "Bearer")
    assert ("cnf" in bare_claims(token)) is ("dpop" in request.headers) is app.dpop_bound
    if app.dpop_bound:
        claims = claims_of(request.headers["dpop"])
        assert (claims["htm"], claims["htu"]) == ("GET", f"{sandbox.url}/api/v1/users")
    assert env_with_key.path.read_bytes() == before


@pytest.mark.parametrize("path", ["/api/v1/users", "/api/v1/users?search=a%20b&limit=2"])
@pytest.mark.usefixtures("bound")
def test_a_path_of_ones_own_is_called_as_it_is(run: Run, sandbox: Sandbox, path: str) -> None:
    result = run(STEP_3, "--check", path)

    assert (result.returncode, result.stdout) == (0, f"GET {path} 200\n"), result.stderr
    assert [request.target for request in calls_in(sandbox)] == [path]


@pytest.mark.parametrize("code", [201, 204])
@pytest.mark.usefixtures("app")
def test_any_2xx_will_do_whatever_is_in_it(run: Run, sandbox: Sandbox, code: int) -> None:
    sandbox.faults.add(Fault(GET, status(code)))

    result = run(STEP_3, "--check", "/api/v1/other")

    assert (result.returncode, result.stdout) == (0, f"GET /api/v1/other {code}\n")


@pytest.mark.usefixtures("app")
def test_a_verbose_check_shows_requests_but_neither_token_nor_users(run: Run) -> None:
    result = run(STEP_3, "--check", "-v")

    assert (result.returncode, result.stdout) == (0, f"GET {USERS} 200\n")
    assert re.search(r"^GET \S+/api/v1/users\?limit=1 \d+ ms 200", result.stderr, re.MULTILINE)
    assert "eyJ" not in result.stderr
    assert "pretend.example" not in result.stderr


# Refusals


@pytest.mark.parametrize("word", ["true", "false"], ids=["dpop", "bearer"])
def test_a_token_without_the_scope_is_told_which_one_is_missing(
    app: Client, env_with_key: EnvFile, run: Run, word: str
) -> None:
    app.dpop_bound = word == "true"
    app.grants["okta.groups.read"] = {}
    env_with_key.write(DPOP=word, SCOPES="okta.groups.read")

    result = run(STEP_3, "--check")

    assert (result.returncode, result.stdout) == (3, f"GET {USERS} 403\n")
    assert "put okta.users.read into SCOPES" in hint_of(result.stderr)
    assert "`create_okta_service_app.py` ran only seconds ago" in hint_of(result.stderr)
    assert "ADMIN_ROLES" not in result.stderr


@pytest.mark.parametrize("word", ["true", "false"], ids=["dpop", "bearer"])
def test_an_app_without_a_role_is_told_what_to_put_into_admin_roles(
    app: Client, env_with_key: EnvFile, run: Run, word: str
) -> None:
    app.dpop_bound = word == "true"
    role = app.roles.popitem()
    env_with_key.write(DPOP=word)

    refused = run(STEP_3, "--check")
    app.roles.update([role])
    done = run(STEP_3, "--check")

    assert (refused.returncode, refused.stdout) == (3, f"GET {USERS} 403\n")
    assert "E0000006" in refused.stderr
    assert "READ_ONLY_ADMIN" in hint_of(refused.stderr)
    assert "ADMIN_ROLES" in hint_of(refused.stderr)
    assert "`create_okta_service_app.py` ran only seconds ago" in hint_of(refused.stderr)
    assert "API_KEY" not in refused.stderr
    assert (done.returncode, done.stdout) == (0, f"GET {USERS} 200\n")


def oauth(code: int, error: str, text: str, challenge: str = "") -> Action:
    body = oauth_refusal(code, error, text).answer.body
    return status(code, body, {"WWW-Authenticate": challenge} if challenge else {})


@pytest.mark.parametrize(
    ("action", "code", "said"),
    [
        pytest.param(
            refusal(401, "E0000011", "Invalid token provided", WWW_Authenticate="Bearer"),
            401,
            "does not take the token",
            id="401_invalid_token",
        ),
        pytest.param(
            status(401, None, {"WWW-Authenticate": 'Bearer realm="x", error="invalid_token"'}),
            401,
            "does not take the token",
            id="401_with_a_challenge_alone",
        ),
        pytest.param(
            refusal(401, "E0000015", "You do not have permission to access the feature"),
            401,
            "edition lacks the feature",
            id="401_E0000015_is_not_about_the_token",
        ),
        pytest.param(
            status(
                403,
                None,
                {"WWW-Authenticate": 'Bearer error="insufficient_scope", scope="okta.logs.read"'},
            ),
            403,
            "put okta.logs.read into SCOPES",
            id="403_with_a_challenge_alone",
        ),
        pytest.param(
            oauth(403, "insufficient_scope", "x", 'Bearer error="insufficient_scope"'),
            403,
            "lacks a scope",
            id="403_that_names_no_scope",
        ),
        pytest.param(
            refusal(403, "E0000005", "Invalid session"), 403, "", id="403_invalid_session"
        ),
        pytest.param(
            refusal(404, "E0000007", "Not found: Resource not found: x (User)"),
            404,
            "",
            id="404_in_the_shape_of_okta",
        ),
        pytest.param(refusal(400, "E0000031", "Invalid search criteria."), 400, "", id="400"),
        pytest.param(refusal(405, "E0000022", "No such method"), 405, "", id="405"),
    ],
)
@pytest.mark.usefixtures("app")
def test_a_refusal_of_okta_is_explained_and_3(
    run: Run, sandbox: Sandbox, action: Action, code: int, said: str
) -> None:
    sandbox.faults.add(Fault(GET, action, times=None))

    result = run(STEP_3, "--check", "/api/v1/x")

    assert (result.returncode, result.stdout) == (3, f"GET /api/v1/x {code}\n"), result.stderr
    assert result.stderr.count("error: ") == 1
    assert said in hint_of(result.stderr)
    assert "API_KEY is no" not in result.stderr
    assert len(calls_in(sandbox)) == 1


@pytest.mark.usefixtures("app")
def test_the_token_is_not_shown_where_okta_does_not_take_it(run: Run, sandbox: Sandbox) -> None:
    def spoilt(answer: Response) -> Response:
        assert isinstance(answer.body, dict)
        token = str(answer.body["access_token"])[:-9] + "A" * 9
        return Response(answer.status, answer.body | {"access_token": token}, answer.headers)

    sandbox.faults.add(Fault("POST /oauth2/v1/token", patch(spoilt)))

    result = run(STEP_3, "--check")

    assert (result.returncode, result.stdout) == (3, f"GET {USERS} 401\n")
    assert "eyJ" not in result.stderr


@pytest.mark.usefixtures("app")
def test_a_token_that_is_refused_is_never_used(run: Run, sandbox: Sandbox) -> None:
    result = run(STEP_3, "--check", env={"SCOPES": "okta.logs.read"})

    assert (result.returncode, result.stdout) == (3, "")
    assert "consent_required" in result.stderr
    assert calls_in(sandbox) == []


# No usable answer


@pytest.mark.parametrize(
    ("action", "shown", "arguments"),
    [
        pytest.param(html(404), "404", (), id="HTML_404"),
        pytest.param(html(403), "403", (), id="HTML_403"),
        pytest.param(status(403), "403", (), id="empty_403"),
        pytest.param(redirect("https://other.example/x"), "302", (), id="redirect"),
        pytest.param(rate_limit(50, 0, 3600), "429", (), id="rate_limit_for_an_hour"),
        pytest.param(hang(after_work=False), "no answer", ("--timeout", "0.3"), id="hang"),
        pytest.param(delay(0.9), "no answer", ("--timeout", "0.3"), id="too_slow"),
    ],
)
@pytest.mark.usefixtures("bound")
def test_an_answer_that_nobody_can_use_is_4_and_the_status_is_shown(
    run: Run, sandbox: Sandbox, action: Action, shown: str, arguments: tuple[str, ...]
) -> None:
    sandbox.faults.add(Fault(GET, action, times=None))

    result = run(STEP_3, "--check", *arguments)

    assert (result.returncode, result.stdout) == (4, f"GET {USERS} {shown}\n"), result.stderr
    assert result.stderr.count("error: ") == 1
    assert "eyJ" not in result.stderr
    assert len(calls_in(sandbox)) == 1


@pytest.mark.parametrize(
    ("action", "shown"),
    [
        pytest.param(refusal(500, "E0000009", "Internal Server Error"), "500", id="500"),
        pytest.param(reset_before(), "no answer", id="reset"),
        pytest.param(truncate(), "no answer", id="truncated"),
    ],
)
@pytest.mark.usefixtures("bound")
def test_a_lost_answer_is_asked_for_three_times_with_a_proof_each(
    run: Run, sandbox: Sandbox, action: Action, shown: str
) -> None:
    sandbox.faults.add(Fault(GET, action, times=None))

    result = run(STEP_3, "--check")

    assert (result.returncode, result.stdout) == (4, f"GET {USERS} {shown}\n"), result.stderr
    jtis = {claims_of(request.headers["dpop"])["jti"] for request in calls_in(sandbox)}
    assert (len(jtis), len(calls_in(sandbox))) == (3, 3)


@pytest.mark.usefixtures("bound")
def test_a_call_that_works_the_second_time_is_0(run: Run, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault(GET, reset_before()))

    result = run(STEP_3, "--check")

    assert (result.returncode, result.stdout) == (0, f"GET {USERS} 200\n"), result.stderr


# What is never shown


@pytest.mark.parametrize(("code", "dialect"), [(403, "management"), (403, "oauth"), (500, "oauth")])
@pytest.mark.usefixtures("bound")
def test_a_server_that_echoes_the_request_does_not_make_us_show_the_token(
    run: Run, sandbox: Sandbox, code: int, dialect: Any
) -> None:
    sandbox.faults.add(Fault(GET, echo(code, dialect), times=None))

    result = run(STEP_3, "--check", "-v")

    token = calls_in(sandbox)[0].headers["authorization"].partition(" ")[2]
    assert (result.returncode, result.stdout) == (3 if code == 403 else 4, f"GET {USERS} {code}\n")
    for part in token.split("."):
        assert part not in result.stderr
    assert calls_in(sandbox)[0].headers["dpop"] not in result.stderr


@pytest.mark.usefixtures("app")
def test_a_token_that_is_no_jwt_is_not_shown_either(run: Run, sandbox: Sandbox) -> None:
    opaque = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"  # of RFC 9449 section 7.1

    def changed(answer: Response) -> Response:
        assert isinstance(answer.body, dict)
        return Response(answer.status, answer.body | {"access_token": opaque}, answer.headers)

    sandbox.faults.add(Fault("POST /oauth2/v1/token", patch(changed)))
    sandbox.faults.add(Fault(GET, echo(403, "management")))

    result = run(STEP_3, "--check")

    assert (result.returncode, result.stdout) == (3, f"GET {USERS} 403\n")
    assert calls_in(sandbox)[0].headers["authorization"] == f"Bearer {opaque}"
    assert opaque not in result.stderr


# Usage


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("--check", "-o", "token"), id="with_o_token"),
        pytest.param(("--check", "-o", "text"), id="with_o_text"),
        pytest.param(("-o", "json", "--check", "/api/v1/users"), id="with_o_json"),
        pytest.param(("--check", "api/v1/users"), id="a_path_without_a_slash"),
        pytest.param(("--check", "https://other.example/"), id="a_URL"),
        pytest.param(("--check", "//other.example/"), id="two_slashes"),
        pytest.param(("--check", ""), id="empty"),
    ],
)
@pytest.mark.usefixtures("app")
def test_wrong_usage_sends_nothing(run: Run, sandbox: Sandbox, arguments: tuple[str, ...]) -> None:
    result = run(STEP_3, *arguments)

    assert (result.returncode, result.stdout, sandbox.seen) == (2, "", [])
    assert re.search(r"^error: --check ", result.stderr)
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "path",
    ["a", ".", "/a b", "/a\n", "/a\r\nX: y", "/a\tb", "/ü", "/\\other.example", "/a#b", "@other/"],
)
def test_a_path_has_the_characters_of_a_path(path: str) -> None:
    check_usage(None, None, "/api/v1/users?search=profile.login%20eq%20%22x%22&limit=1")
    with pytest.raises(UsageError, match=r"^--check takes a path"):
        check_usage(None, None, path)
