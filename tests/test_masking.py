"""No secret is shown in any form, by any script, and no control characters."""

import gc
import json
import re
import select
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, quote, quote_plus, urlencode

import jwt
import pytest
from conftest import CREATE_APP, GENERATE_KEYS, GET_TOKEN, EnvFile, Run
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from faults import Action, Fault, Org, Sandbox, Turn, echo, patch, redirect, status
from hypothesis import given, settings
from hypothesis import strategies as st
from scene import Scene

from pkj import keys, masking
from pkj.okta.responses import Response as ClientResponse
from pkj.sandbox.exchange import Response, oauth_refusal
from pkj.sandbox.state import Client

PLAIN = "00abcDEF_ghi-jklMNOpqrstuvwxyz0123456789AB"
STRANGE = '00"quo\\ted/+=%&?~'
TOKEN = "POST /oauth2/v1/token"  # noqa: S105 - a path
PEM = {"pkcs8": PrivateFormat.PKCS8, "pkcs1": PrivateFormat.TraditionalOpenSSL}
FORMS: dict[str, Callable[[str], str]] = {
    "raw": str,
    "header": lambda secret: f"SSWS {secret}",
    "json": lambda secret: json.dumps({"sent": secret}),
    "path": quote,
    "percent-encoded": lambda secret: quote(secret, safe=""),
    "form-value": quote_plus,
    "in-full": lambda secret: "".join(c if c.isalnum() else f"%{ord(c):02x}" for c in secret),
    "form": lambda secret: urlencode({"key": secret}),
    "one-line": lambda secret: secret.replace("\n", "\\n"),
    "twice": lambda secret: f"{secret} and again {secret}",
    "cut": lambda secret: secret[:-100],
    "no-signature": lambda token: token.rpartition(".")[0],
}


@pytest.mark.parametrize(
    ("named", "kind", "form"),
    [
        *product([True], ["plain", "strange", "pkcs8"], list(FORMS)[:10]),
        *product([False], ["pkcs8", "pkcs1", "jwt"], ["raw", "header", "json", "one-line"]),
        *product([False], ["pkcs8", "pkcs1", "jwt"], ["twice", "cut"]),
        *product([False], ["jwt"], ["form", "no-signature"]),
    ],
)
def test_secret_is_masked_in_every_form(
    named: bool, kind: str, form: str, key: rsa.RSAPrivateKey
) -> None:
    if kind in PEM:
        secret = key.private_bytes(Encoding.PEM, PEM[kind], NoEncryption()).decode()
    else:
        signed = jwt.encode({"iss": "0oa1"}, key, "RS256", {"kid": "k"})
        secret = {"plain": PLAIN, "strange": STRANGE, "jwt": signed}[kind]

    shown = masking.masked(f"before {FORMS[form](secret)} after", [secret] if named else [])

    assert masking.MASK in shown
    assert shown.startswith("before ")
    assert shown.endswith(" after") or (kind in PEM and form == "cut")
    part = "[A-Za-z0-9]{3,}" if kind in ("plain", "strange") else "[A-Za-z0-9]{8,}"
    assert not [found for found in re.findall(part, secret) if found in shown]


PUBLIC_PEM = keys.public_pem(keys.modulus_of(rsa.generate_private_key(65537, 2048)))
HARMLESS = f"E0000011 Invalid token (eyJ) {PUBLIC_PEM}\n" + "{...}"
MODULUS = "6O0i_4eyJhbGciOiJSUzI1NiJ9-DSgmyfsf8dDGsslXZvtoguRPWVhweVUFGSOxf"


@pytest.mark.parametrize(
    ("text", "secrets", "shown"),
    [
        pytest.param(HARMLESS, [PLAIN, "", "  "], HARMLESS, id="no-secret"),
        pytest.param(MODULUS, [], MODULUS, id="modulus-that-looks-like-a-jwt"),
        pytest.param("a 00abc b", [" 00abc\n"], "a [secret] b", id="spaces-around"),
        pytest.param("00abcdef", ["00abc", "00abcdef"], "[secret]", id="within-another"),
        pytest.param("the \udcff-token", ["\udcff-token"], "the [secret]", id="not-utf-8"),
        pytest.param("00A 00aB", ["00ab"], "00A [secret]", id="four-characters-in-any-case"),
        pytest.param("00A", ["00a"], "00A", id="three-characters"),
        pytest.param("http://a:b@c.de/f", [], "http://[secret]@c.de/f", id="user-info"),
    ],
)
def test_text_is_masked(text: str, secrets: list[str], shown: str) -> None:
    assert masking.masked(text, secrets) == shown


