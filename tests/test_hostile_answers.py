"""Answers that are made to harm: what step 2 and step 3 say to them, and what they do not do."""

import json
import re
import threading
import time
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import SCOPES, STEP_2, STEP_3, EnvFile, Run
from dpop_requests import of_the_app
from faults import PROXY_PAGE, Action, Fault, Sandbox, Turn, patch, status
from scene import Scene

from pkj.okta import org, responses
from pkj.sandbox.exchange import Response, management_refusal

TOKEN = "POST /oauth2/v1/token"  # noqa: S105 - a path
CALL = "GET /api/v1/users"
OPAQUE = "opaqueTOKEN0123456789abcdefSECRETtoken"
REFUSED = management_refusal(403, "E0000006", "You do not have permission").answer.body


def with_headers(**headers: str) -> Action:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return patch(lambda answer: Response(answer.status, answer.body, answer.headers | named))


@pytest.mark.parametrize(
    "cookie", ["a=b; max-age=" + "9" * 500, "a=b; expires=Thu, 01 Jan 99999 00:00:00 GMT"]
)
@pytest.mark.usefixtures("app")
def test_a_cookie_that_nobody_can_read_is_not_read(cookie: str, run: Run, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault(TOKEN, with_headers(set_cookie=cookie)))

    result = run(STEP_3, "-o", "token")

    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(("levels", "code"), [(40, 0), (60, 4), (1400, 4), (100_000, 4)])
