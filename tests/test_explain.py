"""`--explain`: every request and response in full, and no secret."""

import json
import re
import subprocess
import sys
from typing import Any
from urllib.parse import parse_qs

import pytest
from conftest import ROOT, STEP_2, STEP_3, EnvFile, Run, clean_environment
from dpop_requests import TOKEN, bare_claims, claims_of
from faults import Fault, Sandbox, huge, reset_before, status

from pkj.okta import explain
from pkj.okta.responses import Response
from pkj.sandbox.state import Client

OPAQUE = "opaqueTOKEN0123456789abcdefSECRETtoken"


def blocks(stderr: str, mark: str) -> list[str]:
    """The requests (`>`) or responses (`<`), without the mark."""
    found = re.findall(rf"(?:^{mark}.*\n)+", stderr, re.MULTILINE)
    return [re.sub(rf"^{mark} ?", "", block, flags=re.MULTILINE) for block in found]


def jwt_in(block: str, name: str) -> tuple[Any, Any]:
    """Header and claims of a JWT that is shown under its name, or that `is a JWT`."""
    lines = re.search(rf"^{name}[^\n]*:\n((?:  .*\n)+)", block, re.MULTILINE)
    assert lines, block
    header, claims, signature = re.split(r"^  \.\n", lines[1], flags=re.MULTILINE)
    assert signature == "  [signature]\n"
    return json.loads(header), json.loads(claims)


@pytest.mark.usefixtures("bound")
def test_token_request_is_shown_with_its_jwts_decoded(
    run: Run, sandbox: Sandbox, env: EnvFile
) -> None:
    result = run(STEP_3, "-o", "json", "--explain")

    assert result.returncode == 0
    token = json.loads(result.stdout)["access_token"]
    requests, responses = blocks(result.stderr, ">"), blocks(result.stderr, "<")
    assert [block.splitlines()[0] for block in responses] == ["400 Bad Request", "200 OK"]
    assert len(requests) == len(sandbox.seen)
    for block, seen in zip(requests, sandbox.seen, strict=True):
        form = parse_qs(seen.request.body.decode())
        assert block.startswith(f"POST {sandbox.url}/oauth2/v1/token\n")
        assert jwt_in(block, "DPoP")[1] == claims_of(seen.request.headers["dpop"])
        (assertion,) = form.pop("client_assertion")
        assert jwt_in(block, "client_assertion")[1] == bare_claims(assertion)
        assert assertion.rpartition(".")[2] not in result.stderr
        for name, (value,) in form.items():
            assert f"\n{name}: {value}\n" in block
    assert f"\nDPoP-Nonce: {sandbox.org.nonces[-1]}\n" in responses[0]
    assert '"access_token": "[secret]"' in responses[1]
    assert jwt_in(responses[1], "access_token")[1] == bare_claims(token)
    assert token.rpartition(".")[2] not in result.stderr
    assert "eyJ" not in result.stderr
    assert str(env["PRIVATE_KEY"]).splitlines()[1] not in result.stderr


@pytest.mark.usefixtures("app")
def test_call_of_the_api_is_shown_without_its_token(run: Run) -> None:
    result = run(STEP_3, "--check", "--explain")
    assert "\nAuthorization: Bearer [secret]\n" in blocks(result.stderr, ">")[-1]
    assert '"login": "ada@pretend.example"' in blocks(result.stderr, "<")[-1]
    assert "eyJ" not in result.stderr


