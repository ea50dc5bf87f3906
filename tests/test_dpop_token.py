"""Step 3 with DPoP: what DPOP says, what goes over the wire, nonces, and wrong clocks."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from email.utils import formatdate

import pytest
from conftest import ROOT, STEP_3, EnvFile, Run, clean_environment
from dpop_requests import (
    BARE,
    FUTURE,
    NEEDS_NONCE,
    NONCE,
    PROOF,
    TOKEN,
    TOO_OLD,
    bare_claims,
    call,
    check_token_requests,
    claims_of,
    headers_in,
    kinds_in,
    proofs_in,
    told_by,
)
from faults import Action, Fault, Sandbox, Turn, patch, patched_date, reset_after, status

from pkj.sandbox.exchange import Response
from pkj.sandbox.state import Client, OrgState

CURE = "create_okta_service_app.py"
DONE = "expires in 3600 seconds"
FIRST_TRY = "DPOP=true skips the failed first request"


# What DPOP says


@pytest.mark.parametrize(
    ("word", "who_requires", "code", "kinds", "said"),
    [
        pytest.param("", "nobody", 0, [BARE], DONE, id="absent_and_not_required"),
        pytest.param("", "app", 0, [BARE, PROOF, NONCE], FIRST_TRY, id="absent_app_requires"),
        pytest.param("", "org", 0, [BARE, PROOF, NONCE], FIRST_TRY, id="absent_org_requires"),
        pytest.param("true", "nobody", 3, [PROOF], CURE, id="true_and_not_required"),
        pytest.param("true", "app", 0, [PROOF, NONCE], DONE, id="true_app_requires"),
        pytest.param("true", "org", 0, [PROOF, NONCE], DONE, id="true_org_requires"),
        pytest.param("false", "nobody", 0, [BARE], DONE, id="false_and_not_required"),
        pytest.param("false", "app", 3, [BARE], "invalid_dpop_proof", id="false_app_requires"),
        pytest.param("false", "org", 3, [BARE], "invalid_dpop_proof", id="false_org_requires"),
    ],
)
def test_dpop_decides_which_requests_carry_a_proof(
    app: Client,
    env_with_key: EnvFile,
    run: Run,
    sandbox: Sandbox,
    word: str,
    who_requires: str,
    code: int,
    kinds: list[str],
    said: str,
) -> None:
    app.dpop_bound, sandbox.org.require_dpop = who_requires == "app", who_requires == "org"
    env_with_key.write(**({"DPOP": word} if word else {}))

    result = run(STEP_3)

    assert result.returncode == code, result.stderr
    assert kinds_in(sandbox) == kinds
    check_token_requests(sandbox)
    assert said in result.stderr
    assert (FIRST_TRY in result.stderr) is (len(kinds) == 3)
    assert "eyJ" not in result.stderr
    if code:
        assert result.stdout == ""
        return
    is_bound = kinds[-1] == NONCE
    heading, blank, token, end = result.stdout.split("\n")
    assert heading == f"///////////////// Access Token{' (DPoP)' * is_bound}:"
    assert (blank, end, token.count(".")) == ("", "", 2)
    assert ("-o header --for METHOD URL" in result.stderr) is is_bound
    assert ("cnf" in bare_claims(token)) is is_bound


@pytest.mark.parametrize("word", ["", "true"], ids=["absent", "true"])
def test_step_3_never_writes_to_the_env_file_nor_beside_it(
    bound: Client, env_with_key: EnvFile, run: Run, word: str
) -> None:
    env_with_key.write(DPOP=word)
    path = env_with_key.path
    os.utime(path, ns=(1_000_000_000, 1_000_000_000))
    before = path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino, path.stat().st_mode
    folder = set(path.parent.iterdir())

    result = run(STEP_3)

    assert (result.returncode, bound.dpop_bound) == (0, True), result.stderr
    now = path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino, path.stat().st_mode
    assert now == before
    assert set(path.parent.iterdir()) == folder


@pytest.mark.parametrize(
    "word",
    ["yes", "1", "truefalse", "true false", "'"],
    ids=["yes", "a_number", "run_together", "both", "a_quote"],
)
@pytest.mark.usefixtures("bound")
def test_any_other_word_in_dpop_is_an_error_before_anything_is_sent(
    run: Run, sandbox: Sandbox, word: str
) -> None:
    result = run(STEP_3, env={"DPOP": word})

    assert (result.returncode, result.stdout, sandbox.seen) == (1, "", [])
    assert re.search(r"^error: DPOP .*environment", result.stderr, re.MULTILINE)
    assert "DPOP=true or DPOP=false" in result.stderr


@pytest.mark.usefixtures("bound")
def test_the_environment_wins_over_the_file_for_dpop_as_for_the_rest(
    run: Run, sandbox: Sandbox
) -> None:
    result = run(STEP_3, env={"DPOP": "false"})

    assert (result.returncode, result.stdout, kinds_in(sandbox)) == (3, "", [BARE])


def test_with_dpop_false_the_way_out_is_to_let_dpop_be(
    bound: Client, env_with_key: EnvFile, run: Run
) -> None:
    env_with_key.write(DPOP="false")

    refused = run(STEP_3)
    env_with_key.write(DPOP="true")
    done = run(STEP_3)

    assert (refused.returncode, done.returncode, bound.dpop_bound) == (3, 0, True)
    assert "DPOP" in refused.stderr.partition("what to do: ")[2]


@pytest.mark.parametrize("arguments", [(), ("--check",)], ids=["text", "check"])
def test_a_token_bound_to_a_key_that_nobody_proved_is_not_accepted(
    app: Client, run: Run, sandbox: Sandbox, arguments: tuple[str, ...]
) -> None:
    def called_bound(answer: Response) -> Response:
        assert isinstance(answer.body, dict)
        return Response(answer.status, answer.body | {"token_type": "DPoP"}, answer.headers)

    sandbox.faults.add(Fault(TOKEN, patch(called_bound)))

    result = run(STEP_3, *arguments)

    assert (result.returncode in (3, 4), result.stdout) == (True, "")
    assert (app.dpop_bound, kinds_in(sandbox)) == (False, [BARE])


# Nonces


def between(change: Callable[[OrgState], object]) -> Action:
    """The org's answer is made, then the change, then the answer is sent."""

    def act(turn: Turn) -> None:
        answer = turn.work()
        change(turn.org)
        turn.send(answer)

    return act


