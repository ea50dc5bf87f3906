"""The sockets of the pretend org, and its command line."""

import contextlib
import os
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
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
import requests
from faults import Fault, Sandbox, hang, status

from pkj.sandbox.certificate import make_certificate
from pkj.sandbox.org import Org

AS_JSON = {"Content-Type": "application/json"}
PATH = "/oauth2/v1/clients"
ROOT = Path(__file__).parents[1]


@pytest.fixture
def sandbox():
    with Sandbox(Org("https://127.0.0.1")) as sandbox:
        yield sandbox


@pytest.fixture
def session(sandbox):
    with requests.Session() as session:
        session.trust_env = False
        session.verify = sandbox.ca_file
        session.headers["Authorization"] = f"SSWS {sandbox.org.api_key}"
        yield session


def address(sandbox):
    return "127.0.0.1", int(sandbox.url.rpartition(":")[2])


@contextlib.contextmanager
def connection(sandbox, host="127.0.0.1", flags=0):
    context = ssl.create_default_context(cafile=sandbox.ca_file)
    context.verify_flags |= flags
    plain = socket.create_connection(address(sandbox), timeout=10)
    with context.wrap_socket(plain, server_hostname=host) as encrypted:
        yield encrypted


def everything(encrypted):
    return b"".join(iter(lambda: encrypted.recv(65536), b""))


