"""Misbehaving servers, networks and proxies: what is retried, how often, and how a run ends."""

import json
import re
import threading
import time
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import faults
import pytest
from conftest import CREATE_APP, GET_TOKEN, SCOPES, EnvFile, Run, public_jwk
from dpop_requests import TOKEN, bare_claims, of_the_app
from faults import PROXY_PAGE, Action, Fault, Sandbox, Turn, patch, redirect, status
from scene import Scene

from pkj.app import find as app_choice
from pkj.errors import NoUsableResponse
from pkj.okta import org, responses
from pkj.sandbox.certificate import make_certificate
from pkj.sandbox.exchange import Response, management_refusal, oauth_refusal
from pkj.sandbox.state import Client

SEARCH, REGISTER = "GET /oauth2/v1/clients", "POST /oauth2/v1/clients"
GRANT = "POST /api/v1/apps/"
HOUR, DAY = 3600, 86400
DONE, REFUSED, NO_RESPONSE = 0, 3, 4


@dataclass(frozen=True)
class Trouble:
    """An action, how get_access_token.py ends with it, after how many attempts, saying what.

    `works`: the org does its work, but the response does not say so.
    """

    action: Action
    code: int = NO_RESPONSE
    attempts: int = 1
    said: str = ""
    works: bool = False

    @property
    def patience(self) -> tuple[str, float]:
        return ("--timeout", 10 if self.code == DONE else 0.5)


def other_shape(response: Response) -> Response:
    """A list for an object, an object for a list."""
    return Response(
        response.status, {} if isinstance(response.body, list) else [], response.headers
    )


def cookie(text: str) -> Action:
    return patch(lambda a: Response(a.status, a.body, a.headers | {"set-cookie": text}))


def limited(reset: str, **headers: str) -> Action:
    headers["x-rate-limit-reset"] = reset
    refusal = management_refusal(429, "E0000047", "Rate limit exceeded.", headers=headers)
    return lambda turn: turn.send(refusal.response)


def token(more: str) -> Action:
    return status(200, f'{{"access_token":"a","token_type":"Bearer","x":{more}}}'.encode())


