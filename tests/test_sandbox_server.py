"""The mock org on the wire and on the command line, and the misbehaviours of faults.py."""

import contextlib
import json
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faults
import pytest
import requests
from conftest import CREATE_APP, GENERATE_KEYS, GET_TOKEN, ROOT, clean_environment, run_here
from faults import Action, Fault, Org, Sandbox, status
from sandbox_requests import registration

from pkj.sandbox.__main__ import main
from pkj.sandbox.certificate import make_certificate

PATH = "/oauth2/v1/clients"
LONG = 60.0
GET = b"GET / HTTP/1.1\r\n"


def send(sandbox: Sandbox, method: str = "GET", path: str = PATH, **options: Any) -> Any:
    """A request by the super admin, on a connection of its own."""
    headers = {"Authorization": f"SSWS {sandbox.org.api_key}", **options.pop("headers", {})}
    with requests.Session() as session:
        session.trust_env, session.verify = False, sandbox.ca_file
        options = {"timeout": LONG, "allow_redirects": False, "headers": headers, **options}
        return session.request(method, sandbox.url + path, **options)


def address(sandbox: Sandbox) -> tuple[str, int]:
    return "127.0.0.1", int(sandbox.url.rpartition(":")[2])


def connection(sandbox: Sandbox, sent: bytes = b"", host: str = "127.0.0.1") -> ssl.SSLSocket:
    """A TLS connection, strictly verified, on which this was sent."""
    context = ssl.create_default_context(cafile=sandbox.ca_file)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    plain = socket.create_connection(address(sandbox), timeout=10)
    encrypted = context.wrap_socket(plain, server_hostname=host)
    encrypted.sendall(sent)
    return encrypted


def everything(encrypted: ssl.SSLSocket) -> bytes:
    return b"".join(iter(lambda: encrypted.recv(65536), b""))