@pytest.mark.usefixtures("bound")
def test_the_nonce_of_the_challenge_is_good_while_okta_begins_another(
    run: Run, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault(TOKEN, between(OrgState.new_nonce)))

    result = run(STEP_3)

    assert result.returncode == 0, result.stderr
    old, new = sandbox.org.nonces
    assert claims_of(proofs_in(sandbox)[1])["nonce"] == old != new


@pytest.mark.usefixtures("bound")
def test_a_nonce_that_is_worthless_each_time_is_not_asked_for_for_ever(
    run: Run, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault(TOKEN, between(OrgState.forget_nonces), times=None))

    result = run(STEP_3)

    assert (result.returncode, result.stdout) == (3, "")
    assert 2 <= len(sandbox.seen) <= 3
    assert "use_dpop_nonce" in result.stderr


@pytest.mark.parametrize(
    ("code", "headers", "word", "requests_seen"),
    [
        pytest.param(400, {}, "true", 1, id="names_none"),
        pytest.param(400, {"DPoP-Nonce": ""}, "true", 1, id="names_an_empty_one"),
        pytest.param(400, {"DPoP-Nonce": "x"}, "false", 1, id="although_no_proof_was_sent"),
        pytest.param(401, {"dpop-nonce": "x"}, "true", 2, id="goes_on_for_ever"),
    ],
)
@pytest.mark.usefixtures("bound")
def test_a_challenge_that_leads_nowhere_ends_with_3(
    run: Run, sandbox: Sandbox, code: int, headers: dict[str, str], word: str, requests_seen: int
) -> None:
    body = {"error": "use_dpop_nonce", "error_description": NEEDS_NONCE}
    sandbox.faults.add(Fault(TOKEN, status(code, body, headers), times=None))

    result = run(STEP_3, env={"DPOP": word})

    assert (result.returncode, result.stdout) == (3, "")
    assert len(sandbox.seen) == requests_seen
    assert NEEDS_NONCE in result.stderr


@pytest.mark.usefixtures("bound")
def test_a_request_whose_answer_was_lost_goes_again_with_new_ids(
    run: Run, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault(TOKEN, reset_after(), skip=1))

    result = run(STEP_3)

    assert result.returncode == 0, result.stderr
    assert kinds_in(sandbox) == [PROOF, NONCE, NONCE]
    check_token_requests(sandbox)


# Clocks