INTERNAL = {"errorCode": "E0000009", "errorSummary": "Internal Server Error"}
OAUTH = {"error": "server_error", "error_description": "Something went wrong."}
LOST, TIME = "was lost.*\nwhat to do: ", "in time\nwhat to do: .*--timeout"
TROUBLES = {
    "list": Trouble(patch(other_shape), said="a JSON object", works=True),
    "null": Trouble(patch(lambda a: Response(a.status, b"null")), said="a JSON object", works=True),
    "503-after": Trouble(patch(lambda _: Response(503, INTERNAL)), 4, 3, "E0000009", works=True),
    "date-ahead": Trouble(faults.patched_date(HOUR), DONE),
    "date-behind": Trouble(faults.patched_date(-HOUR), DONE),
    "delay": Trouble(faults.delay(0.2), DONE),
    "drip-headers": Trouble(faults.drip(0.05, "headers"), said=TIME, works=True),
    "drip-body": Trouble(faults.drip(0.2), said=TIME, works=True),
    "drip-all": Trouble(faults.drip(0.05, "all"), said=TIME, works=True),
    "chunked-forever": Trouble(faults.chunked_forever(0.05), said=TIME, works=True),
    "hang-before": Trouble(faults.hang(after_work=False), said=TIME),
    "hang-after": Trouble(faults.hang(after_work=True), said=TIME, works=True),
    "reset-before": Trouble(faults.reset_before(), 4, 3, LOST),
    "close-before": Trouble(faults.close_before(), 4, 3, LOST),
    "reset-after": Trouble(faults.reset_after(), 4, 3, LOST, works=True),
    "close-after": Trouble(faults.close_after(), 4, 3, LOST, works=True),
    "truncated": Trouble(faults.truncate(), 4, 3, LOST, works=True),
    "500": Trouble(status(500, INTERNAL), 4, 3, "E0000009"),
    "503-empty": Trouble(status(503), 4, 3, "503.*\nwhat to do: .*later"),
    "204": Trouble(status(204), said="an empty body"),
    "400-strange": Trouble(status(400, {"message": "no"}), said="400.*\nwhat to do: .*OKTA_URL"),
    "html-200": Trouble(faults.html(), said="JSON.*\nwhat to do: .*HTTPS_PROXY"),
    "html-407": Trouble(faults.html(407), said="407.*\nwhat to do: .*HTTPS_PROXY"),
    "html-502": Trouble(faults.html(502), 4, 3, "502"),
    "redirect": Trouble(
        redirect("https://u@elsewhere.example:1/x"), said="to elsewhere.example:1\n"
    ),
    "redirect-307": Trouble(redirect("/login", 307), said="307, a redirect\nwhat to do: OKTA_URL"),
    "redirect-half": Trouble(redirect("https://["), said="redirect"),
    "redirect-ports": Trouble(redirect("https://a:b:c/"), said="redirect"),
    "two-lengths": Trouble(status(200, {}, {"content-length": "2, 3"}), said="cannot be read"),
    "empty": Trouble(faults.empty(), said="an empty body"),
    "huge": Trouble(faults.huge(200 * 10**6), said="is over [0-9]+ bytes"),
    "rate-limit": Trouble(faults.rate_limit(600, 0, HOUR), said="E0000047.*\n.* in 3601 seconds"),
    "echo-management": Trouble(faults.echo(400, "management"), REFUSED, said="E0000003"),
    "echo-oauth": Trouble(faults.echo(400, "oauth"), REFUSED, said="invalid_request"),
}
FAR = {"x-rate-limit-reset": str(int(time.time()) + 10**6), "content-type": "text/html"}
COOKIES = ("a=b; max-age=" + "9" * 500, "a=b; expires=Thu, 01 Jan 99999 00:00:00 GMT")
ONLY_TOKEN = {
    "html-404": Trouble(faults.html(404), said="404.*\nwhat to do: .*not an Okta org"),
    "403-empty": Trouble(status(403), said="403.*\nwhat to do: .*-admin"),
    "400-management": Trouble(status(400, INTERNAL), REFUSED, said="E0000009"),
    "499-unknown": Trouble(status(499, {"errorCode": "E9"}), REFUSED, said="error-codes"),
    "500-unknown": Trouble(status(500, {"errorCode": "E9"}), 4, 3, "status.okta.com"),
    "503-oauth": Trouble(status(503, OAUTH), 4, 3, "server_error"),
    "403-oauth": Trouble(status(403, OAUTH), 4, 3, "server_error"),
    "400-unavailable": Trouble(faults.unavailable(), 4, 3, "temporarily_unavailable"),
    "429-no-reset": Trouble(faults.rate_limit(9, 0, 5, with_headers=False), 4, 3, "429"),
    "429-page": Trouble(faults.html(429), 4, 3, "429"),
    "429-word": Trouble(limited("soon"), 4, 3, "429"),
    "429-no-date": Trouble(limited("1", date="today"), 4, 3, "429"),
    "429-negative": Trouble(limited("-5"), 4, 3, "429"),
    "429-huge": Trouble(limited("9" * 400), 4, 3, "429"),
    "429-far-page": Trouble(status(429, PROXY_PAGE, FAR), said="in (99|100)[0-9]{4} seconds"),
    "429-far-empty": Trouble(status(429, None, FAR), said="in (99|100)[0-9]{4} seconds"),
    "cookie": Trouble(cookie(COOKIES[0]), DONE),
    "cookie-date": Trouble(cookie(COOKIES[1]), DONE),
    "nested-100": Trouble(token("[" * 100 + "]" * 100), DONE),
    "nested-100000": Trouble(token("[" * 10**5 + "]" * 10**5), said="expected JSON"),
    "number": Trouble(token("1e9"), DONE),
    **{
        n: Trouble(token(n), said="JSON")
        for n in ("NaN", "Infinity", "-Infinity", "1e999", "[NaN]")
    },
}
AT_TIMES = {
    *("list", "503-after", "reset-after", "hang-after", "drip-all", "empty", "huge", "redirect"),
    *("two-lengths", "rate-limit", "echo-management", "delay", "html-200"),
}
"""What registering and get_access_token.py always meet; other requests only html-200. The rest
is for slow runs."""