def eventually(true: Callable[[], object]) -> bool:
    deadline = time.monotonic() + 10
    while not (response := true()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(response)


def test_request_arrives_as_sent_and_the_response_as_the_org_gave_it(sandbox: Sandbox) -> None:
    sandbox.org.clock = lambda: 1_700_000_000
    response = send(sandbox, "POST", f"{PATH}?a=b%20c", data=b"x=\xff", headers={"X-One": "1"})
    (seen,) = sandbox.seen
    assert (seen.request.method, seen.request.target) == ("POST", f"{PATH}?a=b%20c")
    assert (seen.request.headers["x-one"], seen.request.body) == ("1", b"x=\xff")
    assert (seen.response_status, response.status_code) == (400, 400)
    assert response.json()["errorCode"] == "E0000021"
    assert response.headers["date"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert response.headers["content-type"] == "application/json"
    assert response.headers["content-length"] == str(len(response.content))
    assert sandbox.org.url == sandbox.url


def test_repeated_header_is_joined_for_the_rules_to_refuse(sandbox: Sandbox) -> None:
    with connection(sandbox, GET + b"DPoP: a\r\ndpop: b\r\nConnection: close\r\n\r\n") as encrypted:
        everything(encrypted)
    assert sandbox.seen[0].request.headers["dpop"] == "a, b"


def test_204_has_neither_body_nor_length(sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("", status(204, {"never": "sent"})))
    with connection(sandbox, b"DELETE / HTTP/1.1\r\nConnection: close\r\n\r\n") as encrypted:
        head, _, body = everything(encrypted).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 204 No Content\r\n")
    assert (b"content-length" in head, body) == (False, b"")


@pytest.mark.parametrize(("size", "code"), [(1 << 20, 400), ((1 << 20) + 1, 413), (8 << 20, 413)])
def test_body_over_a_mebibyte_is_refused(sandbox: Sandbox, size: int, code: int) -> None:
    assert send(sandbox, "POST", data=b"x" * size).status_code == code
    assert [len(seen.request.body) for seen in sandbox.seen] == [size if code == 400 else 0]


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
SIZES = [*(CHUNKED + size for size in (b"many", b"-1", b"100001")), b"Content-Length: many"]


@pytest.mark.parametrize("header", [*SIZES, b"Content-Length: -1"])
def test_body_of_unknown_length_closes_the_connection(sandbox: Sandbox, header: bytes) -> None:
    with connection(sandbox, b"POST / HTTP/1.1\r\n" + header + b"\r\n\r\n") as encrypted:
        assert everything(encrypted).startswith(b"HTTP/1.1 400")


def test_body_in_chunks_is_read_like_any_other(sandbox: Sandbox) -> None:
    send(sandbox, "POST", data=(part for part in (b"x" * 20, b"y")))
    assert [seen.request.body for seen in sandbox.seen] == [b"x" * 20 + b"y"]


def test_org_refuses_methods_without_a_rule(sandbox: Sandbox) -> None:
    responses = [send(sandbox, method) for method in ("OPTIONS", "PATCH", "TRACE")]
    assert [response.json()["errorCode"] for response in responses] == ["E0000022"] * 3


def test_client_refuses_another_authority_and_another_name(
    sandbox: Sandbox, capfd: pytest.CaptureFixture[str]
) -> None:
    certificate = make_certificate(names=("org.example", "127.0.0.2"))
    with Sandbox(Org("https://127.0.0.1"), certificate=certificate) as other:
        for ca_file, why in ((sandbox.ca_file, "VERIFY_FAILED"), (other.ca_file, "IP address mis")):
            with pytest.raises(requests.exceptions.SSLError, match=why):
                send(other, verify=ca_file)
        assert (other.seen, other.connections, capfd.readouterr()) == ([], 0, ("", ""))


def test_private_key_is_for_the_owner_and_nothing_is_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    modes = []

    class LookingContext(ssl.SSLContext):
        def load_cert_chain(self, certfile: Any, *rest: Any, **named: Any) -> None:
            both = Path(certfile), Path(certfile).parent
            modes.extend(path.stat().st_mode & 0o777 for path in both)
            super().load_cert_chain(certfile, *rest, **named)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(ssl, "SSLContext", LookingContext)
    with Sandbox(Org("https://127.0.0.1")) as sandbox:
        assert modes == [0o600, 0o700]
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert files == [Path(sandbox.ca_file)]
        assert b"PRIVATE" not in files[0].read_bytes()
    assert list(tmp_path.iterdir()) == []


def test_it_listens_on_127_0_0_1_only_which_is_also_localhost(sandbox: Sandbox) -> None:
    for host in ("127.0.0.2", "::1"):
        with pytest.raises(OSError, match=r".+"):
            socket.create_connection((host, address(sandbox)[1]), timeout=1)
    with connection(sandbox, host="localhost") as encrypted:
        assert encrypted.version() == "TLSv1.3"


def test_client_stalled_in_its_handshake_blocks_nobody(sandbox: Sandbox) -> None:
    with socket.create_connection(address(sandbox)):
        assert send(sandbox, timeout=5).status_code == 200
    assert sandbox.connections == 1


HALF = b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf"
RESET = b"\1" + bytes(7)  # linger for 0 s
VISITS = ((False, b"", b""), (False, GET, b""), (True, HALF, b""), (True, HALF, RESET))


@pytest.mark.parametrize(("tls", "sent", "linger"), VISITS)
def test_client_that_goes_away_is_ignored(
    sandbox: Sandbox, capfd: pytest.CaptureFixture[str], tls: bool, sent: bytes, linger: bytes
) -> None:
    threads = threading.active_count()
    with connection(sandbox) if tls else socket.create_connection(address(sandbox)) as client:
        client.sendall(sent)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger or bytes(8))
    assert send(sandbox).status_code == 200
    assert eventually(lambda: threading.active_count() <= threads)
    assert (capfd.readouterr(), len(sandbox.seen)) == (("", ""), 1)


def test_mistake_in_a_fault_is_shown(sandbox: Sandbox, capfd: pytest.CaptureFixture[str]) -> None:
    threads = threading.active_count()
    sandbox.faults.add(Fault("", lambda turn: turn.no_such_move()))
    with pytest.raises(requests.ConnectionError):
        send(sandbox)
    assert eventually(lambda: threading.active_count() <= threads)  # it has printed by then
    assert "no_such_move" in capfd.readouterr().err


def test_it_stops_promptly_whatever_hangs_on_it() -> None:
    before = set(threading.enumerate())
    with contextlib.ExitStack() as clients:
        with Sandbox(Org("https://127.0.0.1")) as sandbox:
            sandbox.faults.add(Fault("GET /", faults.hang(after_work=False)))
            stalled = clients.enter_context(socket.create_connection(address(sandbox), 10))
            idle = clients.enter_context(connection(sandbox))
            hung = clients.enter_context(connection(sandbox, GET + b"\r\n"))
            assert sandbox.faults.hanging.wait(10)
            start = time.monotonic()
        assert time.monotonic() - start < 1  # 0.15 s by design; the rest is for a busy machine
        assert [stalled.recv(1), everything(idle), everything(hung)] == [b"", b"", b""]
    assert eventually(lambda: set(threading.enumerate()) <= before)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address(sandbox))


