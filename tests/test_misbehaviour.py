"""Steps 2 and 3 through every misbehaviour that the sandbox knows, at every request of theirs.

The misbehaviour meets one request and all its repetitions. Then the org behaves again, and
a plain second run must end with exactly one app that has everything.
"""

import os
import stat
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from conftest import SCOPES, STEP_2, STEP_3, EnvFile, Run, clean_environment, command, public_jwk
from cryptography.hazmat.primitives.asymmetric import rsa
from faults import (
    Action,
    Fault,
    Sandbox,
    chunked_forever,
    close_after,
    close_before,
    delay,
    drip,
    echo,
    empty,
    hang,
    html,
    huge,
    patch,
    patched_date,
    rate_limit,
    redirect,
    reset_after,
    reset_before,
    status,
    truncate,
)

from pkj.sandbox.exchange import Response
from pkj.sandbox.state import Client

TIMEOUT = 0.5
LONGEST = 15.0
"""Seconds for three attempts of four timeouts each, the pauses, and slow machines."""

DONE, REFUSED, NO_ANSWER = 0, 3, 4
SERVER_ERROR = {"errorCode": "E0000009", "errorSummary": "Internal Server Error"}


@dataclass(frozen=True)
class Trouble:
    """`works`: the org does its work, of which the answer says nothing useful."""

    make: Callable[[], Action]
    code: int = NO_ANSWER
    works: bool = False


def other_shape(answer: Response) -> Response:
    """A list for an object, an object for a list."""
    return Response(answer.status, {} if isinstance(answer.body, list) else [], answer.headers)


TROUBLES = {
    "patched-list": Trouble(lambda: patch(other_shape), works=True),
    "patched-null": Trouble(lambda: patch(lambda a: Response(a.status, b"null")), works=True),
    "patched-503": Trouble(lambda: patch(lambda _: Response(503, SERVER_ERROR)), works=True),
    "date-in-an-hour": Trouble(lambda: patched_date(3600), DONE),
    "date-an-hour-ago": Trouble(lambda: patched_date(-3600), DONE),
    "delay": Trouble(lambda: delay(0.2), DONE),
    "drip-headers": Trouble(lambda: drip(0.05, "headers"), works=True),
    "drip-body": Trouble(lambda: drip(0.2), works=True),
    "drip-all": Trouble(lambda: drip(0.05, "all"), works=True),
    "chunked-forever": Trouble(lambda: chunked_forever(0.05), works=True),
    "reset-before": Trouble(reset_before),
    "close-before": Trouble(close_before),
    "reset-after": Trouble(reset_after, works=True),
    "close-after": Trouble(close_after, works=True),
    "hang-before": Trouble(lambda: hang(after_work=False)),
    "hang-after": Trouble(lambda: hang(after_work=True), works=True),
    "truncated": Trouble(truncate, works=True),
    "status-500": Trouble(lambda: status(500, SERVER_ERROR)),
    "status-503-empty": Trouble(lambda: status(503)),
    "status-204": Trouble(lambda: status(204)),
    "status-400-strange": Trouble(lambda: status(400, {"message": "no"})),
    "html-200": Trouble(html),
    "html-407": Trouble(lambda: html(407)),
    "html-502": Trouble(lambda: html(502)),
    "redirect": Trouble(lambda: redirect("https://127.0.0.1:1/elsewhere")),
    "redirect-307": Trouble(lambda: redirect("/login", 307)),
    "redirect-that-is-no-address": Trouble(lambda: redirect("https://[")),
    "redirect-to-no-port": Trouble(lambda: redirect("https://a:b:c/")),
    "two-lengths": Trouble(lambda: status(200, {}, {"content-length": "2, 3"})),
    "empty": Trouble(empty),
    "huge": Trouble(lambda: huge(200 * 10**6)),
    "rate-limit-far-away": Trouble(lambda: rate_limit(600, 0, 3600)),
    "echo-management": Trouble(lambda: echo(400, "management"), REFUSED),
    "echo-oauth": Trouble(lambda: echo(400, "oauth"), REFUSED),
}