PLACES = {
    "searching": (SEARCH, 0),
    "registering": (REGISTER, 0),
    "asking-for-the-domain": ("GET /.well-known/okta-organization", 0),
    "granting": (GRANT, 0),
    "granting-the-second": (GRANT, 1),
    "reading-roles": ("GET /oauth2/v1/clients/", 0),
    "later-reading-the-client": ("GET /oauth2/v1/clients/{id}", 0),
    "later-reading-the-app": ("GET /api/v1/apps/{id}", 0),
    "later-reading-keys": ("GET /api/v1/apps/{id}/credentials/jwks", 0),
    "later-adding-the-key": ("POST /api/v1/apps/{id}/credentials/jwks", 0),
    "later-reading-the-settings": ("GET /api/v1/apps/{id}", 2),
    "later-reading-keys-again": ("GET /api/v1/apps/{id}/credentials/jwks", 1),
    "later-requiring-dpop": ("PUT /api/v1/apps/{id}", 0),
    "later-reading-grants": ("GET /api/v1/apps/{id}/grants", 0),
    "later-asking-for-the-domain": ("GET /.well-known/okta-organization", 0),
    "later-granting": ("POST /api/v1/apps/{id}/grants", 0),
    "later-reading-roles": ("GET /oauth2/v1/clients/{id}/roles", 0),
    "later-assigning-a-role": ("POST /oauth2/v1/clients/{id}/roles", 0),
}
"""Requests of a first and of a later run of create_okta_service_app.py: how "METHOD path"
begins, and how many such requests go before."""
CASES = [
    pytest.param(place, name, id=f"{place}-{name}", marks=[] if often else pytest.mark.slow)
    for place in PLACES
    for name in TROUBLES
    for often in [name in AT_TIMES if place == "registering" else name == "html-200"]
]


def expected_code(place: str, name: str) -> int:
    trouble, useless, place = TROUBLES[name], name in ("list", "null"), place.split("later-")[-1]
    if place == "registering" and useless:
        return NO_RESPONSE  # a response came: it is not lost, only useless
    if trouble.works and place in ("registering", "adding-the-key"):
        return DONE  # a look at the org tells
    if place.startswith(("granting", "assigning")) and useless:
        return DONE  # here, too
    if place == "asking-for-the-domain" and trouble.code == REFUSED:
        return DONE  # then OKTA_URL is the issuer
    return trouble.code


def sent(sandbox: Sandbox) -> list[str]:
    return [f"{seen.request.method} {seen.request.path}" for seen in sandbox.seen]


@pytest.mark.parametrize(("place", "name"), CASES)
def test_create_app_survives_and_the_next_run_completes_the_app(
    place: str, name: str, env_with_key: EnvFile, run: Run, sandbox: Sandbox, other_key: Any
) -> None:
    later, trouble, (line, skip) = place.startswith("later-"), TROUBLES[name], PLACES[place]
    planted = sandbox.org.add_client("Planted", [public_jwk(other_key)])
    planted.grants["okta.logs.read"] = {"scopeId": "okta.logs.read", "status": "ACTIVE"}
    planted.roles["REPORT_ADMIN"] = {"type": "REPORT_ADMIN"}
    if later:
        wanted = {"ADMIN_ROLES": "READ_ONLY_ADMIN", "DPOP": "true", "SCOPES": "okta.users.read"}
        env_with_key.write(CLIENT_ID=planted.id, **wanted)
    before, line = env_with_key.values(), line.format(id=planted.id)
    sandbox.faults.add(Fault(line, trouble.action, skip=skip, times=None))
    result = run(CREATE_APP, *trouble.patience)

    # Roles are only read to warn of an app without any.
    expected = DONE if place == "reading-roles" else expected_code(place, name)
    assert result.returncode == expected, result.stderr
    assert len([request for request in sent(sandbox) if request.startswith(line)]) > skip
    if name == "delay":  # PLACES has all requests
        assert len(sent(sandbox)) == sum(other.startswith("later-") == later for other in PLACES)
    assert env_with_key.path.stat().st_mode & 0o777 == 0o600
    assert list(env_with_key.path.parent.iterdir()) == [env_with_key.path]
    assert env_with_key.values() | {"CLIENT_ID": ""} == before | {"CLIENT_ID": ""}
    assert not env_with_key["CLIENT_ID"] or env_with_key["CLIENT_ID"] in sandbox.org.clients
    sandbox.faults.clear()
    assert run(CREATE_APP).returncode == 0
    ours = sandbox.org.clients[env_with_key["CLIENT_ID"] or ""]
    assert (ours is planted, len(sandbox.org.clients)) == (later, 2 - later)
    moduli = {env_with_key["MODULUS"], *([public_jwk(other_key)["n"]] if later else [])}
    assert {key["n"] for key in ours.keys} == moduli
    assert set(planted.roles) == {"REPORT_ADMIN", *(["READ_ONLY_ADMIN"] if later else [])}
    assert set(planted.grants) == {"okta.logs.read", *(["okta.users.read"] if later else [])}
    assert set(ours.grants) - {"okta.logs.read"} == set((env_with_key["SCOPES"] or "").split())
    assert (ours.dpop_bound, ours.status) == (later, "ACTIVE")