@pytest.mark.parametrize("line", [TOKEN, "POST /oauth2/v1/clients"], ids=["token", "app"])
def test_an_answer_that_is_nested_too_deeply_to_be_shown_is_none(
    line: str, levels: int, code: int, env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    jwk = json.dumps({"kty": "RSA", "e": "AQAB", "n": env_with_key["MODULUS"]}).encode()
    deep = b'{"client_id":"0oa1","jwks":{"keys":[' + jwk + b']},"access_token":"a","x":'
    deep += b"[" * levels + b"]" * levels + b"}"
    sandbox.faults.add(Fault(line, patch(lambda _: Response(200, deep))))
    sandbox.faults.add(Fault("POST /api/v1/apps/", status(200, {"scopeId": "any"}), times=None))
    env_with_key.write(CLIENT_ID="0oaAny" if line == TOKEN else "")

    result = run(STEP_3, "-o", "json") if line == TOKEN else run(STEP_2)

    assert "Traceback" not in result.stderr
    if code:
        assert (result.returncode, result.stdout) == (4, "")
        assert env_with_key["CLIENT_ID"] in ("0oaAny", "")
    else:
        assert result.stdout.count("[") >= levels


@pytest.mark.parametrize("keys", [5, True, {"n": "x"}, "keys", None])
def test_keys_of_another_shape_are_no_keys(keys: Any, scene: Scene) -> None:
    app = scene.settled({**scene.others, "status": "INACTIVE"})
    scene.env.write(DPOP="true")
    change = of_the_app(lambda body: body["settings"]["oauthClient"].update(jwks={"keys": keys}))
    scene.sandbox.faults.add(Fault(f"GET /api/v1/apps/{app.id}", change, times=None))

    result = scene.step_2()

    assert result.returncode == 3, result.stderr
    assert "INACTIVE key" in result.stderr
    assert not app.dpop_bound


def test_an_app_without_its_oauth_settings_is_no_usable_answer(scene: Scene) -> None:
    app = scene.settled()
    scene.env.write(DPOP="true")
    change = of_the_app(lambda body: body.pop("settings"))
    scene.sandbox.faults.add(Fault(f"GET /api/v1/apps/{app.id}", change, times=None))

    result = scene.step_2()

    assert result.returncode == 4, result.stderr
    assert "no settings.oauthClient\nwhat to do: " in result.stderr
    assert not app.dpop_bound


@pytest.mark.parametrize(
    ("line", "body", "code"),
    [
        pytest.param("POST /api/v1/apps/", REFUSED, 3, id="grant"),
        pytest.param("POST /api/v1/apps/", {}, 4, id="grant-empty"),
        pytest.param("GET /oauth2/v1/clients/{id}/roles", REFUSED, 3, id="roles"),
        pytest.param("POST /oauth2/v1/clients/{id}/roles", REFUSED, 3, id="role"),
        pytest.param("GET /oauth2/v1/clients/{id}", REFUSED, 3, id="app"),
    ],
)
def test_a_refusal_with_the_status_of_a_success_is_a_refusal(
    line: str, body: object, code: int, scene: Scene
) -> None:
    app = scene.settled(granted="")
    scene.env.write(ADMIN_ROLES="READ_ONLY_ADMIN")
    scene.sandbox.faults.add(Fault(line.format(id=app.id), status(200, body), times=None))

    result = scene.step_2()

    assert result.returncode == code, result.stderr
    assert ("E0000006" in result.stderr) == (code == 3)
    assert ("was assigned" in result.stderr) == (line.startswith("POST /api") and code == 3)


@pytest.mark.usefixtures("app")
def test_a_token_answer_that_refuses_with_200_is_shown_with_all_that_okta_said(
    run: Run, sandbox: Sandbox
) -> None:
    body = {"error": "invalid_client", "error_description": "The client_assertion kid is invalid."}
    sandbox.faults.add(Fault(TOKEN, status(200, body)))

    result = run(STEP_3)

    assert (result.returncode, result.stdout) == (3, "")
    assert "Okta answered 200 invalid_client: The client_assertion kid is invalid." in result.stderr


def raw(head: str, header: str = "authorization") -> Action:
    """These bytes in place of an answer; {authorization} is that of the request."""

    def act(turn: Turn) -> None:
        sent = turn.seen.request.headers[header]
        turn.connection.sendall(head.replace("{authorization}", sent).encode())
        turn.close()

    return act


CHUNKED = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
LONG = "x" * 30_000


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(f"garbage {{authorization}} {LONG}\r\n\r\n", id="status-line"),
        pytest.param(f"{CHUNKED}{{authorization}}{LONG}\r\n", id="chunk"),
        pytest.param(
            "HTTP/1.1 403 No\r\ncontent-length: 2\r\nwww-authenticate: Bearer"
            f' error="insufficient_scope", scope="{{authorization}} {LONG}"\r\n\r\n{{}}',
            id="challenge",
        ),
    ],
)
@pytest.mark.usefixtures("app")
def test_what_a_server_makes_of_our_request_is_shown_short_and_without_the_token(
    head: str, run: Run, sandbox: Sandbox
) -> None:
    opaque = patch(
        lambda answer: Response(200, answer.body | {"access_token": OPAQUE}, answer.headers)  # type: ignore[operator]  # an object
    )
    sandbox.faults.add(Fault(TOKEN, opaque))
    sandbox.faults.add(Fault(CALL, raw(head), times=None))

    result = run(STEP_3, "--check")

    assert result.returncode in (3, 4), result.stderr
    assert OPAQUE not in result.stdout + result.stderr
    assert OPAQUE in sandbox.seen[-1].request.headers["authorization"]
    assert len(result.stderr) < 3000
    assert "what to do: " in result.stderr


LETTERS = "eyJ" * 130_000


@pytest.mark.parametrize("place", ["description", "header", "name"])
def test_letters_of_a_token_in_a_long_text_cost_no_time(place: str, scene: Scene) -> None:
    refusal = {"error": "e", "error_description": LETTERS} if place == "description" else None
    headers = {"x-okta-request-id": LETTERS[:60_000]} if place == "header" else {}
    if place == "name":
        scene.plant(scene.ours, name=LETTERS, granted=SCOPES)
    else:
        scene.sandbox.faults.add(Fault("GET ", status(400, refusal, headers)))
    began = time.monotonic()

    result = scene.step_2("-v")

    assert result.returncode == {"description": 3, "header": 4, "name": 0}[place], result.stderr
    assert time.monotonic() - began < 10


