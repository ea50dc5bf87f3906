"""`--explain`: every request and response in full, without secrets."""

import json
import re
import subprocess
import sys
from typing import Any
from urllib.parse import parse_qs

import pytest
from conftest import CREATE_APP, GET_TOKEN, ROOT, EnvFile, Run, clean_environment
from dpop_requests import TOKEN, bare_claims, claims_of
from faults import Action, Fault, Sandbox, huge, reset_before, status

from pkj.okta import explain
from pkj.okta.responses import Response

OPAQUE = "opaqueTOKEN0123456789abcdefSECRETtoken"


def blocks(stderr: str, mark: str) -> list[str]:
    """The requests (`>`) or responses (`<`), without the mark."""
    found = re.findall(rf"(?:^{mark}.*\n)+", stderr, re.MULTILINE)
    return [re.sub(rf"^{mark} ?", "", block, flags=re.MULTILINE) for block in found]


def claims_shown(block: str, name: str) -> Any:
    """The claims of a decoded JWT that follows its name."""
    lines = re.search(rf"^{name}[^\n]*:\n((?:  .*\n)+)", block, re.MULTILINE)
    assert lines, block
    header, claims, signature = re.split(r"^  \.\n", lines[1], flags=re.MULTILINE)
    assert (json.loads(header)["alg"][1:], signature) == ("S256", "  [signature]\n")
    return json.loads(claims)


@pytest.mark.usefixtures("bound")
def test_requests_are_shown_with_decoded_jwts(run: Run, sandbox: Sandbox, env: EnvFile) -> None:
    result = run(GET_TOKEN, "--check", "--explain")

    assert result.returncode == 0
    *token_requests, called = blocks(result.stderr, ">")
    *responses, shown = blocks(result.stderr, "<")
    token = sandbox.seen[-1].request.headers["authorization"].partition(" ")[2]
    assert "\nAuthorization: DPoP [secret]\n" in called
    assert '"login": "ada@pretend.example"' in shown
    assert [block.splitlines()[0] for block in responses] == ["400 Bad Request", "200 OK"]
    for block, seen in zip(token_requests, sandbox.seen[:-1], strict=True):
        form = parse_qs(seen.request.body.decode())
        assert block.startswith(f"POST {sandbox.url}/oauth2/v1/token\n")
        assert claims_shown(block, "DPoP") == claims_of(seen.request.headers["dpop"])
        (assertion,) = form.pop("client_assertion")
        assert claims_shown(block, "client_assertion") == bare_claims(assertion)
        assert assertion.rpartition(".")[2] not in result.stderr
        for name, (value,) in form.items():
            assert f"\n{name}: {value}\n" in block
    assert f"\nDPoP-Nonce: {sandbox.org.nonces[-1]}\n" in responses[0]
    assert '"access_token": "[secret]"' in responses[1]
    assert claims_shown(responses[1], "access_token") == bare_claims(token)
    for secret in (token.rpartition(".")[2], "eyJ", str(env["PRIVATE_KEY"]).splitlines()[1]):
        assert secret not in result.stderr