# Misbehaviours (faults.py)


def end_of(encrypted: ssl.SSLSocket) -> str:
    """How TCP ended, below TLS: some versions of OpenSSL take a reset for an end."""
    encrypted.settimeout(0.3)
    try:
        while socket.socket.recv(encrypted, 65536):
            pass
    except ConnectionResetError:
        return "reset"
    except TimeoutError:
        return "silence"
    return "end"


LOST = {
    "reset-before": (faults.reset_before(), "reset", 0),
    "reset-after": (faults.reset_after(), "reset", 1),
    "close-before": (faults.close_before(), "end", 0),
    "close-after": (faults.close_after(), "end", 1),
    "hang-before": (faults.hang(after_work=False), "silence", 0),
    "hang-after": (faults.hang(after_work=True), "silence", 1),
    "delay": (faults.delay(LONG), "silence", 1),
}


@pytest.mark.parametrize("name", LOST)
def test_response_is_lost_and_the_work_done_or_not(sandbox: Sandbox, name: str) -> None:
    action, end, apps = LOST[name]
    sandbox.faults.add(Fault("POST", action))
    body = json.dumps(registration()).encode()
    head = f"POST {PATH} HTTP/1.1\r\nAuthorization: SSWS {sandbox.org.api_key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with connection(sandbox, head.encode() + body) as encrypted:
        assert end_of(encrypted) == end
    assert (len(sandbox.org.clients), sandbox.seen[0].response_status) == (apps, None)
    assert sandbox.faults.hanging.is_set() == name.startswith("hang")
    assert len(send(sandbox).json()) == apps


def test_chunked_body_never_ends(sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("", faults.chunked_forever(0.001)))
    with send(sandbox, stream=True) as response:
        assert response.raw.read(200) == b" " * 200


JSON = {"content-type": "application/json"}
HTML = {"content-type": "text/html; charset=utf-8"}
ELSEWHERE = {"location": "http://127.0.0.1:1/"}
OTHERS = {
    "bare": (status(503), 503, {"content-length": "0"}, ""),
    "json": (status(500, {"a": 1}, {"x-a": "b"}), 500, {"x-a": "b", **JSON}, '{"a": 1}'),
    "bytes": (status(200, b"[1,"), 200, {"content-length": "3"}, "[1,"),
    "html": (faults.html(502), 502, HTML, "<!DOCTYPE"),
    "redirect": (faults.redirect("http://127.0.0.1:1/"), 302, ELSEWHERE, ""),
    "empty": (faults.empty(), 200, {"content-length": "0"}, ""),
    "huge": (faults.huge(65536 + 15), 200, {"content-length": "65551"}, '{"padding":"xxx'),
    "smallest": (faults.huge(16), 200, {"content-length": "16"}, '{"padding":"xx"}'),
    "unavailable": (faults.unavailable(), 400, {}, '{"error": "temporarily_unavailable"'),
}