def test_client_id_with_half_a_character_is_no_usable_response(scene: Scene) -> None:
    listed = patch(lambda answer: Response(200, [{"client_id": "\ud800"}], answer.headers))
    scene.sandbox.faults.add(Fault("GET /oauth2/v1/clients", listed))

    result = scene.step_2()

    assert (result.returncode, result.stdout) == (4, ""), result.stderr
    assert "Traceback" not in result.stderr
    assert "client_id" in result.stderr


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "[NaN]", "1e9"])
@pytest.mark.usefixtures("app")
def test_number_that_json_cannot_hold_is_no_usable_response(
    number: str, run: Run, sandbox: Sandbox
) -> None:
    body = f'{{"access_token":"a","token_type":"Bearer","expires_in":60,"x":{number}}}'
    sandbox.faults.add(Fault(TOKEN, status(200, body.encode())))

    result = run(STEP_3, "-o", "json")

    if number == "1e9":
        assert json.loads(result.stdout)["x"] == 1e9
    else:
        assert (result.returncode, result.stdout) == (4, "")
        assert "expected a JSON object" in result.stderr


@pytest.mark.usefixtures("app")
def test_negative_chunk_size_is_a_lost_connection(run: Run, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault(TOKEN, raw(f"{CHUNKED}-5\r\nabcde\r\n0\r\n\r\n", "host"), times=None))

    result = run(STEP_3)

    assert (result.returncode, result.stdout, len(sandbox.seen)) == (4, "", 3)
    assert "Traceback" not in result.stderr
    assert "was lost" in result.stderr


@pytest.mark.usefixtures("app")
def test_no_thread_to_be_had_is_a_local_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoMore(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(org, "threading", SimpleNamespace(Thread=NoMore))

    result = run(STEP_3)

    assert (result.returncode, result.stdout) == (1, "")
    assert "cannot start another thread\nwhat to do: " in result.stderr


@pytest.mark.parametrize(
    ("action", "code", "said"),
    [
        pytest.param(
            status(403, {}, {"www-authenticate": 'Bearer error="insufficient_scope", scope="a.b"'}),
            3,
            "put a.b into SCOPES",
            id="scope-and-empty-object",
        ),
        pytest.param(status(401), 3, "check OKTA_URL and the path", id="bare-401"),
        pytest.param(
            status(401, None, {"www-authenticate": "Bearer"}), 3, "check OKTA_URL", id="bearer"
        ),
        pytest.param(status(403), 4, "-admin", id="bare-403"),
    ],
)
@pytest.mark.usefixtures("app")
def test_a_refusal_of_the_api_without_a_body_is_explained_by_its_headers(
    action: Action, code: int, said: str, run: Run, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault(CALL, action))

    result = run(STEP_3, "--check")

    assert result.returncode == code, result.stderr
    assert said in result.stderr
    assert result.stdout.startswith("GET /api/v1/users?limit=1 40")


@pytest.mark.parametrize(
    ("sent", "date", "seconds"),
    [
        pytest.param(10, 9, None, id="a-slow-answer"),
        pytest.param(0, 3, None, id="near-enough"),
        pytest.param(10, 17, -7, id="fast"),
        pytest.param(10, -7, 7, id="slow"),
        pytest.param(0, -90_000, None, id="beyond-a-day"),
    ],
)
def test_a_clock_is_wrong_only_by_what_a_slow_answer_does_not_explain(
    sent: float, date: float, seconds: float | None
) -> None:
    now = time.time()
    headers = {"Date": formatdate(now - date, usegmt=True)}

    offset = responses.offset(headers, now - sent)

    assert offset == (None if seconds is None else pytest.approx(seconds, abs=2))


@pytest.mark.parametrize("body", [PROXY_PAGE, None], ids=["page", "empty"])
@pytest.mark.usefixtures("app")
def test_a_rate_limit_far_away_says_when_whatever_the_answer_holds(
    body: bytes | None, run: Run, sandbox: Sandbox
) -> None:
    reset = {"x-rate-limit-reset": str(int(time.time()) + 300), "content-type": "text/html"}
    sandbox.faults.add(Fault(TOKEN, status(429, body, reset)))

    result = run(STEP_3)

    assert (result.returncode, len(sandbox.seen)) == (4, 1), result.stderr
    assert re.search("what to do: run this again in (29|30)[0-9] seconds", result.stderr)