def jtis(sandbox: Sandbox) -> set[str]:
    forms = [parse_qs(seen.request.body.decode()) for seen in sandbox.seen]
    return {bare_claims(form["client_assertion"][0])["jti"] for form in forms}


SELDOM = [pytest.param(name, marks=pytest.mark.slow) for name in TROUBLES if name not in AT_TIMES]


@pytest.mark.parametrize("name", [*sorted(AT_TIMES), *SELDOM, *ONLY_TOKEN])
def test_get_access_token_survives_and_prints_a_token_or_nothing(
    name: str, env_with_key: EnvFile, app: Client, run: Run, sandbox: Sandbox, pauses: list[float]
) -> None:
    trouble = (TROUBLES | ONLY_TOKEN)[name]
    before = env_with_key.path.read_bytes()
    sandbox.faults.add(Fault(TOKEN, trouble.action, times=None))
    result = run(GET_TOKEN, *trouble.patience, "-o", "json")

    assert result.returncode == trouble.code, result.stderr
    assert len(jtis(sandbox)) == len(sandbox.seen) == trouble.attempts
    assert pauses == [0.5, 1.5][: trouble.attempts - 1]
    assert re.search(trouble.said, result.stderr)
    assert ("\nwhat to do: " in result.stderr) == (trouble.code != DONE)
    if trouble.code == DONE:
        assert json.loads(result.stdout)["access_token"]
    else:
        assert result.stdout == ""
    assert env_with_key.path.read_bytes() == before
    sandbox.faults.clear()
    sandbox.faults.add(Fault(TOKEN, trouble.action, times=trouble.attempts - 1))
    again = run(GET_TOKEN, "-o", "token")
    assert (again.returncode, again.stdout.count(".")) == (0, 2), again.stderr
    assert again.stderr.count("\n") == again.stderr.count("; retrying") == trouble.attempts - 1
    assert list(sandbox.org.clients) == [app.id]


# Retries


@pytest.mark.parametrize("name", ["503-empty", "reset-after", "truncated"])
@pytest.mark.parametrize(
    "line", [SEARCH, GRANT, "GET /oauth2/v1/clients/", "POST /oauth2/v1/clients/"]
)
def test_reads_grants_and_roles_are_tried_three_times(
    line: str, name: str, env_with_key: EnvFile, run: Run, sandbox: Sandbox, pauses: list[float]
) -> None:
    env_with_key.write(ADMIN_ROLES="READ_ONLY_ADMIN")
    sandbox.faults.add(Fault(line, TROUBLES[name].action, times=2))
    result = run(CREATE_APP)

    assert (result.returncode, pauses) == (0, [0.5, 1.5]), result.stderr
    (client,) = sandbox.org.clients.values()
    assert (list(client.grants), list(client.roles)) == (SCOPES.split(), ["READ_ONLY_ADMIN"])
    sandbox.seen.clear()
    sandbox.faults.add(Fault(SEARCH, TROUBLES[name].action, times=3))
    env_with_key.write(CLIENT_ID="")
    assert (run(CREATE_APP).returncode, sent(sandbox)) == (4, [SEARCH] * 3)