@pytest.mark.parametrize(("action", "code", "headers", "text"), OTHERS.values(), ids=OTHERS)
def test_another_response_comes_in_place_of_the_work(
    sandbox: Sandbox, action: Action, code: int, headers: dict[str, str], text: str
) -> None:
    sandbox.faults.add(Fault("", action))
    response = send(sandbox, "POST", json=registration())
    assert (response.status_code, sandbox.org.clients) == (code, {})
    assert headers.items() <= {k.lower(): v for k, v in response.headers.items()}.items()
    assert (response.text.startswith(text), bool(response.text)) == (True, bool(text))
    assert [seen.response_status for seen in sandbox.seen] == [code]


ECHOES = {"oauth": "error_description", "management": "errorSummary"}


@pytest.mark.parametrize("dialect", ECHOES)
def test_echo_repeats_headers_and_body(sandbox: Sandbox, dialect: Any) -> None:
    sandbox.faults.add(Fault("", faults.echo(400, dialect)))
    words = send(sandbox, data="client_assertion=eyJ.secret").json()[ECHOES[dialect]]
    assert f"authorization: SSWS {sandbox.org.api_key}" in words
    assert "client_assertion=eyJ.secret" in words


X, Y, Z = (status(code) for code in (501, 502, 503))
MATCHES = {
    "skip-and-times": ([Fault(f"GET {PATH}", X, skip=1, times=2)], [200, 501, 501, 200, 200]),
    "always": ([Fault("", X, times=None)], [501, 501, 501]),
    "first-wins": ([Fault("", X), Fault("", Y, skip=1), Fault("", Z)], [501, 503, 502, 200]),
    "beginning": ([Fault("GET /oauth2", X)], [501, 200]),
    "another-method": ([Fault(f"POST {PATH}", X)], [200]),
    "longer-path": ([Fault(f"GET {PATH}/", X)], [200]),
    "no-method": ([Fault("/oauth2", X)], [200]),
}


@pytest.mark.parametrize(("added", "codes"), MATCHES.values(), ids=MATCHES)
def test_fault_applies_to_matching_requests(
    sandbox: Sandbox, added: list[Fault], codes: list[int]
) -> None:
    for fault in added:
        sandbox.faults.add(fault)
    assert [send(sandbox, path=f"{PATH}?limit=200").status_code for _ in codes] == codes
    sandbox.faults.clear()
    assert send(sandbox).status_code == 200


# The command line


@contextlib.contextmanager
def started(command: str, folder: Path, cwd: Path = ROOT, **more: str) -> Iterator[Any]:
    """The command as a process that keeps its temporary files in this folder."""
    folder.mkdir()
    words = [sys.executable, "-m", "pkj.sandbox", *command.split()]
    environment = clean_environment(TMPDIR=str(folder), **more)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, env=environment, cwd=cwd, **streams) as process:
        try:
            yield process
        finally:
            process.kill()


SERVED = (("", 3, signal.SIGINT, 130), ("--no-role-needed", 0, signal.SIGTERM, 0))


@pytest.mark.parametrize(("options", "checked", "number", "code"), SERVED)
def test_serve_prints_lines_that_work_and_ends_quietly(
    tmp_path: Path, options: str, checked: int, number: signal.Signals, code: int
) -> None:
    folder, env_file = tmp_path / "temporary", ("--env-file", tmp_path / ".env")
    with started(f"serve --api-key 00mine {options}", folder) as process:
        words = [shlex.split(process.stdout.readline(), comments=True) for _ in range(7)]
        pasted = dict(line[-1].split("=", 1) for line in words if line)
        environment = clean_environment(SCOPES="okta.users.read", **pasted)
        ended = [
            run_here(script, *env_file, *check, environment=environment, folder=tmp_path).returncode
            for script, *check in ([GENERATE_KEYS], [CREATE_APP], [GET_TOKEN, "--check"])
        ]
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    names = ["OKTA_URL", "API_KEY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NO_PROXY"]
    assert (list(pasted), pasted["API_KEY"]) == (names, "00mine")
    assert pasted["REQUESTS_CA_BUNDLE"] == pasted["CURL_CA_BUNDLE"]
    assert (ended, process.returncode, out) == ([0, 0, checked], code, "")
    about, seen, *_ = err.splitlines()
    assert ("mock" in about, seen) == (True, f"GET {PATH} 200")  # no query, which can be secret
    assert list(folder.iterdir()) == []