def test_changes_of_the_app_are_shown_as_json(
    env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    env_with_key.write(DPOP="true", ADMIN_ROLES="READ_ONLY_ADMIN")
    result = run(STEP_2, "--explain")

    assert result.returncode == 0
    shown = blocks(result.stderr, ">")
    assert len(shown) == len(sandbox.seen) == len(blocks(result.stderr, "<"))
    for block, seen in zip(shown, sandbox.seen, strict=True):
        head, _, body = block.partition("\n\n")
        assert head.startswith(f"{seen.request.method} {sandbox.url}{seen.request.target}\n")
        open_to_all = seen.request.path.startswith("/.well-known/")
        assert ("\nAuthorization: SSWS [secret]" in head) is not open_to_all
        assert (json.loads(body) if body else None) == json.loads(seen.request.body or "null")
    assert sandbox.org.api_key not in result.stderr
    assert "X-Okta-Request-Id: " in result.stderr


@pytest.mark.parametrize(("options", "shown"), [((), 0), (("-v",), 0), (("--explain",), 2)])
@pytest.mark.usefixtures("app")
def test_each_attempt_is_shown_only_if_asked_for(
    run: Run, sandbox: Sandbox, options: tuple[str, ...], shown: int
) -> None:
    sandbox.faults.add(Fault(TOKEN, reset_before()))
    result = run(STEP_3, *options)
    assert result.returncode == 0
    assert (len(sandbox.seen), len(blocks(result.stderr, ">"))) == (2, shown)
    assert len(blocks(result.stderr, "<")) == shown / 2


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (huge(16 * 2**20), 4),
        (status(200, [1] * 10**6), 4),
        (status(200, {"token_type": "Bearer", "access_token": "\ud800" * 9}), 4),
    ],
    ids=["one_text", "many_numbers", "no_token"],
)
def test_hostile_response_is_cut(
    app: Client, run: Run, sandbox: Sandbox, body: Any, code: int
) -> None:
    del app
    sandbox.faults.add(Fault(TOKEN, body))
    result = run(STEP_3, "--explain")
    assert result.returncode == code
    assert "Traceback" not in result.stderr
    assert len(result.stderr) < 3 * explain.LONGEST
    cut = re.search(r"^< … \(cut here: ([0-9]+) bytes in all\)$", result.stderr, re.MULTILINE)
    assert int(cut[1]) > 10**6 if cut else "[secret]" in result.stderr


# What is shown of a response, without processes


def shown(body: object, *hide: str, **headers: str) -> str:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return explain.response(Response("", 200, headers, content, hide))


@pytest.mark.parametrize(
    ("body", "visible"),
    [
        ({"access_token": OPAQUE, "scope": f"{OPAQUE} x"}, '"scope": "[secret] x"'),
        ([{"refresh_token": OPAQUE, "client_secret": ""}], '"client_secret": ""'),
        (
            {"credentials": {"oauthClient": {"client_secret": OPAQUE}}},
            '"client_secret": "[secret]"',
        ),
        ({"keys": [{"kty": "RSA", "n": "public", "d": OPAQUE}]}, '"n": "public"'),
        ({"access_token": f"{OPAQUE}.MQ.MQ"}, '"access_token": "[secret]"'),
        ({"access_token": f"MQ.MQ.{OPAQUE}"}, '"access_token": "[secret]"'),
        (b"not JSON\n> GET \x1b[2J\r" + b"\xff", "< > GET \\x1b[2J\\r\ufffd"),
        ({"": {"": [{}, []]}, "\u202e": "\x00"}, '"\\u202e": "\\u0000"'),
    ],
)
def test_secrets_are_masked_and_control_characters_visible(body: object, visible: str) -> None:
    text = shown(body)
    assert visible in text
    assert OPAQUE not in text
    assert all(line.startswith("<") for line in text.split("\n"))
    if not isinstance(body, bytes):
        assert text.replace("[secret]", OPAQUE).count(OPAQUE) == json.dumps(body).count(OPAQUE)


@pytest.mark.parametrize("kind", ["text", "json"])
def test_secret_at_the_cut_is_not_shown_in_part(kind: str) -> None:
    def around(where: int, *hide: str) -> str:
        text = "x" * (explain.LONGEST + where) + OPAQUE + "x" * explain.LONGEST
        return shown(text.encode() if kind == "text" else {"a": text}, *hide)

    assert OPAQUE[:5] in around(-30)
    assert not any(OPAQUE[:5] in around(where, OPAQUE) for where in range(-60, 160, 5))


def test_headers_are_masked_too() -> None:
    text = shown({}, OPAQUE, Link=f"<{OPAQUE}>", **{"Set-Cookie": "a=b", "DPoP-Nonce": "n"})
    assert text == "< 200 OK\n< Link: <[secret]>\n< DPoP-Nonce: n\n<\n< {}"


@pytest.mark.slow
def test_demo_explains_the_whole_flow() -> None:
    command = [sys.executable, "-m", "pkj.sandbox", "demo", "--dpop", "--explain"]
    result = subprocess.run(
        command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert result.returncode == 0
    sent = [block.splitlines()[0].partition("127.0.0.1")[2] for block in blocks(result.stderr, ">")]
    paths = " ".join(sent)
    assert all(part in paths for part in ("/clients", "/grants", "/roles", "/oauth2/v1/token"))
    assert "eyJ" not in result.stderr