@pytest.mark.parametrize(
    ("script", "line", "action", "times", "code", "waits"),
    [
        (GET_TOKEN, TOKEN, faults.rate_limit(600, 0, 1), 1, 0, [2]),
        (GET_TOKEN, TOKEN, faults.rate_limit(600, 0, 1, 3 * DAY), 1, 0, [2]),
        (GET_TOKEN, TOKEN, faults.rate_limit(0, 0, 1, -400 * DAY), 1, 0, [2]),
        (GET_TOKEN, TOKEN, faults.rate_limit(600, 0, -5), 1, 0, [1]),
        (GET_TOKEN, TOKEN, faults.rate_limit(600, 0, 60), 1, 0, [61]),
        (GET_TOKEN, TOKEN, faults.rate_limit(600, 0, 60), 2, 4, [61]),
        (GET_TOKEN, TOKEN, faults.rate_limit(600, 0, 90), 1, 4, []),
        (CREATE_APP, REGISTER, faults.rate_limit(600, 0, 0), 1, 0, [1]),
        (CREATE_APP, GRANT, faults.rate_limit(600, 0, 60), 9, 0, [61] * 9),
        (CREATE_APP, GRANT, faults.rate_limit(600, 0, 60), 10, 4, [61] * 9),
    ],
)
@pytest.mark.usefixtures("app")
def test_rate_limits_are_waited_for_by_oktas_clock_if_they_end_soon(
    script: str,
    line: str,
    action: Action,
    times: int,
    code: int,
    waits: list[int],
    env_with_key: EnvFile,
    run: Run,
    sandbox: Sandbox,
    pauses: list[float],
) -> None:
    if script == CREATE_APP:
        env_with_key.write(CLIENT_ID="")
        sandbox.org.clients.clear()
    sandbox.faults.add(Fault(line, action, times=times))
    result = run(script)

    assert (result.returncode, pauses) == (code, waits), result.stderr
    assert result.stderr.count("rate limit is reached; retrying in ") == len(waits)
    assert f"in {waits[0] if waits else 91} seconds" in result.stderr
    assert sent(sandbox).count(REGISTER) == (script == CREATE_APP) + (line == REGISTER)


LAG = [SEARCH] * (1 + len(app_choice.LAG_PAUSES))
REGISTRATIONS = {
    "reset-after": (faults.reset_after(), None, 0, [REGISTER, SEARCH]),
    "close-after": (faults.close_after(), None, 0, [REGISTER, SEARCH]),
    "truncated": (faults.truncate(), None, 0, [REGISTER, SEARCH]),
    "503-after": (TROUBLES["503-after"].action, None, 0, [REGISTER, SEARCH]),
    "503": (status(503), 1, 0, [REGISTER, *LAG, REGISTER]),
    "reset-before": (faults.reset_before(), 1, 0, [REGISTER, *LAG, REGISTER]),
    "close-before": (faults.close_before(), 1, 0, [REGISTER, *LAG, REGISTER]),
    "503-again": (status(503), None, 4, [REGISTER, *LAG, REGISTER, *LAG]),
}


@pytest.mark.parametrize(
    ("action", "times", "code", "requests"), REGISTRATIONS.values(), ids=REGISTRATIONS
)
def test_registration_without_a_response_is_looked_for_before_it_is_repeated(
    action: Action,
    times: int | None,
    code: int,
    requests: list[str],
    env_with_key: EnvFile,
    run: Run,
    sandbox: Sandbox,
) -> None:
    sandbox.faults.add(Fault(REGISTER, action, times=times))
    result = run(CREATE_APP)

    assert result.returncode == code, result.stderr
    assert sent(sandbox)[: 1 + len(requests)] == [SEARCH, *requests]
    assert sent(sandbox).count(REGISTER) == requests.count(REGISTER)
    if code:
        assert (result.stdout, sandbox.org.clients) == ("", {})
        assert not env_with_key["CLIENT_ID"]
        return
    (client,) = sandbox.org.clients.values()
    assert list(client.grants) == SCOPES.split()
    assert client.id == env_with_key["CLIENT_ID"]
    assert client.id in result.stdout.split("\n\n")[1]


def test_json_that_can_be_read_but_not_written_is_unusable() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(NoUsableResponse, match=r"^trying: .* too deeply$"):
        responses.written("trying", {"a": deep})


# Clocks

EXPIRED = "The client_assertion token is expired."
OKTA_SAYS = oauth_refusal(401, "invalid_client", EXPIRED).response.body
MANAGEMENT_SAYS = management_refusal(401, "invalid_client", EXPIRED).response.body
OTHER_TEXT = oauth_refusal(401, "invalid_client", "No such client.").response.body
OTHER_ERROR = oauth_refusal(400, "access_denied", EXPIRED).response.body


