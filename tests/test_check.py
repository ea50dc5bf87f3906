"""get_access_token.py --check uses the new token once; also what --check and --for take."""

from urllib.parse import unquote

import faults
import pytest
from conftest import GET_TOKEN, EnvFile, Run
from dpop_requests import TOKEN, bare_claims, call, claims_of, headers_in
from faults import Action, Fault, Sandbox, Turn, status
from test_get_token import changed

from pkj.sandbox.exchange import Request, management_refusal
from pkj.sandbox.state import Client

pytestmark = pytest.mark.usefixtures("bound")
USERS = "/api/v1/users?limit=1"
GET = "GET /api/v1/"
CHUNKED = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
EARLY = "`create_okta_service_app.py` ran only seconds ago"


def calls_in(sandbox: Sandbox) -> list[Request]:
    return [seen.request for seen in sandbox.seen if seen.request.method == "GET"]


def hint_of(stderr: str) -> str:
    return stderr.partition("what to do: ")[2]


def challenge(code: int, error: str, body: object = None, **headers: str) -> Action:
    """A refusal with the error in a header; header names have underscores for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status(code, body, {"www-authenticate": f"Bearer {error}".strip(), **named})


def raw(text: str) -> Action:
    """This text in place of a response; SENT in it is the Authorization header of the request."""

    def act(turn: Turn) -> None:
        sent = turn.seen.request.headers["authorization"]
        turn.connection.sendall(text.replace("SENT", sent).encode())
        turn.close()

    return act


def refusal(code: int, error: str, summary: str = "x") -> Action:
    return status(code, management_refusal(code, error, summary).response.body)


# Successes


@pytest.mark.parametrize("word", ["true", "false", ""])
def test_working_token_is_one_line_and_the_status(
    app: Client, env_with_key: EnvFile, run: Run, sandbox: Sandbox, word: str
) -> None:
    app.dpop_bound = word != "false"
    env_with_key.write(DPOP=word)
    before = env_with_key.path.read_bytes()
    result = run(GET_TOKEN, "--check", "-v")

    assert (result.returncode, result.stdout) == (0, f"GET {USERS} 200\n"), result.stderr
    assert "pretend.example" not in result.stderr
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


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/api/v1/users", 200),
        ("/api/v1/users?search=profile.login%20eq%20%22x%22&limit=2", 200),
        ("/api/v1/users/ada%40pretend.example", 200),
        ("/api/v1/users/ada@pretend.example", 200),
        ("/api/v1/users/me%2Fyou@x.example:1,2;3=4", 404),
        ("/api/v1/other", 201),
        ("/api/v1/other", 204),
    ],
)
def test_path_is_called_as_given_with_a_proof_for_it(
    run: Run, sandbox: Sandbox, path: str, code: int
) -> None:
    if 200 < code < 300:
        sandbox.faults.add(Fault(GET, status(code), times=None))
    checked = run(GET_TOKEN, "--check", path)
    printed = run(GET_TOKEN, "-o", "header", "--for", "GET", sandbox.url + path)

    assert checked.stdout == f"GET {path} {code}\n", checked.stderr
    assert checked.returncode == (3 if code == 404 else 0)
    (request,) = calls_in(sandbox)
    assert request.target == path
    assert claims_of(request.headers["dpop"])["htu"] == sandbox.url + unquote(request.path)
    assert call(sandbox, headers_in(printed.stdout), target=path).status_code == code


# Refusals


@pytest.mark.parametrize("word", ["true", "false"])
def test_missing_grant_scope_or_role_is_named(
    app: Client, env_with_key: EnvFile, run: Run, sandbox: Sandbox, word: str
) -> None:
    app.dpop_bound = word == "true"
    app.grants["okta.groups.read"] = {}
    env_with_key.write(DPOP=word)

    no_grant = run(GET_TOKEN, "--check", env={"SCOPES": "okta.logs.read"})
    assert (no_grant.returncode, no_grant.stdout, calls_in(sandbox)) == (3, "", [])
    assert "consent_required" in no_grant.stderr

    no_scope = run(GET_TOKEN, "--check", env={"SCOPES": "okta.groups.read"})
    app.roles.clear()
    no_role = run(GET_TOKEN, "--check")

    for result in (no_scope, no_role):
        assert (result.returncode, result.stdout) == (3, f"GET {USERS} 403\n")
        assert EARLY in hint_of(result.stderr)
        assert "API_KEY" not in result.stderr
    assert "add okta.users.read to SCOPES" in hint_of(no_scope.stderr)
    assert "ADMIN_ROLES" not in no_scope.stderr
    assert "E0000006" in no_role.stderr
    assert "READ_ONLY_ADMIN" in hint_of(no_role.stderr)
    assert "ADMIN_ROLES" in hint_of(no_role.stderr)


NOT_HERE = "check OKTA_URL and the path"
SCOPE = 'error="insufficient_scope", scope="a.b"'
RESPONSES = {
    "401": (refusal(401, "E0000011"), 3, "401", NOT_HERE, 1),
    "401-old-token": (refusal(401, "E0000004"), 3, "401", NOT_HERE, 1),
    "401-challenge": (challenge(401, 'error="invalid_token"'), 3, "401", NOT_HERE, 1),
    "401-only-bearer": (challenge(401, ""), 3, "401", NOT_HERE, 1),
    "401-bare": (status(401), 3, "401", NOT_HERE, 1),
    "401-edition": (refusal(401, "E0000015"), 3, "401", "edition does not have the feature", 1),
    "403-scope": (challenge(403, SCOPE), 3, "403", "add a.b to SCOPES", 1),
    "403-scope-object": (challenge(403, SCOPE, {}), 3, "403", "add a.b to SCOPES", 1),
    "403-no-scope": (challenge(403, 'error="insufficient_scope"'), 3, "403", "lacks a scope", 1),
    "403-session": (refusal(403, "E0000005", "Invalid session"), 3, "403", NOT_HERE, 1),
    "403-bare": (status(403), 4, "403", "-admin", 1),
    "403-page": (faults.html(403), 4, "403", "", 1),
    "404": (refusal(404, "E0000007", "Not found: Resource not found"), 3, "404", "", 1),
    "404-page": (faults.html(404), 4, "404", "OKTA_URL", 1),
    "400": (refusal(400, "E0000031"), 3, "400", "", 1),
    "405": (refusal(405, "E0000022"), 3, "405", "", 1),
    "redirect": (faults.redirect("https://other.example/x"), 4, "302", "OKTA_URL", 1),
    "rate-limit": (faults.rate_limit(50, 0, 3600), 4, "429", "in 3601 seconds", 1),
    "hang": (faults.hang(after_work=False), 4, "no response", "--timeout", 1),
    "slow": (faults.delay(0.9), 4, "no response", "--timeout", 1),
    "500": (refusal(500, "E0000009"), 4, "500", "status.okta.com", 3),
    "reset": (faults.reset_before(), 4, "no response", "", 3),
    "truncated": (faults.truncate(), 4, "no response", "", 3),
    "chunk": (raw(f"{CHUNKED}-5\r\nabcde\r\n0\r\n\r\n"), 4, "no response", "", 3),
}


@pytest.mark.parametrize(
    ("action", "code", "shown", "hint", "calls"), RESPONSES.values(), ids=RESPONSES
)
def test_refusal_exits_3_and_unusable_response_4(
    run: Run, sandbox: Sandbox, action: Action, code: int, shown: str, hint: str, calls: int
) -> None:
    sandbox.faults.add(Fault(GET, action, times=None))
    patience = 0.3 if "--timeout" in hint else 30
    result = run(GET_TOKEN, "--check", "/api/v1/x", "--timeout", patience)

    assert (result.returncode, result.stdout) == (code, f"GET /api/v1/x {shown}\n"), result.stderr
    assert result.stderr.count("error: ") == 1
    assert hint in hint_of(result.stderr)
    assert "API_KEY is no" not in result.stderr
    assert "eyJ" not in result.stderr
    jtis = {claims_of(request.headers["dpop"])["jti"] for request in calls_in(sandbox)}
    assert len(jtis) == len(calls_in(sandbox)) == calls


# Nonces of the API

NONCE = 'error="use_dpop_nonce"'
INVALID = management_refusal(401, "E0000011", "Invalid token provided").response.body
IN_BODY = {"error": "use_dpop_nonce"}
CHALLENGES = {
    "body-and-header": ("true", challenge(401, NONCE, IN_BODY, DPoP_Nonce="x"), 1, 200, 2),
    "body": ("true", status(401, IN_BODY, {"DPoP-Nonce": "x"}), 1, 200, 2),
    "header": ("true", challenge(401, NONCE, DPoP_Nonce="x"), 1, 200, 2),
    "header-and-other-body": ("true", challenge(401, NONCE, INVALID, DPoP_Nonce="x"), 1, 200, 2),
    "forever": ("true", status(401, IN_BODY, {"DPoP-Nonce": "x"}), None, 401, 2),
    "no-nonce": ("true", status(401, IN_BODY), 1, 401, 1),
    "bearer": ("false", status(401, IN_BODY, {"DPoP-Nonce": "x"}), 1, 401, 1),
}


@pytest.mark.parametrize(
    ("word", "action", "times", "shown", "calls"), CHALLENGES.values(), ids=CHALLENGES
)
def test_api_may_ask_for_a_nonce_once(
    app: Client,
    run: Run,
    sandbox: Sandbox,
    word: str,
    action: Action,
    times: int | None,
    shown: int,
    calls: int,
) -> None:
    app.dpop_bound = word == "true"
    sandbox.faults.add(Fault(GET, action, times=times))
    result = run(GET_TOKEN, "--check", env={"DPOP": word})

    assert result.stdout == f"GET {USERS} {shown}\n", result.stderr
    assert result.returncode == (0 if shown == 200 else 3)
    proofs = [claims_of(request.headers["dpop"]) for request in calls_in(sandbox) if app.dpop_bound]
    # The nonce of the token endpoint is only for the token endpoint.
    assert [claims.get("nonce") for claims in proofs] == [None, "x"][: len(proofs)]
    assert len({claims["jti"] for claims in proofs}) == len(proofs)
    assert len({claims["ath"] for claims in proofs}) == app.dpop_bound
    assert len(calls_in(sandbox)) == calls


# Secrets in what a server sends back

OPAQUE = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"  # of RFC 9449 section 7.1
LONG = "x" * 30_000
SCOPE_SENT = f'Bearer error="insufficient_scope", scope="SENT {LONG}"'
LENGTH = "content-length: 2"


ECHOES = {
    "management": (faults.echo(403, "management"), 3),
    "oauth": (faults.echo(403, "oauth"), 3),
    "500": (faults.echo(500, "oauth"), 4),
    "status-line": (raw(f"garbage SENT {LONG}\r\n\r\n"), 4),
    "chunk": (raw(f"{CHUNKED}SENT{LONG}\r\n"), 4),
    "header": (
        raw(f"HTTP/1.1 403 No\r\n{LENGTH}\r\nwww-authenticate: {SCOPE_SENT}\r\n\r\n{{}}"),
        3,
    ),
}


@pytest.mark.parametrize(("action", "code"), ECHOES.values(), ids=ECHOES)
def test_token_in_a_response_is_not_shown(
    run: Run, sandbox: Sandbox, action: Action, code: int
) -> None:
    sandbox.faults.add(Fault(TOKEN, changed(access_token=OPAQUE), skip=1))
    sandbox.faults.add(Fault(GET, action, times=None))

    result = run(GET_TOKEN, "--check", "-v")

    sent = calls_in(sandbox)[0].headers
    assert (result.returncode, sent["authorization"]) == (code, f"DPoP {OPAQUE}"), result.stderr
    assert OPAQUE not in result.stdout + result.stderr
    assert sent["dpop"] not in result.stderr
    assert len(result.stderr) < 3000
    assert "what to do: " in result.stderr


# Usage

PATHS = (
    *("", "a", ".", "api/v1/users", "https://other.example/", "//other.example/", "/\\other"),
    *("@other/", "/a b", "/a\n", "/a\r\nX: y", "/a\tb", "/ü", "/a#b", "/a\x7f"),
)
LOCAL = "https://127.0.0.1:{port}"
URLS = (
    *("https://other.example:{port}/api/v1/users", "https://127.0.0.1/api/v1", f"{LOCAL}0/api"),
    *("http://127.0.0.1:{port}/x", "ftp://127.0.0.1:{port}/", "https://me@127.0.0.1:{port}/"),
    *("https://me:word@127.0.0.1:{port}/", "https://@127.0.0.1:{port}/", f"{LOCAL}@other.example/"),
    *(f"{LOCAL}.other.example/", f"https://other.example/{LOCAL}/", "//127.0.0.1:{port}/api"),
    *("127.0.0.1:{port}/api/v1/users", "/api/v1/users", "", f"{LOCAL}/a b", f" {LOCAL}/a"),
    *(f"{LOCAL}/a\nX-Other: header", f"{LOCAL}/a\n", f"{LOCAL}/a\tb", f"{LOCAL}\\@other.example/"),
    *(f"{LOCAL}/ü", f"{LOCAL}/a\x7f", "https://[::1", "https://127.0.0.1.:{port}/api"),
    "https://127.0.0.1:port/",
)
METHODS = ("", "GET POST", "GET\nX-Other: header", "GET\n", "GET1", "GÉT", "po\u017ft")
FOR = ("-o", "header", "--for")
SENT_OTHERWISE = {"x/../users": "users", "%75sers": "users", "users/{id}": "users/%7Bid%7D"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        *((("--check", path), "--check needs a path") for path in PATHS),
        *((("-o", form, "--check"), "--check") for form in ("token", "text")),
        (("-o", "json", "--check", USERS), "--check"),
        *(((*FOR, "GET", url), "--for needs a URL") for url in URLS),
        *(((*FOR, method, f"{LOCAL}/"), "--for needs a method") for method in METHODS),
        *((("-o", form, "--for", "GET", LOCAL), "-o header") for form in ("json", "token", "text")),
        (("--for", "GET", LOCAL), "-o header"),
        ((*FOR, "GET"), "--for"),
        ((*FOR, "GET", LOCAL, "--check"), "--check"),
        *((("--check", f"/{path}"), f"{LOCAL}/{sent}") for path, sent in SENT_OTHERWISE.items()),
        *(((*FOR, "GET", f"{LOCAL}/{p}"), f"{LOCAL}/{s}") for p, s in SENT_OTHERWISE.items()),
    ],
)
def test_wrong_usage_sends_nothing(
    run: Run, sandbox: Sandbox, arguments: tuple[str, ...], said: str
) -> None:
    port = sandbox.url.rpartition(":")[2]
    result = run(GET_TOKEN, *(argument.replace("{port}", port) for argument in arguments))
    assert (result.returncode, result.stdout, sandbox.seen) == (2, "", [])
    assert said.replace("{port}", port) in result.stderr
