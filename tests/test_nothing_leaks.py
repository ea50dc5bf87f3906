"""Everything that any step ever printed, searched for every secret there is."""

import re
import select
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, quote_plus

import pytest
from conftest import STEP_1, STEP_2, STEP_3, EnvFile, Run, clean_environment, command
from cryptography.hazmat.primitives.asymmetric import rsa
from faults import Fault, Sandbox, Turn, echo, hang, patch, redirect, status

from pkj import keys
from pkj.env import Env
from pkj.okta import org as okta
from pkj.okta.responses import Response as ClientAnswer
from pkj.sandbox.exchange import Response, oauth_refusal
from pkj.sandbox.org import Org
from pkj.sandbox.state import Client
from pkj.token.request import Client as TokenClient
from pkj.token.request import Token

TOKEN = "POST /oauth2/v1/token"  # noqa: S105 - a path
SHORTEST = 12
"""Characters of a secret that are one too many."""


def signed(sandbox: Sandbox) -> list[str]:
    """Every assertion and every proof that was ever sent."""
    found = []
    for seen in sandbox.seen:
        form = parse_qs(seen.request.body.decode("utf-8", "replace"))
        found += form.get("client_assertion", [])
        found += [seen.request.headers["dpop"]] if "dpop" in seen.request.headers else []
    return found


def leaks(printed: str, sandbox: Sandbox, env: EnvFile, *more: str) -> list[str]:
    """The secrets of which `printed` holds a piece of SHORTEST characters or more."""
    pem = (env["PRIVATE_KEY"] or "").replace("\\n", "\n")
    lines = [line for line in pem.splitlines() if "-----" not in line]
    secrets = [*lines, "".join(lines), sandbox.org.api_key, *signed(sandbox), *more]
    flat = "".join(printed.split())
    found = []
    for secret in filter(None, secrets):
        pieces = [part for part in secret.split(".") if len(part) >= SHORTEST]
        starts = {piece[:SHORTEST] for piece in pieces} | {piece[-SHORTEST:] for piece in pieces}
        # A header of an assertion is the same in all of them, and no secret: but not shown.
        found += [secret for start in starts if start in printed or start in flat]
    return found + re.findall(r"-----BEGIN [A-Z ]*PRIVATE KEY", printed)