@pytest.mark.parametrize(
    ("body", "skew", "times", "attempts", "code"),
    [
        *((OKTA_SAYS, skew, 1, 1, 3) for skew in (3, -3, DAY + 60, -DAY - 60, 3 * DAY)),
        *((OKTA_SAYS, skew, 1, 2, 0) for skew in (9, -9)),
        *((OKTA_SAYS, skew, None, 2, 3) for skew in (HOUR, -HOUR, DAY - 60)),
        (MANAGEMENT_SAYS, HOUR, None, 2, 3),
        *((body, HOUR, None, 1, 3) for body in (OTHER_TEXT, OTHER_ERROR)),
        *((body, HOUR, None, 1, 4) for body in (PROXY_PAGE, {"message": EXPIRED})),
        (PROXY_PAGE + EXPIRED.encode(), HOUR, None, 1, 4),
    ],
)
@pytest.mark.usefixtures("app")
def test_clock_is_corrected_once_from_five_seconds_to_a_day_if_okta_says_so(
    body: object, skew: int, times: int | None, attempts: int, code: int, run: Run, sandbox: Sandbox
) -> None:
    def refuse(turn: Turn) -> None:
        turn.send(Response(401, body, {"date": turn.date(skew)}))

    sandbox.faults.add(Fault(TOKEN, refuse, times=times))
    result = run(GET_TOKEN, "-o", "token")
    assert (result.returncode, len(sandbox.seen)) == (code, attempts), result.stderr
    off = re.findall(rf"clock is (\d+) s {'slow' if skew > 0 else 'fast'}: ", result.stderr)
    assert [abs(int(seconds) - abs(skew)) <= 2 for seconds in off] == [True] * (attempts - 1)
    assert len(jtis(sandbox)) == attempts


@pytest.mark.parametrize(
    ("took", "date", "seconds"),
    [(10, 9, None), (0, 3, None), (10, 17, -7), (10, -7, 7), (0, -90_000, None)],
)
def test_clock_is_wrong_only_by_what_a_slow_response_does_not_explain(
    took: float, date: float, seconds: float | None
) -> None:
    now = time.time()
    headers = {"Date": formatdate(now - date, usegmt=True)}
    offset = responses.clock_offset(headers, now - took)
    assert offset == (None if seconds is None else pytest.approx(seconds, abs=2))


# Hostile responses to create_okta_service_app.py


@pytest.mark.parametrize("keys", [5, True, {"n": "x"}, "keys", None, "no settings"])
def test_app_without_usable_keys_or_settings_is_not_changed(keys: Any, scene: Scene) -> None:
    app = scene.settled({**scene.others, "status": "INACTIVE"})
    scene.env.write(DPOP="true")

    def change(body: dict[str, Any]) -> None:
        if keys == "no settings":
            del body["settings"]
        else:
            body["settings"]["oauthClient"]["jwks"] = {"keys": keys}

    scene.sandbox.faults.add(Fault(f"GET /api/v1/apps/{app.id}", of_the_app(change), times=None))

    result = scene.create_app()

    code, said = (4, "no settings.oauthClient") if keys == "no settings" else (3, "INACTIVE key")
    assert (result.returncode, app.dpop_bound) == (code, False), result.stderr
    assert said in result.stderr


FORBIDDEN = management_refusal(403, "E0000006", "You do not have permission").response.body


@pytest.mark.parametrize(
    ("line", "body", "code"),
    [
        (GRANT, FORBIDDEN, 3),
        (GRANT, {}, 4),
        ("GET /oauth2/v1/clients/{id}/roles", FORBIDDEN, 3),
        ("POST /oauth2/v1/clients/{id}/roles", FORBIDDEN, 3),
        ("GET /oauth2/v1/clients/{id}", FORBIDDEN, 3),
    ],
)
def test_refusal_with_the_status_of_a_success_is_a_refusal(
    line: str, body: object, code: int, scene: Scene
) -> None:
    app = scene.settled(granted="")
    scene.env.write(ADMIN_ROLES="READ_ONLY_ADMIN")
    scene.sandbox.faults.add(Fault(line.format(id=app.id), status(200, body), times=None))
    result = scene.create_app()
    assert result.returncode == code, result.stderr
    assert ("E0000006" in result.stderr) == (code == 3)
    assert ("was assigned" in result.stderr) == (line == GRANT and code == 3)


# Text of a server

NASTY = "\x1b[2J\x1b]0;owned\x07 \r\x9b1m\x7f\u202e\u2066\u200b\ud800 end"