FIRST_RUN = {
    "searching": ("GET /oauth2/v1/clients", 0),
    "registering": ("POST /oauth2/v1/clients", 0),
    "asking-for-the-domain": ("GET /.well-known/okta-organization", 0),
    "granting": ("POST /api/v1/apps/", 0),
    "granting-the-second": ("POST /api/v1/apps/", 1),
    "reading-roles": ("GET /oauth2/v1/clients/", 0),
}
"""How "METHOD path" of a request begins, and how many such requests go before it."""

LATER_RUN = {
    "reading-the-client": ("GET /oauth2/v1/clients/{id}", 0),
    "reading-the-app": ("GET /api/v1/apps/{id}", 0),
    "reading-keys": ("GET /api/v1/apps/{id}/credentials/jwks", 0),
    "adding-the-key": ("POST /api/v1/apps/{id}/credentials/jwks", 0),
    "reading-the-settings": ("GET /api/v1/apps/{id}", 2),
    "reading-keys-again": ("GET /api/v1/apps/{id}/credentials/jwks", 1),
    "requiring-dpop": ("PUT /api/v1/apps/{id}", 0),
    "reading-grants": ("GET /api/v1/apps/{id}/grants", 0),
    "asking-for-the-domain": ("GET /.well-known/okta-organization", 0),
    "granting": ("POST /api/v1/apps/{id}/grants", 0),
    "reading-roles": ("GET /oauth2/v1/clients/{id}/roles", 0),
    "assigning-a-role": ("POST /oauth2/v1/clients/{id}/roles", 0),
}

SURVIVES_ITS_LOST_ANSWER = ("registering", "adding-the-key")
"""Where a look at the org tells that the work was done."""

OFTEN = {"html-200"}
"""Met by every request in each run of the tests."""

AT_TIMES = OFTEN | {
    *("patched-list", "patched-503", "reset-after", "hang-after", "drip-all", "empty", "huge"),
    *("redirect", "two-lengths", "rate-limit-far-away", "echo-management", "delay"),
}
"""Met by registering and by step 3 in each run of the tests; all the others in slow runs."""


SHARE = 1
"""Of the slow ones each request meets every fourth trouble, so each trouble every fourth
request: all of both are met, in minutes."""


def cases(requests: dict[str, tuple[str, int]], always: str = "") -> list[object]:
    found: list[object] = []
    for place, request in requests.items():
        for name, trouble in TROUBLES.items():
            seldom = name not in (AT_TIMES if place == always else OFTEN)
            marks = [pytest.mark.slow] if seldom else []
            found.append(pytest.param(place, request, trouble, id=f"{place}-{name}", marks=marks))
    return found


def expected_code(place: str, trouble: Trouble) -> int:
    told = trouble in (TROUBLES["patched-list"], TROUBLES["patched-null"])
    if place == "registering" and trouble.works and told:
        return NO_ANSWER  # an answer came: it is not lost, only useless
    if trouble.works and place in SURVIVES_ITS_LOST_ANSWER:
        return DONE
    if place == "asking-for-the-domain" and trouble.code == REFUSED:
        return DONE  # then OKTA_URL is the issuer
    if place.startswith(("granting", "assigning")) and trouble.works and told:
        return DONE  # a look at the org tells
    if place == "reading-keys" and trouble is TROUBLES["patched-list"]:
        return NO_ANSWER
    return trouble.code


@pytest.fixture
def earlier_app(env_with_key: EnvFile, sandbox: Sandbox, other_key: rsa.RSAPrivateKey) -> Client:
    """An app that lacks our key, a scope, a role and DPoP, and has another of each."""
    client = sandbox.org.add_client("Planted", [public_jwk(other_key)])
    client.grants["okta.logs.read"] = {"scopeId": "okta.logs.read", "status": "ACTIVE"}
    client.roles["REPORT_ADMIN"] = {"type": "REPORT_ADMIN"}
    settings = {"ADMIN_ROLES": "READ_ONLY_ADMIN", "DPOP": "true", "SCOPES": "okta.users.read"}
    env_with_key.write(CLIENT_ID=client.id, **settings)
    return client