def said(result: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in result.stderr, result.stderr
    return result.stdout + result.stderr


@pytest.mark.parametrize("dpop", ["", "true"], ids=["bearer", "dpop"])
def test_three_steps_show_no_secret_but_the_token_of_step_3(
    dpop: str, env: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    env.write(DPOP=dpop)
    form = ["-o", "json"]
    first, second = run(STEP_1), run(STEP_2, "-v")
    third, again = run(STEP_3, "-v", *form), run(STEP_1, "--force")

    for result in (first, second, third, again):
        assert result.returncode == 0, result.stderr
    token = re.findall(r'"access_token": "([^"]+)"', third.stdout)[0]
    rest = third.stdout.replace(token, "") + third.stderr
    assert leaks(said(first) + said(second) + rest + said(again), sandbox, env, token) == []
    assert signed(sandbox)
    assert token in leaks(third.stdout, sandbox, env, token)  # the search finds what is there


ECHOES = pytest.mark.parametrize("dialect", ["management", "oauth"])


@ECHOES
@pytest.mark.parametrize("code", [400, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("script", "line"),
    [
        pytest.param(STEP_2, "GET /oauth2/v1/clients", id="searching"),
        pytest.param(STEP_2, "POST /api/v1/apps/", id="granting"),
        pytest.param(STEP_3, TOKEN, id="asking-for-a-token"),
        pytest.param(STEP_3, "GET /api/v1/users", id="checking"),
    ],
)
def test_an_org_that_echoes_the_request_makes_nothing_known(
    script: str,
    line: str,
    code: int,
    dialect: str,
    env_with_key: EnvFile,
    app: Client,
    run: Run,
    sandbox: Sandbox,
) -> None:
    if script == STEP_2:
        env_with_key.write(CLIENT_ID="" if "clients" in line else app.id)
        app.grants.clear()
    sandbox.faults.add(Fault(line, echo(code, dialect), times=None))  # type: ignore[arg-type]  # a Literal
    bearer = []

    def note(answer: Response) -> Response:
        bearer.append(str(answer.body["access_token"]))  # type: ignore[index]  # what the org says
        return answer

    sandbox.faults.add(Fault(TOKEN, patch(note), times=None))
    options = ["--check"] if "users" in line else []

    result = run(script, "-v", *options)

    assert result.returncode == (4 if code >= 500 else 3), result.stderr
    assert "[secret]" in result.stderr or line == TOKEN  # there it stands behind the cut
    assert leaks(said(result), sandbox, env_with_key, *bearer) == []


@pytest.mark.parametrize("first", [0, 1], ids=["whole", "without-its-header"])
@pytest.mark.usefixtures("app")
def test_an_assertion_that_a_refusal_quotes_is_replaced(
    first: int, env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    def quote(turn: Turn) -> None:
        quoted = ".".join(signed(sandbox)[-1].split(".")[first:])
        turn.send(oauth_refusal(400, "invalid_request", f"What is {quoted}?").answer)

    sandbox.faults.add(Fault(TOKEN, quote, times=None))

    result = run(STEP_3, "-v")

    assert result.returncode == 3
    assert "What is [secret]?" in result.stderr
    assert leaks(said(result), sandbox, env_with_key) == []


def escaped(text: str) -> str:
    r"""As JSON may write any text: `\u0041` for A."""
    return "".join(f"\\u{ord(char):04x}" for char in text)


@pytest.mark.parametrize("before", [0, 285], ids=["whole", "at-the-cut"])
def test_a_key_that_json_escapes_character_by_character_is_found(
    before: int, env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    text = escaped(sandbox.org.api_key)
    summary = "x" * (before - len("E1: ")) if before else ""
    body = f'{{"errorCode":"E1","errorSummary":"{summary}{text}"}}'.encode()
    sandbox.faults.add(Fault("GET /oauth2/v1/clients", status(400, body), times=None))

    result = run(STEP_2, "-v")

    assert result.returncode == 3
    assert leaks(said(result), sandbox, env_with_key) == []


@pytest.mark.parametrize("name", ["location", "content-type", "x-okta-request-id"])
@pytest.mark.parametrize("form", [str, quote_plus, str.lower], ids=["plain", "quoted", "lower"])
def test_a_secret_in_a_header_of_the_answer_is_not_shown(
    name: str, form: type[str], env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    if form is str.lower:
        sandbox.org.api_keys["00lower" + "case" * 6] = "SUPER_ADMIN"
        sandbox.org.api_key = "00lower" + "case" * 6
        env_with_key.write(API_KEY=sandbox.org.api_key)
    for padding in (5, 52) if name == "content-type" else (90,):
        value = "https://" + "h" * padding + form(sandbox.org.api_key) + ".example/"
        sandbox.faults.clear()
        sandbox.faults.add(
            Fault("GET /oauth2", status(302 if name == "location" else 400, None, {name: value}))
        )
        result = run(STEP_2, "-v")
        assert result.returncode == 4
        assert leaks(said(result), sandbox, env_with_key) == []


@pytest.mark.parametrize(
    "change",
    [
        {"PRIVATE_KEY": "{pem_cut}"},
        {"PRIVATE_KEY": "{body}"},
        {"API_KEY": "00secretsecret secretsecret"},
        {"API_KEY": "00secretsecretsecret\u00e9"},
        {"MODULUS": "{pem}"},
        {"CLIENT_ID": "{pem}"},
        {"KEY_ID": "{body}"},
        {"OKTA_URL": "https://{{o}}:00secretsecretsecret@acme.example"},
    ],
    ids=lambda change: "-".join(change).lower(),
)
def test_what_is_wrong_here_is_not_quoted_when_it_is_secret(
    change: dict[str, str], env_with_key: EnvFile, app: Client, run: Run, sandbox: Sandbox
) -> None:
    del app
    pem = env_with_key["PRIVATE_KEY"] or ""
    body = "".join(line for line in pem.splitlines() if "-----" not in line)
    forms = {"pem": pem, "pem_cut": pem[:-200], "body": body}
    changed = {name: text.format(**forms) for name, text in change.items()}
    kept = EnvFile(env_with_key.path.with_name("kept.env"))
    kept.write(PRIVATE_KEY=pem)
    env_with_key.write(**changed)

    printed = said(run(STEP_2, "-v")) + said(run(STEP_3, "-v", "-o", "token")).partition("ey")[0]

    assert leaks(printed, sandbox, kept) == []
    assert "secretsecret" not in printed


@pytest.mark.usefixtures("app")
def test_netrc_replaces_no_header(run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    netrc = home / ".netrc"
    netrc.write_text("machine 127.0.0.1 login mallory password hunter2\n", encoding="utf-8")
    netrc.chmod(0o600)
    for where in ({"HOME": str(home)}, {"NETRC": str(netrc)}):
        results = [run(STEP_2, env=where), run(STEP_3, "--check", env=where)]
        assert [result.returncode for result in results] == [0, 0], [r.stderr for r in results]
    sent = {seen.request.headers.get("authorization", "").split(" ")[0] for seen in sandbox.seen}
    assert sent == {"SSWS", "", "Bearer"}


class Proxy:
    """An HTTP proxy that knows CONNECT, and remembers all that is said to it."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self._socket = socket.create_server(("127.0.0.1", 0))
        port = self._socket.getsockname()[1]
        self.url = f"http://walter:hunter2proxy@127.0.0.1:{port}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(connection,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        self.heard += head
        port = int(head.split()[1].rpartition(b":")[2])
        with client, socket.create_connection(("127.0.0.1", port)) as server:
            client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            while True:
                for ready in select.select([client, server], [], [], 30)[0]:
                    octets = ready.recv(65536)
                    if not octets:
                        return
                    self.heard += octets
                    (server if ready is client else client).sendall(octets)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    proxy = Proxy()
    yield proxy
    proxy.close()


@pytest.mark.usefixtures("app")
def test_a_proxy_carries_everything_and_learns_nothing(
    env_with_key: EnvFile, run: Run, sandbox: Sandbox, proxy: Proxy
) -> None:
    via = {"HTTPS_PROXY": proxy.url, "NO_PROXY": "", "no_proxy": ""}
    second, third = run(STEP_2, "-v", env=via), run(STEP_3, "-v", "-o", "token", env=via)

    assert (second.returncode, third.returncode) == (0, 0), second.stderr + third.stderr
    heard = proxy.heard.decode("latin-1")
    assert heard.startswith(f"CONNECT {sandbox.url.removeprefix('https://')} HTTP/1.")
    assert heard.count("CONNECT ") == sandbox.connections
    token = third.stdout.strip()
    assert leaks(heard, sandbox, env_with_key, token) == []
    printed = said(second) + third.stderr
    assert leaks(printed, sandbox, env_with_key, token) == []
    assert "hunter2proxy" not in printed


@pytest.mark.parametrize(
    ("url", "code"),
    [
        pytest.param("http://walter:hunter2proxy@127.0.0.1:1", 4, id="dead-port"),
        pytest.param("http://walter:hunter2proxy@127.0.0.1:99999", 1, id="no-port"),
        pytest.param("http://walter:hunter2proxy@[::1", 1, id="no-address"),
        pytest.param("http://walter:hunter2proxy@bad host:1", 1, id="blank"),
        pytest.param("walter:hunter2proxy", 1, id="no-scheme"),
        pytest.param("socks5://walter:hunter2proxy@127.0.0.1:1", 1, id="socks"),
        pytest.param("http://walter:1234#hunter2proxy@127.0.0.1:1", 1, id="hash"),
        pytest.param("http://walter:hunter2proxy?x@127.0.0.1:1", 1, id="question-mark"),
        pytest.param("http://walter:hunter2proxy\\x@127.0.0.1:1", 1, id="backslash"),
        pytest.param("http://walter:hunter2proxy/x@127.0.0.1:1", 1, id="slash"),
        pytest.param("http://walter:x@hunter2proxy@127.0.0.1:99999", 1, id="two-ats"),
        pytest.param("http://walter:x hunter2proxy@127.0.0.1:99999", 1, id="space"),
        pytest.param("http://walter:hunter2proxy[@127.0.0.1:1", 1, id="bracket"),
        pytest.param("http://walter:hunter2proxy@:8080", 1, id="no-host"),
        pytest.param("http://", 1, id="nothing"),
    ],
)
@pytest.mark.usefixtures("app")
def test_a_proxy_that_is_wrong_is_one_message_without_its_password(
    url: str, code: int, run: Run, sandbox: Sandbox
) -> None:
    result = run(STEP_3, "-v", env={"HTTPS_PROXY": url, "NO_PROXY": "", "no_proxy": ""})

    assert "Traceback" not in result.stderr
    assert "hunter2proxy" not in result.stderr
    assert (result.returncode, result.stdout) == (code, "")
    assert "PROXY" in result.stderr
    assert "'walter'" not in result.stderr
    assert sandbox.seen == []


@pytest.mark.parametrize("script", [STEP_2, STEP_3])
@pytest.mark.usefixtures("app")
def test_nothing_follows_a_redirect(script: str, run: Run, sandbox: Sandbox) -> None:
    with Sandbox(Org("https://127.0.0.1"), certificate=sandbox._certificate) as other:
        sandbox.faults.add(Fault("", redirect(f"{other.url}/oauth2/v1/token", 307), times=None))
        result = run(script, "-v")

        assert (result.returncode, result.stdout) == (4, "")
        assert other.url.removeprefix("https://") in result.stderr
        assert (other.connections, other.seen) == (0, [])


@pytest.mark.parametrize("link", ["@{host}/x", "https://{host}/x", "//{host}/x", "https://[", "x"])
def test_a_link_to_the_next_page_leads_nowhere_else(
    link: str, env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    del env_with_key
    with Sandbox(Org("https://127.0.0.1"), certificate=sandbox._certificate) as other:
        host = other.url.removeprefix("https://")
        headers = {"link": f'<{link.format(host=host)}>; rel="next"'}
        change = patch(lambda answer: Response(answer.status, answer.body, headers))
        sandbox.faults.add(Fault("GET /oauth2/v1/clients", change))
        result = run(STEP_2, "-v")

        assert "Traceback" not in result.stderr
        assert result.returncode != 1
        assert (other.connections, other.seen) == (0, [])


def test_no_object_shows_its_secrets(
    env_with_key: EnvFile, sandbox: Sandbox, key: rsa.RSAPrivateKey
) -> None:
    token = "eyJhbGciOi.secretsecret.secretsecret"  # noqa: S105 - made up
    env = Env(env_with_key.path, {"API_KEY": sandbox.org.api_key}, print)
    org = okta.Org(sandbox.url, timeout=1, note=print, api_key=sandbox.org.api_key)
    shown = [
        *(env, env.require("OKTA_URL").keys(), org, TokenClient("0oaAny", key, "kid")),
        *(keys.public_key(env), keys.public_key(env).unchanged),
        Token({"access_token": token}, 0),
        ClientAnswer(sandbox.url, 200, {}, f'{{"access_token":"{token}"}}'.encode()),
    ]
    for thing in shown:
        for text in (repr(thing), str(thing), f"{thing}"):
            assert leaks(text, sandbox, env_with_key, token) == [], type(thing)


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="there is no /proc here")
@pytest.mark.parametrize("script", [STEP_2, STEP_3])
@pytest.mark.usefixtures("app")
def test_no_process_argument_holds_a_secret(
    script: str, env_with_key: EnvFile, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault("", hang(after_work=False)))
    trusted = clean_environment(REQUESTS_CA_BUNDLE=sandbox.ca_file)
    told = command(script, "--env-file", env_with_key.path)
    with subprocess.Popen(told, env=trusted, stderr=subprocess.DEVNULL) as process:
        assert sandbox.faults.hanging.wait(30)
        arguments = Path(f"/proc/{process.pid}/cmdline").read_text(encoding="utf-8")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        assert not children.exists() or not children.read_text(encoding="utf-8")
        process.kill()
    assert arguments.split("\0")[1:-1] == told[1:]
    assert leaks(arguments, sandbox, env_with_key) == []