def test_taken_port_is_an_error(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    _, port = address(sandbox)
    with pytest.raises(OSError, match="in use"), Sandbox(Org("x"), port):
        pass
    before = signal.getsignal(signal.SIGTERM)
    assert main(["serve", "--port", str(port)]) == 1
    signal.signal(signal.SIGTERM, before)
    words = rf"The mock org cannot run on 127\.0\.0\.1:{port}: Address already in use\.\n"
    assert re.fullmatch(words, capsys.readouterr().err)


USAGE = ("", "serve --port 65536", "serve --port x", "serve --api-key it+s", "demo --port 1")


@pytest.mark.parametrize("line", USAGE)
def test_wrong_command_line_is_a_usage_error(line: str, capsys: Any) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(line.split())
    assert capsys.readouterr().err.startswith("usage: python -m pkj.sandbox")


@pytest.fixture
def demo(tmp_path: Path) -> contextlib.AbstractContextManager[Any]:
    """The demo in a fresh clone, beside a `.env` and among settings of a real org."""
    shutil.copytree(ROOT / "pkj", tmp_path / "pkj", ignore=shutil.ignore_patterns("__pycache__"))
    for name in (GENERATE_KEYS, CREATE_APP, GET_TOKEN):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".env").write_text("OKTA_URL=https://real.example\n")
    real = {"OKTA_URL": "https://127.0.0.1:1", "API_KEY": "real", "CURL_CA_BUNDLE": "/nowhere"}
    return started("demo", tmp_path / "temporary", tmp_path, **real)


ENDS = {
    "all-is-well": (GENERATE_KEYS, None, 0, ""),
    "failing-step": (
        CREATE_APP,
        "raise SystemExit(3)",
        1,
        rf"`python {CREATE_APP}` .* exit code 3\.",
    ),
    "wrong-token": (GET_TOKEN, "print('wrong')", 1, r"GET \S+ answered 401\."),
    "no-token": (GET_TOKEN, "", 1, r"GET \S+ answered 40[01]\."),
}


@pytest.mark.parametrize(("script", "text", "code", "why"), ENDS.values(), ids=ENDS)
def test_demo_says_what_failed_and_leaves_nothing(
    demo: Any, tmp_path: Path, script: str, text: str | None, code: int, why: str
) -> None:
    if text is not None:
        (tmp_path / script).write_text(text)
    with demo as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in err, "It works." in out) == (code, False, not code)
    assert re.search(rf"^The demo failed: {why}$" if code else "", err, re.MULTILINE)
    assert (f"$ python {script}" in out, "the token -> 200" in out) == (True, not code)
    assert list((tmp_path / "temporary").iterdir()) == []
    assert (tmp_path / ".env").read_text() == "OKTA_URL=https://real.example\n"


def test_interrupted_demo_is_quiet_and_leaves_nothing(demo: Any, tmp_path: Path) -> None:
    (tmp_path / GENERATE_KEYS).write_text("import time; time.sleep(60)")
    with demo as process:
        assert eventually(lambda: any((tmp_path / "temporary").rglob(".env")))
        process.send_signal(signal.SIGINT)
        assert (process.communicate(timeout=10)[1], process.returncode) == ("", 130)
    assert list((tmp_path / "temporary").iterdir()) == []
