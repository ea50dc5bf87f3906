"""`OktaAuth`: requests of a Python program, against the mock org over TLS."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from conftest import ROOT, SETTINGS, EnvFile, clean_environment
from dpop_requests import TOKEN, claims_of
from faults import Fault, Sandbox, delay, rate_limit, redirect, status
from test_get_token import changed

from pkj.errors import LocalError, NoUsableResponse, OktaRefused
from pkj.sandbox.exchange import Request
from pkj.sandbox.state import Client
from pkj.token import OktaAuth, auth
from pkj.token.request import Token

OLD = "/api/v1/old"
CHALLENGE = {"WWW-Authenticate": 'DPoP error="use_dpop_nonce"', "DPoP-Nonce": "of-the-API"}


@pytest.fixture
def okta(
    app: Client, env: EnvFile, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> Iterator[requests.Session]:
    """A session for the app. Of its settings, SCOPES comes from the environment."""
    del app
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", sandbox.ca_file)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    env.write(SCOPES="okta.apps.read")
    monkeypatch.setenv("SCOPES", "okta.users.read")
    with requests.Session() as session:
        session.auth = OktaAuth(env.path)
        yield session


@pytest.fixture
def users(okta: requests.Session, sandbox: Sandbox) -> str:
    del okta
    return f"{sandbox.url}/api/v1/users"


@pytest.fixture
def dpop(app: Client) -> None:
    app.dpop_bound = True


def calls(sandbox: Sandbox) -> list[Request]:
    return [s.request for s in sandbox.seen if not s.request.path.endswith("/token")]


def nonces(sandbox: Sandbox) -> list[str | None]:
    """Return those of the proofs at the API; check their other claims."""
    claims = [claims_of(request.headers["dpop"]) for request in calls(sandbox)]
    assert len({c["jti"] for c in claims}) == len(claims)
    assert all("ath" in c for c in claims)
    return [c.get("nonce") for c in claims]


def token_requests(sandbox: Sandbox) -> int:
    return len(sandbox.seen) - len(calls(sandbox))


def test_bearer_token_serves_several_requests(
    okta: requests.Session, users: str, sandbox: Sandbox, capfd: pytest.CaptureFixture[str]
) -> None:
    assert [okta.get(users, params={"limit": n}).status_code for n in "12"] == [200, 200]
    assert token_requests(sandbox) == 1
    assert {r.headers["authorization"].split()[0] for r in calls(sandbox)} == {"Bearer"}
    assert capfd.readouterr() == ("", "")
    assert requests.get(users, timeout=30).status_code == 401


@pytest.mark.usefixtures("dpop")
def test_nonce_of_the_api_is_used_and_renewed(
    okta: requests.Session, users: str, sandbox: Sandbox
) -> None:
    sandbox.org.api_nonces = ["one"]
    first = okta.get(users)
    sandbox.org.api_nonces.append("two")
    okta.get(users)
    sandbox.org.api_nonces.remove("one")

    assert (okta.get(users).status_code, first.status_code) == (200, 200)
    assert [response.status_code for response in first.history] == [401]
    assert nonces(sandbox) == [None, "one", "one", "two"]
    sandbox.org.api_nonces = ["three"]
    sandbox.faults.add(Fault("GET", status(200, [], {"DPoP-Nonce": "four"}), skip=1))
    assert len(okta.get(users).history) == 1
    sandbox.org.api_nonces = ["four"]
    assert okta.get(users).history == []


@pytest.mark.parametrize(
    ("body", "wanted"), [(None, 2), ({"error": "use_dpop_nonce"}, 2), (b"[" * 2000, 1)]
)
@pytest.mark.usefixtures("dpop")
def test_nonce_challenge_is_answered_only_once(
    okta: requests.Session, users: str, sandbox: Sandbox, body: object, wanted: int
) -> None:
    headers = CHALLENGE if body is None else {"DPoP-Nonce": "x"}
    sandbox.faults.add(Fault("GET /api", status(401, body, headers), times=None))
    assert okta.get(users).status_code == 401
    assert len(calls(sandbox)) == wanted


@pytest.mark.parametrize("kind", ["bytes", "file", "stream"])
@pytest.mark.usefixtures("dpop")
def test_body_is_sent_again_after_a_challenge(
    okta: requests.Session, users: str, sandbox: Sandbox, tmp_path: Path, kind: str
) -> None:
    sandbox.faults.add(Fault("POST /api", status(401, None, CHALLENGE)))
    (tmp_path / "body").write_bytes(b"hello")
    with (tmp_path / "body").open("rb") as file:
        body: Any = {"bytes": b"hello", "file": file, "stream": iter([b"hel", b"lo"])}[kind]
        if kind == "stream":
            with pytest.raises(LocalError, match="cannot be sent a second time") as caught:
                okta.post(users, data=body)
            assert "again" in caught.value.hint
            return
        assert okta.post(users, data=body).status_code == 405
    assert [request.body for request in calls(sandbox)] == [b"hello", b"hello"]


@pytest.mark.parametrize(
    ("expires_in", "usual", "wanted"),
    [(70, 3600, 1), (60, 3600, 2), (-1, 3600, 1), (3600, 60, 1), (None, 60, 2)],
)
def test_token_is_renewed_a_minute_before_it_expires(
    okta: requests.Session,
    users: str,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    expires_in: int | None,
    usual: int,
    wanted: int,
) -> None:
    monkeypatch.setattr(auth, "USUAL_LIFETIME", usual)
    sandbox.faults.add(Fault(TOKEN, changed(expires_in=expires_in), times=None))
    assert [okta.get(users).status_code for _ in "12"] == [200, 200]
    assert token_requests(sandbox) == wanted


@pytest.mark.parametrize(("now", "expiring"), [(4539.9, False), (4540, True)])
def test_last_minute_begins_exactly_60_seconds_before(
    now: float, expiring: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "time", SimpleNamespace(time=lambda: now))
    assert auth._is_expiring(Token({"access_token": "a", "expires_in": 3600}, 1000)) is expiring


def test_nonce_beside_a_bearer_token_is_ignored(
    okta: requests.Session, users: str, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault("GET", status(200, [], {"DPoP-Nonce": "x"})))
    assert [okta.get(users).status_code for _ in "12"] == [200, 200]
    assert not any("dpop" in request.headers for request in calls(sandbox))


@pytest.mark.parametrize("state", ["ACTIVE", "INACTIVE"])
@pytest.mark.usefixtures("dpop")
def test_eight_threads_make_one_token_request(
    app: Client, okta: requests.Session, users: str, sandbox: Sandbox, state: str
) -> None:
    app.status = state
    sandbox.faults.add(Fault(TOKEN, delay(0.5)))

    def get(_: int) -> int:
        try:
            return requests.get(users, auth=okta.auth, timeout=30).status_code
        except OktaRefused as refused:
            return refused.exit_code

    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(get, range(8)))

    works = state == "ACTIVE"
    assert codes == [200 if works else 3] * 8
    assert token_requests(sandbox) == (3 if works else 1)  # no proof, no nonce, both
    app.status = "ACTIVE"
    assert okta.get(users).status_code == 200
    assert set(nonces(sandbox)) == {None}


def test_rate_limit_is_waited_for_as_in_the_script(
    okta: requests.Session, users: str, sandbox: Sandbox, pauses: list[float]
) -> None:
    sandbox.faults.add(Fault(TOKEN, rate_limit(600, 0, 70)))
    sandbox.faults.add(Fault(TOKEN, rate_limit(600, 0, 60)))
    with pytest.raises(NoUsableResponse) as caught:
        okta.get(users)
    assert ("seconds" in caught.value.hint, pauses) == (True, [])
    assert (okta.get(users).status_code, len(pauses)) == (200, 1)


@pytest.mark.parametrize("change", [{"PRIVATE_KEY": "x"}, {"DPOP": "maybe"}, {"CLIENT_ID": ""}])
def test_wrong_settings_raise_at_once(
    okta: requests.Session, env: EnvFile, sandbox: Sandbox, change: dict[str, str]
) -> None:
    assert okta.auth
    env.write(**change)
    with pytest.raises(LocalError, match=next(iter(change))) as caught:
        OktaAuth(env.path)
    assert (bool(caught.value.hint), sandbox.seen) == (True, [])


# Other origins and redirects


@pytest.mark.parametrize(
    "form",
    [
        *("http://127.0.0.1:{port}/", "https://localhost:{port}/", "https://127.0.0.1/"),
        *("https://user@127.0.0.1:{port}/", "{url}@localhost/", "{url}x/"),
    ],
)
@pytest.mark.parametrize("how", ["request", "redirect"])
@pytest.mark.usefixtures("dpop")
def test_token_goes_to_no_other_origin(
    okta: requests.Session, users: str, sandbox: Sandbox, form: str, how: str
) -> None:
    url = form.format(url=sandbox.url, port=sandbox.url.rpartition(":")[2])
    sandbox.faults.add(Fault(f"GET {OLD}", redirect(url, 307)))
    wanted = (LocalError, NoUsableResponse, requests.exceptions.InvalidURL)
    with pytest.raises(wanted, match=r"is not sent to|invalid URL|parse") as caught:
        okta.get(url if how == "request" else sandbox.url + OLD)
    assert "user" not in str(caught.value)
    assert [r.path for r in calls(sandbox)] == ([OLD] if how == "redirect" else [])
    assert okta.get(users).status_code == 200


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.usefixtures("dpop")
def test_redirect_within_the_org_gets_a_proof_of_its_own(
    okta: requests.Session, users: str, sandbox: Sandbox, code: int
) -> None:
    sandbox.org.api_nonces = ["one"]
    for path, target in (("/api/v1/older", OLD), (OLD, f"{users}?limit=1")):
        sandbox.faults.add(Fault(f"GET {path}", redirect(target, code), times=None))
    sandbox.faults.add(Fault(f"POST {OLD}", redirect(users, 303)))
    response = okta.get(f"{sandbox.url}/api/v1/older")

    assert (response.status_code, len(response.json())) == (200, 1)
    assert nonces(sandbox) == [None, None, None, "one"]
    first, second = okta.get(f"{sandbox.url}/api/v1/older").history
    assert first.request.headers["DPoP"] != second.request.headers["DPoP"]
    assert first.request.headers["DPoP"] == calls(sandbox)[4].headers["dpop"]
    assert okta.post(sandbox.url + OLD, data=b"x").status_code == 200  # and htm is GET


# Importing and installing

SAFE_IMPORT = """
import gc, signal, sys, warnings
import requests  # has filters of its own
def state():
    return (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count(), list(warnings.filters),
            [signal.getsignal(number) for number in sorted(signal.valid_signals())])