def bounded(run: Run, script: str, trouble: Trouble) -> tuple[int, str, str]:
    patient = trouble.code == DONE
    began = time.monotonic()
    result = run(script, "--timeout", 10 if patient else TIMEOUT)
    assert time.monotonic() - began < LONGEST
    assert "Traceback" not in result.stderr, result.stderr
    return result.returncode, result.stdout, result.stderr


def assert_whole(env: EnvFile, sandbox: Sandbox, before: dict[str, str | None]) -> None:
    """Nothing half-done: the key is the same, an id is that of an app, nothing else is there."""
    assert stat.S_IMODE(env.path.stat().st_mode) == 0o600
    assert {path.name for path in env.path.parent.iterdir()} == {".env"}
    after = env.values()
    assert {name: after[name] for name in before if name != "CLIENT_ID"} == {
        name: value for name, value in before.items() if name != "CLIENT_ID"
    }
    assert not after.get("CLIENT_ID") or after["CLIENT_ID"] in sandbox.org.clients


@pytest.mark.parametrize(
    ("place", "request_line", "trouble"), cases(FIRST_RUN, always="registering")
)
def test_a_first_run_of_step_2_survives_and_the_second_ends_with_one_app(
    place: str,
    request_line: tuple[str, int],
    trouble: Trouble,
    env_with_key: EnvFile,
    run: Run,
    sandbox: Sandbox,
    other_key: rsa.RSAPrivateKey,
) -> None:
    stranger = sandbox.org.add_client("Somebody else's", [public_jwk(other_key)])
    before = env_with_key.values()
    line, skip = request_line
    sandbox.faults.add(Fault(line, trouble.make(), skip=skip, times=None))

    code, _, stderr = bounded(run, STEP_2, trouble)

    sandbox.faults.clear()
    # A look at the roles may be refused; and an app without any is two bytes, which drip fast.
    harmless = trouble.code == REFUSED or trouble is TROUBLES["drip-body"]
    done = place == "reading-roles" and harmless
    assert code == (DONE if done else expected_code(place, trouble)), stderr
    assert_whole(env_with_key, sandbox, before)
    assert len(sandbox.org.clients) <= 2
    again = run(STEP_2)
    assert again.returncode == 0, again.stderr
    (ours,) = [client for client in sandbox.org.clients.values() if client is not stranger]
    assert env_with_key["CLIENT_ID"] == ours.id
    assert set(ours.grants) == set(SCOPES.split())
    assert not stranger.grants


@pytest.mark.parametrize(("place", "request_line", "trouble"), cases(LATER_RUN))
def test_a_later_run_of_step_2_survives_and_the_next_completes_the_app(
    place: str,
    request_line: tuple[str, int],
    trouble: Trouble,
    env_with_key: EnvFile,
    earlier_app: Client,
    run: Run,
    sandbox: Sandbox,
    other_key: rsa.RSAPrivateKey,
) -> None:
    before = env_with_key.values()
    line, skip = request_line
    exact = line.format(id=earlier_app.id)
    sandbox.faults.add(Fault(exact, trouble.make(), skip=skip, times=None))

    code, _, stderr = bounded(run, STEP_2, trouble)

    sandbox.faults.clear()
    assert code == expected_code(place, trouble), stderr
    assert_whole(env_with_key, sandbox, before)
    assert env_with_key["CLIENT_ID"] == earlier_app.id
    again = run(STEP_2)
    assert again.returncode == 0, again.stderr
    assert list(sandbox.org.clients) == [earlier_app.id]
    moduli = {key["n"] for key in earlier_app.keys}
    assert moduli == {env_with_key["MODULUS"], public_jwk(other_key)["n"]}
    assert set(earlier_app.grants) == {"okta.logs.read", "okta.users.read"}
    assert set(earlier_app.roles) == {"REPORT_ADMIN", "READ_ONLY_ADMIN"}
    assert earlier_app.dpop_bound
    assert earlier_app.status == "ACTIVE"


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in AT_TIMES else [pytest.mark.slow]) for name in TROUBLES],
)
def test_step_3_survives_and_prints_a_token_or_nothing(
    name: str, env_with_key: EnvFile, app: Client, run: Run, sandbox: Sandbox
) -> None:
    trouble = TROUBLES[name]
    before = env_with_key.path.read_bytes()
    sandbox.faults.add(Fault("POST /oauth2/v1/token", trouble.make(), times=None))

    code, stdout, stderr = bounded(run, STEP_3, trouble)

    sandbox.faults.clear()
    assert code == trouble.code, stderr
    assert bool(stdout) == (code == DONE)
    assert ("\nwhat to do: " in stderr) == (code != DONE)
    assert env_with_key.path.read_bytes() == before
    again = run(STEP_3, "-o", "token")
    assert (again.returncode, again.stderr, again.stdout.count(".")) == (0, "", 2)
    assert list(sandbox.org.clients) == [app.id]