@pytest.mark.parametrize("refusal", [management_refusal, oauth_refusal])
@pytest.mark.parametrize("code", [400, 503])
@pytest.mark.usefixtures("app")
def test_control_characters_of_a_server_are_shown_as_escapes(
    code: int, refusal: Any, run: Run, sandbox: Sandbox
) -> None:
    header = {"x-okta-request-id": NASTY.replace("\r", "")}
    action = status(code, refusal(code, f"E1{NASTY}", NASTY).response.body, header)
    sandbox.faults.add(Fault("", action, times=None))
    result = run(GET_TOKEN, "-v", "-o", "token")
    assert result.returncode == (3 if code == 400 else 4)
    assert re.findall(r"[^\n -~…]", result.stderr) == []
    for text in (r"\x1b[2J", r"\u202e", "end"):
        assert text in result.stderr


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"errorCode": "E1", "errorSummary": "s" * 10**5}, {}),
        ({"errorCode": "E" * 10**5, "errorSummary": "s"}, {}),
        ({"error": "e", "error_description": "s" * 10**5}, {}),
        ({"errorCode": "E1", "errorCauses": [{"errorSummary": "c" * 300}] * 999}, {}),
        ({"errorCode": "E1", "errorId": "i" * 10**5}, {}),
        ({}, {"x-okta-request-id": "r" * 20000}),
        ({}, {"content-type": "t" * 20000}),
    ],
    ids=["summary", "code", "description", "causes", "error-id", "request-id", "content-type"],
)
@pytest.mark.usefixtures("app")
def test_long_text_of_a_server_is_cut(
    body: object, headers: dict[str, str], run: Run, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault(TOKEN, status(400, body, headers)))
    result = run(GET_TOKEN, "-v", "-o", "token")
    assert result.returncode in (3, 4)
    assert max(map(len, result.stderr.splitlines())) < 1000


@pytest.mark.parametrize("script", [CREATE_APP, GET_TOKEN])
@pytest.mark.usefixtures("app")
def test_verbose_has_a_line_for_each_request(script: str, run: Run, sandbox: Sandbox) -> None:
    assert sandbox.url not in run(script).stderr
    sandbox.seen.clear()
    lines = [line for line in run(script, "-v").stderr.splitlines() if sandbox.url in line]
    for line, seen in zip(lines, sandbox.seen, strict=True):
        url = re.escape(sandbox.url + seen.request.target)
        outcome = rf"[0-9]+ ms {seen.response_status} request-id=[0-9a-f]{{32}}"
        assert re.fullmatch(f"{seen.request.method} {url} {outcome}", line), line


# This machine


@pytest.mark.parametrize(
    ("first", "second", "culprit", "code"),
    [
        ("{other}", "", "REQUESTS_CA_BUNDLE", 4),
        ("", "{other}", "CURL_CA_BUNDLE", 4),
        ("{other}", "{right}", "REQUESTS_CA_BUNDLE", 4),
        ("{right}", "{other}", "", 0),
        ("", "/nowhere.pem", "CURL_CA_BUNDLE", 1),
        ("/nowhere.pem", "", "REQUESTS_CA_BUNDLE", 1),
        ("", __file__, "CURL_CA_BUNDLE", 1),
    ],
)
@pytest.mark.usefixtures("app")
def test_ca_file_at_fault_is_named(
    first: str, second: str, culprit: str, code: int, run: Run, sandbox: Sandbox, tmp_path: Path
) -> None:
    other = tmp_path / "other-ca.pem"
    other.write_bytes(make_certificate().ca_pem)
    bundles = {"REQUESTS_CA_BUNDLE": first, "CURL_CA_BUNDLE": second}
    files = {"other": other, "right": sandbox.ca_file}
    result = run(GET_TOKEN, env={name: path.format(**files) for name, path in bundles.items()})

    problem, _, hint = result.stderr.partition("what to do: ")
    assert result.returncode == code, result.stderr
    assert [name for name in bundles if name in problem] == [culprit] * bool(culprit)
    assert ("the `export` lines" in hint) == (code == 4)


@pytest.mark.parametrize("host", ["no-such-org.invalid", "127.0.0.1:1"])
@pytest.mark.usefixtures("app")
def test_host_that_is_not_there_is_one_message(host: str, run: Run) -> None:
    result = run(GET_TOKEN, env={"OKTA_URL": f"https://{host}", "NO_PROXY": "*"})
    assert (result.returncode, result.stdout) == (4, "")
    assert re.search(f"asking for a token for .*{host}.*\nwhat to do: ", result.stderr)


@pytest.mark.usefixtures("app")
def test_no_thread_to_be_had_is_a_local_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoMore(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(org, "threading", SimpleNamespace(Thread=NoMore))
    result = run(GET_TOKEN)
    assert (result.returncode, result.stdout) == (1, "")
    assert "cannot start another thread\nwhat to do: " in result.stderr