def test_changes_of_the_app_are_shown_as_json(
    env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    env_with_key.write(DPOP="true", ADMIN_ROLES="READ_ONLY_ADMIN")
    result = run(CREATE_APP, "--explain")

    assert result.returncode == 0
    assert len(blocks(result.stderr, "<")) == len(sandbox.seen)
    for block, seen in zip(blocks(result.stderr, ">"), sandbox.seen, strict=True):
        head, _, body = block.partition("\n\n")
        assert head.startswith(f"{seen.request.method} {sandbox.url}{seen.request.target}\n")
        public = seen.request.path.startswith("/.well-known/")
        assert ("\nAuthorization: SSWS [secret]" in head) is not public
        assert (json.loads(body) if body else None) == json.loads(seen.request.body or "null")
    assert sandbox.org.api_key not in result.stderr
    assert "X-Okta-Request-Id: " in result.stderr


@pytest.mark.parametrize(("options", "shown"), [((), 0), (("-v",), 0), (("--explain",), 2)])
@pytest.mark.usefixtures("app")
def test_each_attempt_is_shown_only_if_asked_for(
    run: Run, sandbox: Sandbox, options: tuple[str, ...], shown: int
) -> None:
    sandbox.faults.add(Fault(TOKEN, reset_before()))
    result = run(GET_TOKEN, *options)
    assert (result.returncode, len(sandbox.seen)) == (0, 2)
    assert len(blocks(result.stderr, ">")) == 2 * len(blocks(result.stderr, "<")) == shown


@pytest.mark.parametrize(
    ("action", "size"),
    [(huge(16 * 2**20), "16777216"), (status(200, [1] * 10**6), "[0-9]{7}")],
    ids=["text", "numbers"],
)
@pytest.mark.usefixtures("app")
def test_hostile_response_is_cut(run: Run, sandbox: Sandbox, action: Action, size: str) -> None:
    sandbox.faults.add(Fault(TOKEN, action))
    result = run(GET_TOKEN, "--explain")
    assert result.returncode == 4
    assert len(result.stderr) < 3 * explain.LONGEST
    assert re.search(rf"^< … \(cut here: {size} bytes in all\)$", result.stderr, re.MULTILINE)


def shown(body: object, *hide: str, **headers: str) -> str:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return explain.response(Response("trying", "", 200, headers, content, hide))


@pytest.mark.parametrize(
    ("body", "visible"),
    [
        ({"access_token": OPAQUE, "scope": f"{OPAQUE} x"}, '"scope": "[secret] x"'),
        ([{"refresh_token": OPAQUE, "client_secret": ""}], '"client_secret": ""'),
        ({"a": {"b": {"client_secret": OPAQUE}}}, '"client_secret": "[secret]"'),
        ({"keys": [{"kty": "RSA", "n": "public", "d": OPAQUE}]}, '"n": "public"'),
        ({"access_token": f"{OPAQUE}.MQ.MQ"}, '"access_token": "[secret]"'),
        ({"access_token": f"MQ.MQ.{OPAQUE}"}, '"access_token": "[secret]"'),
        ({"access_token": "\ud800" * 9, "a": ""}, '"access_token": "[secret]"'),
        (b"not JSON\n> GET \x1b[2J\r" + b"\xff", "< > GET \\x1b[2J\\r\ufffd"),
        ({"": {"": [{}, []]}, "\u202e": "\x00"}, '"\\u202e": "\\u0000"'),
    ],
)
def test_secrets_are_masked_and_control_characters_visible(body: object, visible: str) -> None:
    text = shown(body)
    assert visible in text
    assert OPAQUE not in text
    assert all(line.startswith("<") for line in text.split("\n"))
    if OPAQUE in str(body):
        assert text.count("[secret]") == str(body).count(OPAQUE)


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


def test_demo_shows_dpop_and_explains_every_request() -> None:
    command = [sys.executable, "-m", "pkj.sandbox", "demo", "--dpop", "--explain"]
    result = subprocess.run(
        command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=False
    )

    assert result.returncode == 0, result.stderr
    sent = " ".join(block.splitlines()[0] for block in blocks(result.stderr, ">"))
    for path in ("/clients", "/grants", "/roles", "/oauth2/v1/token"):
        assert path in sent
    assert "eyJ" not in result.stderr
    assert re.search(r"^/+ Access Token \(DPoP\):\n\n\S+\n", result.stdout, re.MULTILINE)
    called = r"^\$ python get_access_token.py -o header --for GET .*"
    lines = r"\nAuthorization: DPoP eyJ\S+…\nDPoP: eyJ\S+…\n\nGET \S+ with the token -> 200\n"
    assert re.search(called + lines, result.stdout, re.MULTILINE)
    assert "It works." in result.stdout