@pytest.mark.parametrize(
    ("ahead", "word", "first", "described"),
    [
        pytest.param(3600, "true", "is expired", r"(3600|3599) s slow", id="an_hour_slow"),
        pytest.param(-3600, "true", "too far into", r"360[01] s fast", id="an_hour_fast"),
        pytest.param(-10, "true", FUTURE, r"1[01] s fast", id="proof_from_the_future"),
        pytest.param(-10, "", FUTURE, r"1[01] s fast", id="from_the_future_on_the_second_try"),
        pytest.param(296, "true", TOO_OLD, r"29[56] s slow", id="proof_too_old"),
        pytest.param(30, "true", NEEDS_NONCE, r"(30|29) s slow", id="told_by_the_nonce_challenge"),
    ],
)
@pytest.mark.usefixtures("bound")
def test_a_wrong_local_clock_is_corrected_for_the_token_and_for_the_request_with_it(
    env_with_key: EnvFile,
    run: Run,
    sandbox: Sandbox,
    ahead: int,
    word: str,
    first: str,
    described: str,
) -> None:
    sandbox.org.clock = lambda: time.time() + ahead
    env_with_key.write(DPOP=word)
    told = told_by(sandbox)

    result = run(STEP_3, "-o", "header", "--for", "GET", f"{sandbox.url}/api/v1/users")

    assert result.returncode == 0, result.stderr
    assert first in told[not word]
    assert len(told) <= 3
    assert re.search(rf"clock is {described}", result.stderr)
    headers = headers_in(result.stdout)
    assert abs(claims_of(headers["DPoP"])["iat"] + 5 - (time.time() + ahead)) < 30
    assert call(sandbox, headers).status_code == 200
    assert call(sandbox, headers).status_code == 400


@pytest.mark.usefixtures("bound")
def test_the_date_of_the_token_itself_corrects_the_proof_of_the_request_with_it(
    run: Run, sandbox: Sandbox
) -> None:
    sandbox.org.clock = lambda: time.time() + 100
    sandbox.faults.add(Fault(TOKEN, patched_date(-100)))  # the challenge tells nothing

    result = run(STEP_3, "-o", "header", "--for", "GET", f"{sandbox.url}/api/v1/users")

    asked, used = claims_of(proofs_in(sandbox)[-1]), claims_of(headers_in(result.stdout)["DPoP"])
    assert 90 < used["iat"] - asked["iat"] < 110


@pytest.mark.parametrize(
    ("text", "date_off", "requests_seen"),
    [
        pytest.param(FUTURE, -60, 2, id="future_and_a_wrong_clock"),
        pytest.param(TOO_OLD, 60, 2, id="too_old_and_a_wrong_clock"),
        pytest.param(FUTURE, 0, 1, id="future_with_a_right_clock"),
        pytest.param(TOO_OLD, 90000, 1, id="too_old_and_over_a_day_off"),
    ],
)
@pytest.mark.usefixtures("bound")
def test_a_proof_refused_for_its_time_is_tried_once_more_at_most(
    run: Run, sandbox: Sandbox, text: str, date_off: int, requests_seen: int
) -> None:
    body = {"error": "invalid_dpop_proof", "error_description": text}
    headers = {"date": formatdate(time.time() + date_off, usegmt=True)}
    sandbox.faults.add(Fault(TOKEN, status(400, body, headers), times=None))

    result = run(STEP_3)

    assert (result.returncode, result.stdout, len(sandbox.seen)) == (3, "", requests_seen)
    assert text in result.stderr


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        pytest.param(FUTURE, "clock", id="future"),
        pytest.param(TOO_OLD, "clock", id="too_old"),
        pytest.param("The DPoP proof JWT signature is invalid.", "", id="another"),
    ],
)
@pytest.mark.usefixtures("bound")
def test_who_says_dpop_true_is_not_told_to_switch_it_off(
    run: Run, sandbox: Sandbox, text: str, cure: str
) -> None:
    body = {"error": "invalid_dpop_proof", "error_description": text}
    sandbox.faults.add(Fault(TOKEN, status(400, body), times=None))

    result = run(STEP_3)

    assert (result.returncode, result.stdout) == (3, "")
    hint = result.stderr.partition("what to do: ")[2]
    assert cure in hint
    assert "untick" not in hint


# The demo


def test_the_demo_shows_dpop_with_the_two_header_lines_of_one_request() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "pkj.sandbox", "demo", "--dpop"],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    out = ended.stdout
    assert re.search(r"^///////////////// Access Token \(DPoP\):\n\n\S+\n", out, re.MULTILINE)
    lines = r"\nAuthorization: DPoP eyJ\S+…\nDPoP: eyJ\S+…\n\nGET \S+ with the token -> 200\n"
    assert re.search(r"^\$ python get_access_token.py -o header --for GET .*" + lines, out, re.M)
    assert "It works." in out