def test_the_requests_that_are_met_are_all_the_requests_there_are(
    env_with_key: EnvFile, run: Run, sandbox: Sandbox, other_key: rsa.RSAPrivateKey
) -> None:
    first = run(STEP_2)
    told = [f"{seen.request.method} {seen.request.path}" for seen in sandbox.seen]
    assert first.returncode == 0, first.stderr
    assert len(told) == len(FIRST_RUN)
    for line, skip in FIRST_RUN.values():
        assert len([request for request in told if request.startswith(line)]) > skip, line

    client = sandbox.org.clients[env_with_key["CLIENT_ID"] or ""]
    client.keys[0] |= public_jwk(other_key)
    env_with_key.write(SCOPES="okta.logs.read", ADMIN_ROLES="READ_ONLY_ADMIN", DPOP="true")
    sandbox.seen.clear()
    later = run(STEP_2)
    told = [f"{seen.request.method} {seen.request.path}" for seen in sandbox.seen]
    assert later.returncode == 0, later.stderr
    assert len(told) == len(LATER_RUN)
    for line, skip in LATER_RUN.values():
        exact = line.format(id=client.id)
        assert len([request for request in told if request.startswith(exact)]) > skip, line


def test_several_runs_through_trouble_at_the_same_time_end_with_one_app(
    env_with_key: EnvFile, process: Run, run: Run, sandbox: Sandbox
) -> None:
    assert run(STEP_2).returncode == 0
    sandbox.faults.add(Fault("POST /api/v1/apps/", reset_after(), times=2))
    env_with_key.write(SCOPES=f"{SCOPES} okta.logs.read")

    with ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda _: process(STEP_2), range(2)))

    assert [result.returncode for result in results] == [0, 0], [r.stderr for r in results]
    (client,) = sandbox.org.clients.values()
    assert list(client.grants) == [*SCOPES.split(), "okta.logs.read"]
    assert env_with_key["CLIENT_ID"] == client.id


@pytest.mark.skipif(os.name != "posix", reason="a pipe as a POSIX shell makes it")
@pytest.mark.parametrize("reader", ["head -1", "true", "head -c 1"])
def test_a_reader_that_has_read_enough_stops_no_work(
    reader: str, env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    scopes = [f"okta.made{number}.read" for number in range(40)]
    env_with_key.write(SCOPES=" ".join(scopes))
    saved = env_with_key.path.with_name("code")
    line = f'{{ "$@"; echo $? > {saved}; }} | {reader}'
    told = ["/bin/sh", "-c", line, "sh", *command(STEP_2, "--env-file", env_with_key.path)]

    piped = subprocess.run(
        told,
        env=clean_environment(REQUESTS_CA_BUNDLE=sandbox.ca_file),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert saved.read_text(encoding="utf-8") == "0\n", piped.stderr
    assert "///////////////// Okta Service app created:\n".startswith(piped.stdout)
    assert "ipe" not in piped.stderr
    assert "Traceback" not in piped.stderr
    (client,) = sandbox.org.clients.values()
    assert env_with_key["CLIENT_ID"] == client.id
    assert list(client.grants) == scopes
    assert run(STEP_3, "-o", "token").returncode == 0