def eventually(true):
    deadline = time.monotonic() + 10
    while not (answer := true()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return answer


def test_the_org_s_answer_arrives_as_json_over_tls(sandbox, session):
    answer = session.get(sandbox.url + PATH)
    assert (answer.status_code, answer.json()) == (200, [])
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == "2"
    assert sandbox.org.url == sandbox.url


def test_the_org_s_refusal_arrives_too(sandbox, session):
    session.headers["Authorization"] = "SSWS wrong"
    answer = session.get(sandbox.url + PATH)
    assert (answer.status_code, answer.json()["errorCode"]) == (401, "E0000011")


def test_what_arrived_is_what_was_sent(sandbox, session):
    session.post(f"{sandbox.url}{PATH}?a=b%20c", data=b"x=\xff", headers={"X-One": "1"})
    (seen,) = sandbox.seen
    assert (seen.request.method, seen.request.target) == ("POST", f"{PATH}?a=b%20c")
    assert seen.request.headers["x-one"] == "1"
    assert seen.request.body == b"x=\xff"
    assert seen.answer_status in range(200, 500)


def test_a_repeated_header_is_joined_for_the_rules_to_refuse(sandbox):
    with connection(sandbox) as encrypted:
        encrypted.sendall(b"GET / HTTP/1.1\r\nDPoP: a\r\ndpop: b\r\nConnection: close\r\n\r\n")
        everything(encrypted)
    assert sandbox.seen[0].request.headers["dpop"] == "a, b"


def test_the_date_is_by_the_org_s_clock():
    with Sandbox(Org("https://127.0.0.1", clock=lambda: 1_700_000_000)) as sandbox:
        answer = requests.get(sandbox.url, verify=sandbox.ca_file, timeout=10)
    assert parsedate_to_datetime(answer.headers["date"]).timestamp() == 1_700_000_000


def test_one_session_uses_one_connection_and_two_use_two(sandbox, session):
    for _ in range(3):
        session.get(sandbox.url + PATH)
    assert sandbox.connections == 1
    requests.get(sandbox.url + PATH, verify=sandbox.ca_file, timeout=10)
    assert sandbox.connections == 2
    assert [seen.connection for seen in sandbox.seen] == [1, 1, 1, 2]


def test_a_204_has_neither_body_nor_length(sandbox):
    sandbox.faults.add(Fault("", status(204, {"never": "sent"})))
    with connection(sandbox) as encrypted:
        encrypted.sendall(b"DELETE / HTTP/1.1\r\nConnection: close\r\n\r\n")
        head, _, body = everything(encrypted).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 204 No Content\r\n")
    assert b"content-length" not in head
    assert body == b""


@pytest.mark.parametrize(
    ("length", "code"),
    [
        pytest.param(1 << 20, 400, id="the largest allowed: the org refuses what is in it"),
        pytest.param((1 << 20) + 1, 413, id="a byte more"),
        pytest.param(8 << 20, 413, id="much more"),
    ],
)
def test_a_body_over_a_mebibyte_is_refused(sandbox, session, length, code):
    answer = session.post(sandbox.url + PATH, data=b"x" * length)
    assert answer.status_code == code
    assert [len(seen.request.body) for seen in sandbox.seen] == [length if code == 400 else 0]


@pytest.mark.parametrize(
    ("header", "code"),
    [
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\nmany", b"400", id="a chunk in words"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n-1", b"400", id="a negative chunk"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n100001", b"400", id="too large a chunk"),
        pytest.param(b"Content-Length: many", b"400", id="a length in words"),
        pytest.param(b"Content-Length: -1", b"400", id="a negative length"),
    ],
)
def test_a_body_of_unknown_length_is_refused_and_the_connection_closed(sandbox, header, code):
    with connection(sandbox) as encrypted:
        encrypted.sendall(b"POST / HTTP/1.1\r\n" + header + b"\r\n\r\n")
        assert everything(encrypted).startswith(b"HTTP/1.1 " + code)


def test_a_body_in_chunks_is_read_like_any_other(sandbox, session):
    whole = session.post(sandbox.url + PATH, data=b'{"client_name": " "}', headers=AS_JSON)
    parts = (part for part in (b'{"client_', b'name": " "}'))
    chunked = session.post(sandbox.url + PATH, data=parts, headers=AS_JSON)
    assert (chunked.status_code, chunked.json()) == (whole.status_code, whole.json())
    assert [seen.request.body for seen in sandbox.seen] == [b'{"client_name": " "}'] * 2


@pytest.mark.parametrize("method", ["OPTIONS", "PATCH", "TRACE"])
def test_a_method_that_no_rule_knows_is_refused_by_the_org(sandbox, session, method):
    answer = session.request(method, sandbox.url + PATH)
    assert (answer.status_code, answer.json()["errorCode"]) == (405, "E0000022")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_certificate_passes_the_strict_verification(sandbox, host):
    with connection(sandbox, host, ssl.VERIFY_X509_STRICT) as encrypted:
        assert encrypted.version() == "TLSv1.3"


def test_a_client_that_does_not_trust_the_authority_refuses(sandbox):
    refused = pytest.raises(requests.exceptions.SSLError, match="CERTIFICATE_VERIFY_FAILED")
    with Sandbox(Org("https://127.0.0.1")) as other, refused:
        requests.get(sandbox.url, verify=other.ca_file, timeout=10)
    assert (sandbox.seen, sandbox.connections) == ([], 0)


def test_a_certificate_for_another_name_is_refused():
    certificate = make_certificate(names=("org.example", "127.0.0.2"))
    refused = pytest.raises(requests.exceptions.SSLError, match="IP address mismatch")
    with Sandbox(Org("https://127.0.0.1"), certificate=certificate) as sandbox, refused:
        requests.get(sandbox.url, verify=sandbox.ca_file, timeout=10)
    assert sandbox.seen == []


def test_nothing_secret_is_left_in_a_file_and_nothing_at_all_afterwards(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Sandbox(Org("https://127.0.0.1")) as sandbox:
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert files == [Path(sandbox.ca_file)]
        assert b"PRIVATE" not in files[0].read_bytes()
    assert list(tmp_path.iterdir()) == []


def test_the_server_s_key_is_for_the_owner_alone_while_it_is_in_a_file(monkeypatch, tmp_path):
    modes = []

    class LookingContext(ssl.SSLContext):
        def load_cert_chain(self, certfile, *rest, **named):
            folder = Path(certfile).parent
            modes.extend(path.stat().st_mode & 0o777 for path in (Path(certfile), folder))
            super().load_cert_chain(certfile, *rest, **named)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(ssl, "SSLContext", LookingContext)
    make_certificate()
    assert modes == [0o600, 0o700]
    assert list(tmp_path.iterdir()) == []


def test_it_listens_on_127_0_0_1_only(sandbox):
    _, port = address(sandbox)
    socket.create_connection(("127.0.0.1", port), timeout=1).close()
    for host in ("127.0.0.2", "::1"):
        with pytest.raises(OSError, match=r".+"):
            socket.create_connection((host, port), timeout=1)


def test_a_client_stalled_in_its_handshake_blocks_nobody(sandbox, session):
    with socket.create_connection(address(sandbox)):
        assert session.get(sandbox.url + PATH, timeout=5).status_code == 200
    assert sandbox.connections == 1


def no_tls(sandbox):
    with socket.create_connection(address(sandbox)) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")


def gone_at_once(sandbox):
    socket.create_connection(address(sandbox)).close()


def gone_in_the_body(sandbox):
    with connection(sandbox) as encrypted:
        encrypted.sendall(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf")


def gone_with_a_reset(sandbox):
    with connection(sandbox) as encrypted:
        encrypted.sendall(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf")
        linger = b"\1\0\0\0\0\0\0\0"
        encrypted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def no_trust(sandbox):
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(sandbox.url, timeout=10)


@pytest.mark.parametrize(
    "visit", [no_tls, gone_at_once, gone_in_the_body, gone_with_a_reset, no_trust]
)
def test_a_client_that_goes_away_is_no_event(sandbox, session, capfd, visit):
    threads = threading.active_count()
    visit(sandbox)
    assert session.get(sandbox.url + PATH).status_code == 200
    session.close()
    assert eventually(lambda: threading.active_count() <= threads)
    assert capfd.readouterr() == ("", "")
    assert len(sandbox.seen) == 1


def test_a_mistake_in_a_test_s_own_fault_is_shown(sandbox, session, capfd):
    sandbox.faults.add(Fault("", lambda turn: turn.no_such_move()))
    with pytest.raises(requests.ConnectionError):
        session.get(sandbox.url + PATH)
    said = []

    def whole():
        said.append(capfd.readouterr().err)
        return re.fullmatch(r"-{40}\n.*no_such_move.*-{40}\n", "".join(said), re.DOTALL)

    assert eventually(whole)


def test_it_stops_promptly_whatever_hangs_on_it():
    before = set(threading.enumerate())
    with contextlib.ExitStack() as clients:
        with Sandbox(Org("https://127.0.0.1")) as sandbox:
            sandbox.faults.add(Fault("GET /hang", hang(after_work=False)))
            stalled = clients.enter_context(socket.create_connection(address(sandbox), 10))
            idle = clients.enter_context(connection(sandbox))
            hung = clients.enter_context(connection(sandbox))
            hung.sendall(b"GET /hang HTTP/1.1\r\n\r\n")
            assert sandbox.faults.hanging.wait(10)
            start = time.monotonic()
        # 0.15 s by design; the rest is for a busy machine.
        assert time.monotonic() - start < 1
        assert [stalled.recv(1), everything(idle), everything(hung)] == [b"", b"", b""]
    assert eventually(lambda: set(threading.enumerate()) <= before)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address(sandbox))


def test_a_taken_port_is_an_error(sandbox):
    with pytest.raises(OSError, match="in use"), Sandbox(Org("x"), address(sandbox)[1]):
        pass


def command(*arguments):
    return [sys.executable, "-m", "pkj.sandbox", *arguments]


@contextlib.contextmanager
def serving(*arguments, folder):
    """The command's process and the lines it printed for a person to paste."""
    process = subprocess.Popen(
        command("serve", *arguments),
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process, [process.stdout.readline().rstrip("\n") for _ in range(7)]
        finally:
            process.kill()


def settings(lines):
    """What a shell makes of them."""
    words = [shlex.split(line, comments=True) for line in lines]
    return dict(word[-1].split("=", 1) for word in words if word)


@pytest.mark.parametrize(
    ("number", "code"),
    [pytest.param(signal.SIGINT, 130, id="Ctrl-C"), pytest.param(signal.SIGTERM, 0, id="TERM")],
)
def test_serve_prints_lines_that_work_and_ends_quietly(tmp_path, number, code):
    with serving(folder=tmp_path) as (process, lines):
        pasted = settings(lines)
        answer = requests.get(
            f"{pasted['OKTA_URL']}{PATH}?q=secret",
            headers={"Authorization": f"SSWS {pasted['API_KEY']}"},
            verify=pasted["REQUESTS_CA_BUNDLE"],
            timeout=10,
        )
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert answer.status_code == 200
    assert list(pasted) == [
        *("OKTA_URL", "API_KEY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NO_PROXY")
    ]
    assert pasted["CURL_CA_BUNDLE"] == pasted["REQUESTS_CA_BUNDLE"]
    assert [line for line in lines if line.startswith("#")] == [
        "# lines for .env",
        "# in the shell where the scripts run",
    ]
    assert (process.returncode, out) == (code, "")
    about, seen = err.splitlines()
    assert "mock" in about
    assert seen == f"GET {PATH} 200"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [[], ["--no-role-needed"]], ids=["", "no-role-needed"])
def test_serve_takes_the_api_token_it_is_told_and_needs_roles_unless_told(tmp_path, options):
    with serving("--api-key", "00mine", *options, folder=tmp_path) as (process, lines):
        pasted = settings(lines)
        env_file = tmp_path / "pasted.env"
        env_file.write_text(f"{lines[1]}\n{lines[2]}\nSCOPES=okta.users.read\n")
        env = {**os.environ, "REQUESTS_CA_BUNDLE": pasted["REQUESTS_CA_BUNDLE"]}
        env |= {"NO_PROXY": "127.0.0.1"}
        steps = [["generate_keys.py"], ["create_okta_service_app.py"]]
        codes = [
            subprocess.run(
                [sys.executable, *step, "--env-file", env_file], cwd=ROOT, env=env, check=False
            ).returncode
            for step in [*steps, ["get_access_token.py", "--check"]]
        ]
        process.kill()
    assert pasted["API_KEY"] == "00mine"
    assert codes == [0, 0, 0 if options else 3]


def test_serve_on_a_taken_port_says_so_in_one_sentence(sandbox):
    port = str(address(sandbox)[1])
    ended = subprocess.run(
        command("serve", "--port", port), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert re.fullmatch(rf".*127\.0\.0\.1:{port}.*Address already in use\.\n", ended.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="nothing"),
        pytest.param(["serve", "--port", "65536"], id="no such port"),
        pytest.param(["serve", "--port", "x"], id="no number"),
        pytest.param(["serve", "--api-key", "it's"], id="no token"),
        pytest.param(["demo", "--port", "1"], id="another command's option"),
    ],
)
def test_a_wrong_command_line_is_a_usage_error(arguments):
    ended = subprocess.run(
        command(*arguments), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("usage: python -m pkj.sandbox")
    assert "Traceback" not in ended.stderr


def demo(folder, *arguments, **environment):
    """Run it in `folder`, with a temporary folder of its own, and a real org in the way."""
    temporary = folder / "temporary"
    temporary.mkdir()
    real = {"OKTA_URL": "https://127.0.0.1:1", "API_KEY": "real", "CURL_CA_BUNDLE": "/nowhere"}
    process = subprocess.Popen(
        command("demo", *arguments),
        cwd=folder,
        env={**os.environ, **real, "TMPDIR": str(temporary), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return process, temporary


@pytest.fixture
def checkout(tmp_path):
    """The toolkit as in a fresh clone, beside a `.env` of a real org."""
    shutil.copytree(ROOT / "pkj", tmp_path / "pkj", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("generate_keys.py", "create_okta_service_app.py", "get_access_token.py"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".env").write_text("OKTA_URL=https://real.example\n")
    return tmp_path


def test_the_demo_shows_the_whole_flow_and_leaves_nothing(checkout):
    process, temporary = demo(checkout)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in err) == (0, False), err
    shown = [line for line in out.splitlines() if line.startswith("$ ")]
    assert shown == [
        "$ python generate_keys.py",
        "$ python create_okta_service_app.py",
        "$ python get_access_token.py",
    ]
    assert re.search(r"^///////////////// Access Token:\n\n\S+\n", out, re.MULTILINE)
    assert re.search(
        r"^GET https://127\.0\.0\.1:\d+/api/v1/users with the token -> 200$", out, re.MULTILINE
    )
    assert "mock" in out.splitlines()[0]
    assert len(out.splitlines()) < 40
    assert "It works. For your own org" in out
    assert list(temporary.iterdir()) == []
    assert (checkout / ".env").read_text() == "OKTA_URL=https://real.example\n"


@pytest.mark.parametrize(
    ("script", "text", "reason"),
    [
        pytest.param(
            "create_okta_service_app.py",
            "raise SystemExit(3)",
            r"`python create_okta_service_app\.py` ended with exit code 3\.",
            id="a step that fails",
        ),
        pytest.param(
            "get_access_token.py", "print('wrong')", r"GET \S+ answered 401\.", id="a wrong token"
        ),
        pytest.param("get_access_token.py", "", r"GET \S+ answered 40[01]\.", id="no token"),
    ],
)
def test_the_demo_says_what_did_not_work(checkout, script, text, reason):
    (checkout / script).write_text(text)
    process, temporary = demo(checkout)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert re.search(rf"^The demo failed: {reason}$", err, re.MULTILINE)
    assert "Traceback" not in err
    assert "It works." not in out
    assert list(temporary.iterdir()) == []


def test_an_interrupted_demo_is_quiet_and_leaves_nothing(checkout):
    (checkout / "generate_keys.py").write_text("import time; time.sleep(60)")
    process, temporary = demo(checkout)
    assert eventually(lambda: any(temporary.rglob(".env")))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (130, "")
    assert list(temporary.iterdir()) == []