def test_control_sequences_are_escaped() -> None:
    harmless = "plain, größer, 日本\nc:\\n\n"
    # Colours, control characters, right to left, colours in 8 bits, a surrogate, a tag.
    obeyed = "\x1b[31m\r\t\x00\x07\x7f\u202e\x9b\ud800\U000e0041"

    assert masking.visible(harmless) == harmless
    shown = r"\x1b[31m\r\t\x00\x07\x7f\u202e\x9b\ud800\U000e0041"
    assert masking.visible(harmless + obeyed) == harmless + shown


@settings(deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_only_line_ends_and_printable_text_are_shown(text: str) -> None:
    assert masking.visible(text).replace("\n", "").isprintable()


def test_long_text_is_cut_and_says_so() -> None:
    assert masking.shortened("  a\n b\t", 10) == "a b"
    assert masking.shortened("x" * 10, 10) == "x" * 10
    assert masking.shortened("x" * 11, 10) == f"{'x' * 10}… (11 characters)"
    assert masking.shown("x  " * 200, limit=300).endswith("… (600 characters)")
    masked = masking.shown(f"{PLAIN} " * 1000, [PLAIN], 10_000)
    assert set(masked.partition("…")[0].split()) == {masking.MASK}
    assert masked.endswith("… (43000 characters)")


@pytest.mark.parametrize("secret", [PLAIN, STRANGE, "eyJhbGciOiJSUzI1NiJ9.e30.c2lnbmVk"])
@pytest.mark.parametrize("limit", [300, 20_000])
def test_cut_within_a_secret_shows_nothing_of_it(secret: str, limit: int) -> None:
    for left in range(len(secret) + 1):
        text = f"{'x ' * limit}"[: limit - left] + f"{secret} and more" * 9
        for shown in (
            masking.masked(masking.shortened(text, limit), [secret]),
            masking.shown(text, [secret], limit),
        ):
            assert secret[:4] not in shown.rpartition("x ")[2]


BEGINNINGS = "eyJ|eyJaaaaa.|-----BEGIN |PRIVATE KEY|-|://a|://a@|… (1|00ab… (1 "


@pytest.mark.parametrize("piece", BEGINNINGS.split("|"))
def test_time_grows_in_proportion_to_the_text(piece: str) -> None:
    text = f"-----BEGIN eyJ://{piece * 400_000}"[:400_000]
    began = time.process_time()

    masking.masked(text, [PLAIN])

    assert time.process_time() - began < 2


def sent(sandbox: Sandbox) -> list[str]:
    """Every assertion, proof and token that was ever sent."""
    found = []
    for headers, body in [(seen.request.headers, seen.request.body) for seen in sandbox.seen]:
        found += parse_qs(body.decode("utf-8", "replace")).get("client_assertion", [])
        found += [headers.get("dpop", ""), headers.get("authorization", "").partition(" ")[2]]
    return found


def leaks(printed: str, sandbox: Sandbox, env: EnvFile, *more: str) -> list[str]:
    """The secrets of which `printed` shows the first or last 12 characters of a part."""
    lines = [line for line in (env["PRIVATE_KEY"] or "").splitlines() if "-----" not in line]
    secrets = [*lines, "".join(lines), sandbox.org.api_key, *sent(sandbox), *more]
    parts = [part for secret in secrets for part in secret.lower().split(".") if len(part) >= 12]
    searched = f"{printed}\n{''.join(printed.split())}".lower()
    found = [part for part in parts if part[:12] in searched or part[-12:] in searched]
    return found + re.findall(r"-----BEGIN [A-Z ]*PRIVATE KEY", printed)


def said(*results: subprocess.CompletedProcess[str]) -> str:
    text = "".join(result.stdout + result.stderr for result in results)
    assert "Traceback" not in text, text
    return text


@pytest.mark.parametrize("dpop", ["", "true"], ids=["bearer", "dpop"])
def test_only_the_token_is_shown(dpop: str, env: EnvFile, run: Run, sandbox: Sandbox) -> None:
    env.write(DPOP=dpop)

    results = [run(GENERATE_KEYS), run(CREATE_APP, "-v"), run(GET_TOKEN, "-v", "-o", "json")]
    results.append(run(GENERATE_KEYS, "--force"))

    assert [result.returncode for result in results] == [0] * 4
    (token,) = re.findall(r'"access_token": "([^"]+)"', results[2].stdout)
    printed = said(*results)
    assert leaks(printed.replace(token, ""), sandbox, env, token) == []
    assert leaks(printed, sandbox, env, token)  # the search finds what is shown
    assert len([part for part in sent(sandbox) if part.count(".") == 2]) == (4 if dpop else 1)


def echoed(_: str, code: int, dialect: Literal["management", "oauth"]) -> Action:
    return echo(code, dialect)


def quoted(_: str, first: int) -> Action:
    """A refusal that quotes the assertion, from its part `first` on."""

    def act(turn: Turn) -> None:
        form = parse_qs(turn.seen.request.body.decode())
        text = ".".join(form["client_assertion"][0].split(".")[first:])
        turn.send(oauth_refusal(400, "invalid_request", f"What is {text}?").response)

    return act


def escaped(token: str, before: str) -> Action:
    escapes = "".join(f"\\u{ord(char):04x}" for char in token)
    return status(400, f'{{"errorCode":"E1","errorSummary":"{before}{escapes}"}}'.encode())


def in_header(token: str, name: str, padding: int, form: Callable[[str], str]) -> Action:
    url = f"https://{'h' * padding}{form(token)}.example/"
    return status(302 if name == "location" else 400, None, {name: url})


CLIENTS, GRANTS, USERS = "GET /oauth2/v1/clients", "POST /api/v1/apps/", "GET /api/v1/users"
HEADERS = (("location", 90), ("content-type", 5), ("content-type", 52), ("x-okta-request-id", 90))
ECHOES = product((CLIENTS, GRANTS, TOKEN, USERS), (400, 500), ("management", "oauth"))
HOSTILE: list[tuple[Any, ...]] = [
    # the request, the exit code, the response; then what it is made of
    *((line, 4 if code == 500 else 3, echoed, code, dialect) for line, code, dialect in ECHOES),
    *((TOKEN, 3, quoted, first) for first in (0, 1)),
    *((CLIENTS, 3, escaped, before) for before in ("", "x" * 281)),
    *((CLIENTS, 4, in_header, *row, form) for row in HEADERS for form in (str, quote_plus)),
]


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_response_reveals_nothing(case: Any, app: Client, scene: Scene) -> None:
    line, code, response, *parts = case
    token = scene.sandbox.org.api_key
    scene.env.write(API_KEY=f"SSWS {token}", CLIENT_ID="" if line == CLIENTS else app.id)
    app.grants = {} if line == GRANTS else app.grants
    scene.sandbox.faults.add(Fault(line, response(token, *parts), times=None))

    script = CREATE_APP if line in (CLIENTS, GRANTS) else GET_TOKEN
    result = scene.run(script, "-v", *["--check"] * (line == USERS))

    assert result.returncode == code, result.stderr
    cut_off = response in (escaped, in_header) or (line, response) == (TOKEN, echoed)
    assert masking.MASK in result.stderr or cut_off
    assert leaks(said(result), scene.sandbox, scene.env) == []


@pytest.mark.usefixtures("app")
def test_netrc_replaces_no_header(run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login mallory password hunter2\n", encoding="utf-8")
    netrc.chmod(0o600)
    for where in ({"HOME": str(tmp_path)}, {"NETRC": str(netrc)}):
        results = [run(CREATE_APP, env=where), run(GET_TOKEN, "--check", env=where)]
        assert [result.returncode for result in results] == [0, 0], [r.stderr for r in results]
    schemes = {seen.request.headers.get("authorization", "").split(" ")[0] for seen in sandbox.seen}
    assert schemes == {"SSWS", "", "Bearer"}


WALTER = "http://walter:hunter2proxy"
NO_EXCEPTION = {"NO_PROXY": "", "no_proxy": ""}


class Proxy(socketserver.ThreadingTCPServer):
    """An HTTP proxy for CONNECT that remembers everything it carries."""

    daemon_threads = True
    heard = b""

    def finish_request(self, client: Any, _: object) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.recv(4096)
        self.heard += head
        port = int(head.split()[1].rpartition(b":")[2])
        with socket.create_connection(("127.0.0.1", port)) as org:
            client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            while ready := select.select([client, org], [], [], 30)[0]:
                octets = ready[0].recv(65536)
                if not octets:
                    return
                self.heard += octets
                (org if ready[0] is client else client).sendall(octets)


@pytest.mark.usefixtures("app")
def test_proxy_learns_nothing(env_with_key: EnvFile, run: Run, sandbox: Sandbox) -> None:
    with Proxy(("127.0.0.1", 0), socketserver.BaseRequestHandler) as proxy:
        threading.Thread(target=proxy.serve_forever, args=[0.05], daemon=True).start()
        via = {"HTTPS_PROXY": f"{WALTER}@127.0.0.1:{proxy.server_address[1]}", **NO_EXCEPTION}
        second, third = run(CREATE_APP, "-v", env=via), run(GET_TOKEN, "-v", "-o", "token", env=via)
        proxy.shutdown()

    assert (second.returncode, third.returncode) == (0, 0), second.stderr + third.stderr
    heard, token = proxy.heard.decode("latin-1"), third.stdout.strip()
    assert heard.startswith(f"CONNECT {sandbox.url.removeprefix('https://')} HTTP/1.")
    assert heard.count("CONNECT ") == sandbox.connections
    printed = said(second) + third.stderr
    assert leaks(heard + printed, sandbox, env_with_key, token) == []
    assert "hunter2proxy" not in printed


WRONG_PROXIES = [
    *(f"{WALTER}@127.0.0.1:1", f"{WALTER}@127.0.0.1:99999", f"{WALTER}@[::1", f"{WALTER}@:8080"),
    *(f"{WALTER}@bad host:1", f"{WALTER}?x@127.0.0.1:1", f"{WALTER}\\x@127.0.0.1:1"),
    *(f"{WALTER}/x@127.0.0.1:1", f"{WALTER}[@127.0.0.1:1", "walter:hunter2proxy", "http://"),
    "http://walter:1234#hunter2proxy@127.0.0.1:1",
    "http://walter:x@hunter2proxy@127.0.0.1:99999",
    "http://walter:x hunter2proxy@127.0.0.1:99999",
    "socks5://walter:hunter2proxy@127.0.0.1:1",
]


@pytest.mark.parametrize("url", WRONG_PROXIES)
@pytest.mark.usefixtures("app")
def test_wrong_proxy_is_named_without_its_password(url: str, run: Run, sandbox: Sandbox) -> None:
    result = run(GET_TOKEN, "-v", env={"HTTPS_PROXY": url, **NO_EXCEPTION})

    code = 4 if url == f"{WALTER}@127.0.0.1:1" else 1  # nothing listens there
    assert (result.returncode, result.stdout) == (code, "")
    assert "PROXY" in said(result)
    assert "hunter2proxy" not in result.stderr
    assert "'walter'" not in result.stderr
    assert sandbox.seen == []


LINKS = ("@{host}/x", "https://{host}/x", "//{host}/x", "https://[", "x")


@pytest.mark.parametrize(
    ("script", "link"), [(CREATE_APP, ""), (GET_TOKEN, ""), *((CREATE_APP, link) for link in LINKS)]
)
def test_no_redirect_or_link_is_followed(script: str, link: str, app: Client, scene: Scene) -> None:
    scene.env.write(CLIENT_ID="" if link else app.id)
    with Sandbox(Org("https://127.0.0.1"), certificate=scene.sandbox._certificate) as other:
        host = other.url.removeprefix("https://")
        headers = {"link": f'<{link.format(host=host)}>; rel="next"'}
        linked = patch(lambda response: Response(response.status, response.body, headers))
        sent_away = redirect(f"{other.url}/oauth2/v1/token", 307)
        scene.sandbox.faults.add(Fault("GET", linked) if link else Fault("", sent_away, times=None))

        result = scene.run(script, "-v")

        assert (other.connections, other.seen) == (0, [])
    assert result.returncode in ((0, 3, 4) if link else (4,))
    assert link or (host in result.stderr and not result.stdout)
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("script", [CREATE_APP, GET_TOKEN])
@pytest.mark.usefixtures("app")
def test_no_object_shows_a_secret(script: str, scene: Scene) -> None:
    shown = {}

    def look(response: Response) -> Response:
        for thing in gc.get_objects():
            if re.match(r"pkj\.(?!sandbox)", str(type(thing).__module__)):
                shown[f"{thing!r} {thing}"] = type(thing).__name__
        return response

    scene.sandbox.faults.add(Fault("", patch(look), times=None))

    result = scene.run(script, *["--check"] * (script == GET_TOKEN))

    assert result.returncode == 0, result.stderr
    seen = {"Console", "Env", "Org", "PublicKey" if script == CREATE_APP else "Token"}
    assert seen <= {*shown.values()}
    response = ClientResponse("trying", "https://a", 200, {}, b'{"access_token":"secretsecret"}')
    assert leaks(f"{shown}{response!r}", scene.sandbox, scene.env, "secretsecret") == []