before = state()
import get_access_token, pkj.token.request, pkj.token.check
assert "pkj.token.auth" not in sys.modules
from pkj.token import OktaAuth
OktaAuth
assert state() == before
"""

USE = """
import sys, requests, pkj
from pkj.token import OktaAuth
assert "{site}" in pkj.__file__, pkj.__file__
with requests.Session() as org:
    org.auth = OktaAuth(sys.argv[1])
    print(len(org.get(sys.argv[2]).json()))
"""


def output_of(command: list[str], **more: Any) -> tuple[str, str]:
    result = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    return result.stdout, result.stderr


def test_import_changes_nothing_in_the_program_and_costs_the_scripts_nothing() -> None:
    assert output_of([sys.executable, "-W", "error", "-c", SAFE_IMPORT], cwd=ROOT) == ("", "")


@pytest.mark.slow
def test_wheel_works_elsewhere(
    okta: requests.Session, users: str, sandbox: Sandbox, env: EnvFile, tmp_path: Path
) -> None:
    assert okta.get(users).ok
    skipped = shutil.ignore_patterns(".*", "env", "tests", "__pycache__")
    source = Path(shutil.copytree(ROOT, tmp_path / "source", ignore=skipped))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    building = ["wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(source)]
    subprocess.run([*pip, *building], check=True)
    (wheel,) = tmp_path.glob("okta_private_key_jwt-1.0.0-*.whl")

    site = tmp_path / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", site, wheel], check=True)
    assert (site / "pkj" / "py.typed").exists()
    assert [p.name for p in site.glob("*.py")] == []
    metadata = next(site.glob("okta_private_key_jwt-*/METADATA")).read_text()
    assert metadata.count("\nRequires-") == 5

    told = [sys.executable, "-c", USE.replace("{site}", str(site)), str(env.path), users]
    found = {"PYTHONPATH": str(site), "SCOPES": "okta.users.read"}
    environment = clean_environment(REQUESTS_CA_BUNDLE=sandbox.ca_file, **found)
    shown = output_of(told, cwd=tmp_path, env=environment)
    assert shown == ("2\n", "")
