"""What is tried again, after how long, how often, and what never is."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from email.utils import formatdate
from urllib.parse import parse_qs

import faults
import jwt
import pytest
from conftest import SCOPES, STEP_2, STEP_3, EnvFile, Run, clean_environment, command
from faults import (
    PROXY_PAGE,
    Action,
    Fault,
    Sandbox,
    html,
    patch,
    rate_limit,
    reset_after,
    reset_before,
    status,
    truncate,
    unavailable,
)

from pkj.app import find as app_choice
from pkj.sandbox.exchange import Response, management_refusal, oauth_refusal

TOKEN = "POST /oauth2/v1/token"  # noqa: S105 - a path
SEARCH = "GET /oauth2/v1/clients"
REGISTER = "POST /oauth2/v1/clients"
EXPIRED = "The client_assertion token is expired."
HOUR, DAY = 3600, 86400
SLOW = pytest.mark.slow


def jtis(sandbox: Sandbox) -> list[str]:
    forms = [parse_qs(seen.request.body.decode()) for seen in sandbox.seen]
    told = [form["client_assertion"][0] for form in forms]
    return [jwt.decode(text, options={"verify_signature": False})["jti"] for text in told]


def requests_of(sandbox: Sandbox) -> list[str]:
    return [f"{seen.request.method} {seen.request.path}" for seen in sandbox.seen]


@pytest.mark.parametrize(
    ("limit", "skew"),
    [(600, 0), (600, 3 * DAY), (0, -400 * DAY)],
    ids=["rate", "rate-days-ahead", "concurrency-a-year-behind"],
)
@pytest.mark.usefixtures("app")
def test_a_rate_limit_is_waited_for_by_oktas_own_clock(
    limit: int, skew: int, run: Run, sandbox: Sandbox, pauses: list[float]
) -> None:
    sandbox.faults.add(Fault(TOKEN, rate_limit(limit, 0, 1, skew)))

    result = run(STEP_3, "-o", "token")

    assert result.returncode == 0, result.stderr
    assert pauses == [2]
    assert "rate limit" in result.stderr
    assert "in 2 seconds" in result.stderr
    assert result.stdout.count(".") == 2
    assert len(set(jtis(sandbox))) == len(sandbox.seen) == 2


def test_registering_is_repeated_after_a_rate_limit_without_a_search(
    env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault(REGISTER, rate_limit(600, 0, 0)))

    result = run(STEP_2)

    assert result.returncode == 0, result.stderr
    assert "in 1 seconds" in result.stderr
    assert requests_of(sandbox)[:3] == [SEARCH, REGISTER, REGISTER]
    assert list(sandbox.org.clients) == [env_with_key["CLIENT_ID"]]


@pytest.mark.usefixtures("app")
def test_a_rate_limit_that_ends_too_late_is_not_waited_for(
    run: Run, sandbox: Sandbox, pauses: list[float]
) -> None:
    sandbox.faults.add(Fault(TOKEN, rate_limit(600, 0, 90, skew=3 * DAY), times=None))

    result = run(STEP_3, "-o", "token")

    assert (result.returncode, result.stdout) == (4, "")
    assert pauses == []
    assert "E0000047" in result.stderr
    assert "in 91 seconds" in result.stderr
    assert len(sandbox.seen) == 1


@pytest.mark.parametrize(
    ("script", "line", "windows", "code"),
    [
        pytest.param(STEP_3, TOKEN, 1, 0, id="one-for-a-token"),
        pytest.param(STEP_3, TOKEN, 2, 4, id="not-two-for-a-token"),
        pytest.param(STEP_2, "POST /api/v1/apps/", 9, 0, id="nine-for-an-app"),
        pytest.param(STEP_2, "POST /api/v1/apps/", 10, 4, id="not-ten-for-an-app"),
    ],
)
@pytest.mark.usefixtures("app")
def test_whole_windows_are_waited_for(
    script: str,
    line: str,
    windows: int,
    code: int,
    env_with_key: EnvFile,
    run: Run,
    sandbox: Sandbox,
    pauses: list[float],
) -> None:
    env_with_key.write(SCOPES=f"{SCOPES} okta.logs.read" if script == STEP_2 else SCOPES)
    sandbox.faults.add(Fault(line, rate_limit(600, 0, 60), times=windows))

    result = run(script)

    assert result.returncode == code, result.stderr
    waits = windows if code == 0 else windows - 1
    assert pauses == pytest.approx([61] * waits, abs=1)
    assert result.stderr.count("Okta's rate limit is reached; trying again in 6") == waits


@pytest.mark.usefixtures("app")
def test_the_same_wait_alone_is_begun_and_can_be_interrupted(
    env_with_key: EnvFile, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault(TOKEN, rate_limit(600, 0, 59), times=None))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(
        command(STEP_3, "--env-file", env_with_key.path),
        env=clean_environment(REQUESTS_CA_BUNDLE=sandbox.ca_file),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        signal.signal(signal.SIGINT, before)
        assert process.stderr is not None
        said = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=10)

    assert "trying again in 60 seconds" in said
    assert (process.returncode, rest) == (130, "interrupted\n")
    assert len(sandbox.seen) == 1


def unusable(reset: str, **headers: str) -> Action:
    headers["x-rate-limit-reset"] = reset
    refusal = management_refusal(429, "E0000047", "API call exceeded rate limit.", headers=headers)
    return lambda turn: turn.send(refusal.answer)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(rate_limit(600, 0, 5, with_headers=False), id="no-headers"),
        pytest.param(unusable(reset="soon"), id="a-word", marks=SLOW),
        pytest.param(unusable(reset="1", date="today"), id="no-date", marks=SLOW),
        pytest.param(unusable(reset="-5"), id="negative", marks=SLOW),
        pytest.param(unusable(reset="9" * 400), id="astronomical", marks=SLOW),
        pytest.param(html(429), id="page-of-a-proxy"),
    ],
)
@pytest.mark.usefixtures("app")
def test_a_rate_limit_that_names_no_time_is_like_a_fault_of_the_server(
    answer: Action, run: Run, sandbox: Sandbox, pauses: list[float]
) -> None:
    sandbox.faults.add(Fault(TOKEN, answer, times=None))

    result = run(STEP_3, "-o", "token")

    assert (result.returncode, result.stdout) == (4, "")
    assert pauses == [0.5, 1.5]
    assert "429" in result.stderr
    assert "Traceback" not in result.stderr
    assert len(set(jtis(sandbox))) == len(sandbox.seen) == 3


OFTEN = ("503", "reset-after", "400-unavailable", "403-server-error")
LOST = {
    "503": status(503),
    "500-in-oktas-shape": status(500, {"errorCode": "E0000009", "errorSummary": "Internal"}),
    "502-page": html(502),
    "400-unavailable": unavailable(),
    "403-server-error": status(403, {"error": "server_error", "error_description": "Oops"}),
    "reset-before": reset_before(),
    "close-before": faults.close_before(),
    "reset-after": reset_after(),
    "close-after": faults.close_after(),
    "truncated": truncate(),
}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(answer, id=name, marks=[] if name in OFTEN else [SLOW])
        for name, answer in LOST.items()
    ],
)
@pytest.mark.usefixtures("app")
def test_a_token_is_asked_for_three_times_each_with_a_jti_of_its_own(
    answer: Action, run: Run, sandbox: Sandbox, pauses: list[float]
) -> None:
    sandbox.faults.add(Fault(TOKEN, answer, times=2))

    result = run(STEP_3, "-o", "token")

    assert (result.returncode, result.stdout.count(".")) == (0, 2), result.stderr
    assert pauses == [0.5, 1.5]
    assert result.stderr.count("; trying again") == 2
    assert len(set(jtis(sandbox))) == len(sandbox.seen) == 3


@pytest.mark.parametrize("name", OFTEN)
@pytest.mark.usefixtures("app")
def test_a_fourth_time_is_never_asked(name: str, run: Run, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault(TOKEN, LOST[name], times=3))

    result = run(STEP_3, "-o", "token")

    assert (result.returncode, result.stdout) == (4, "")
    assert len(set(jtis(sandbox))) == len(sandbox.seen) == 3


@pytest.mark.parametrize(
    "name", [pytest.param("503", marks=SLOW), "reset-after", pytest.param("truncated", marks=SLOW)]
)
@pytest.mark.parametrize(
    "request_line",
    [SEARCH, "POST /api/v1/apps/", "GET /oauth2/v1/clients/", "POST /oauth2/v1/clients/"],
    ids=["searching", "granting", "reading-roles", "assigning-a-role"],
)
def test_reads_grants_and_roles_are_tried_three_times(
    request_line: str, name: str, env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    env_with_key.write(ADMIN_ROLES="READ_ONLY_ADMIN")
    sandbox.faults.add(Fault(request_line, LOST[name], times=2))

    result = run(STEP_2)

    assert result.returncode == 0, result.stderr
    (client,) = sandbox.org.clients.values()
    assert list(client.grants) == SCOPES.split()
    assert list(client.roles) == ["READ_ONLY_ADMIN"]
    assert result.stdout.endswith(SCOPES.replace(" ", "\n") + "\n")


@pytest.mark.parametrize("request_line", [SEARCH, "POST /api/v1/apps/"])
@pytest.mark.usefixtures("env_with_key")
def test_none_of_them_is_tried_a_fourth_time(request_line: str, run: Run, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault(request_line, status(503), times=3))

    assert run(STEP_2).returncode == 4
    assert len([seen for seen in sandbox.seen if seen.answer_status == 503]) == 3


def worked_but_503(answer: Response) -> Response:
    return Response(503, None, answer.headers)


@pytest.mark.parametrize(
    "answer",
    [reset_after(), faults.close_after(), truncate(), patch(worked_but_503)],
    ids=["reset", "closed", "truncated", "503-after-the-work"],
)
def test_a_registration_whose_answer_is_lost_is_looked_for_and_adopted(
    answer: Action, env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault(REGISTER, answer, times=None))

    result = run(STEP_2)

    assert result.returncode == 0, result.stderr
    assert requests_of(sandbox)[:3] == [SEARCH, REGISTER, SEARCH]
    assert requests_of(sandbox).count(REGISTER) == 1
    (client,) = sandbox.org.clients.values()
    assert env_with_key["CLIENT_ID"] == client.id
    assert list(client.grants) == SCOPES.split()
    shown = json.loads(result.stdout.split("\n\n")[1])
    assert shown["client_id"] == client.id


@pytest.mark.parametrize(
    "answer", [status(503), reset_before(), faults.close_before()], ids=["503", "reset", "closed"]
)
def test_a_registration_that_did_not_happen_is_looked_for_and_tried_again(
    answer: Action, env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault(REGISTER, answer))

    result = run(STEP_2)

    assert result.returncode == 0, result.stderr
    searches = 1 + len(app_choice.LAG_PAUSES)
    assert requests_of(sandbox)[: searches + 3] == [
        SEARCH,
        REGISTER,
        *[SEARCH] * searches,
        REGISTER,
    ]
    assert list(sandbox.org.clients) == [env_with_key["CLIENT_ID"]]


def test_a_registration_that_keeps_failing_is_tried_twice_and_searched_after_each(
    env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault(REGISTER, status(503), times=None))

    result = run(STEP_2)

    assert (result.returncode, result.stdout) == (4, "")
    searches = 1 + len(app_choice.LAG_PAUSES)
    assert requests_of(sandbox) == [SEARCH, *[REGISTER, *[SEARCH] * searches] * 2]
    assert sandbox.org.clients == {}
    assert not env_with_key["CLIENT_ID"]


@pytest.mark.parametrize(
    ("skew", "word"),
    [(HOUR, "slow"), (-HOUR, "fast"), (23 * HOUR, "slow")],
    ids=["an-hour-slow", "an-hour-fast", "a-day-slow"],
)
@pytest.mark.usefixtures("app")
def test_a_wrong_clock_is_corrected_once_and_said(
    skew: int, word: str, env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    sandbox.org.clock = lambda: time.time() + skew
    before = env_with_key.path.read_bytes()

    result = run(STEP_3, "-o", "token")

    assert (result.returncode, result.stdout.count(".")) == (0, 2), result.stderr
    (line,) = [line for line in result.stderr.splitlines() if "clock" in line]
    (off,) = [int(part) for part in line.split() if part.isdecimal()]
    assert abs(off - abs(skew)) <= 3
    assert word in line
    assert len(set(jtis(sandbox))) == len(sandbox.seen) == 2
    assert env_with_key.path.read_bytes() == before


def refusals(*skews: float, body: object = None) -> Iterator[Action]:
    """For each skew an expired assertion, with a Date that is so far off when it is sent."""
    said = body or oauth_refusal(401, "invalid_client", EXPIRED).answer.body
    for skew in skews:
        yield lambda turn, off=skew: status(401, said, {"date": turn.date(off)})(turn)


@pytest.mark.parametrize(
    ("skew", "tries"),
    [(3, 1), (-3, 1), (9, 2), (-9, 2), (25 * HOUR, 1), (-25 * HOUR, 1), (3 * DAY, 1)],
)
@pytest.mark.usefixtures("app")
def test_a_clock_is_corrected_from_five_seconds_to_a_day(
    skew: int, tries: int, run: Run, sandbox: Sandbox
) -> None:
    for answer in refusals(skew):
        sandbox.faults.add(Fault(TOKEN, answer))

    result = run(STEP_3, "-o", "token")

    assert len(sandbox.seen) == tries
    assert result.returncode == (0 if tries == 2 else 3)
    assert (EXPIRED in result.stderr) == (tries == 1)


@pytest.mark.usefixtures("app")
def test_the_clock_is_corrected_once_only(run: Run, sandbox: Sandbox) -> None:
    for answer in refusals(HOUR, 2 * HOUR, 3 * HOUR, 4 * HOUR):
        sandbox.faults.add(Fault(TOKEN, answer))

    result = run(STEP_3, "-o", "token")

    assert (result.returncode, result.stdout) == (3, "")
    assert EXPIRED in result.stderr
    assert len(set(jtis(sandbox))) == len(sandbox.seen) == 2


@pytest.mark.usefixtures("app")
def test_only_oktas_own_words_correct_the_clock(run: Run, sandbox: Sandbox) -> None:
    date = {"date": formatdate(time.time() + HOUR, usegmt=True)}
    page = {"content-type": "text/html"} | date
    others = [
        status(401, PROXY_PAGE, page),
        status(401, PROXY_PAGE + EXPIRED.encode(), page),
        status(401, oauth_refusal(401, "invalid_client", "No such client.").answer.body, date),
        status(400, oauth_refusal(400, "access_denied", EXPIRED).answer.body, date),
        status(401, {"message": EXPIRED}, date),
    ]
    codes = []
    for number, answer in enumerate(others, 1):
        sandbox.faults.add(Fault(TOKEN, answer))
        codes.append(run(STEP_3, "-o", "token").returncode)
        assert len(sandbox.seen) == number
    assert codes == [4, 4, 3, 3, 4]


@pytest.mark.usefixtures("app")
def test_the_management_shape_corrects_the_clock_too(run: Run, sandbox: Sandbox) -> None:
    body = management_refusal(401, "invalid_client", EXPIRED).answer.body
    for answer in refusals(HOUR, body=body):
        sandbox.faults.add(Fault(TOKEN, answer))

    # The org's own clock is right, so the assertion of an hour ahead gets no token either.
    result = run(STEP_3, "-o", "token")

    assert len(sandbox.seen) == 2
    assert re.search("clock is 3[56][0-9]{2} s slow", result.stderr)
