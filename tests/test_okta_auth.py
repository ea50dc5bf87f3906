"""`OktaAuth`: requests of a Python program, against the sandbox over TLS."""

import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import ROOT, SETTINGS, EnvFile, clean_environment
from dpop_requests import TOKEN, claims_of
from faults import Fault, Sandbox, delay, patch, rate_limit, status

from pkj.errors import LocalError, NoUsableResponse, OktaRefused
from pkj.sandbox.exchange import Request, Response
from pkj.sandbox.org import Org
from pkj.sandbox.state import Client
from pkj.token import OktaAuth, auth

OLD = "/api/v1/old"
CHALLENGE = {"WWW-Authenticate": 'DPoP error="use_dpop_nonce"', "DPoP-Nonce": "of-the-API"}

Auth = Callable[[requests.PreparedRequest], requests.PreparedRequest]


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
    """Of the proofs at the API, whose other claims are checked here."""
    claims = [claims_of(request.headers["dpop"]) for request in calls(sandbox)]
    assert len({c["jti"] for c in claims}) == len(claims)
    assert all("ath" in c for c in claims)
    return [c.get("nonce") for c in claims]


def token_requests(sandbox: Sandbox) -> int:
    return len(sandbox.seen) - len(calls(sandbox))


def without_hook(signing: Any) -> Auth:
    """Only sign each request: the sabotage twin of what is done about responses."""

    def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
        signing(request).hooks["response"].clear()
        return request

    return sign


def test_bearer_token_serves_several_requests(
    okta: requests.Session, users: str, sandbox: Sandbox, capfd: pytest.CaptureFixture[str]
) -> None:
    assert [okta.get(users, params={"limit": n}).status_code for n in "12"] == [200, 200]
    assert token_requests(sandbox) == 1
    assert {r.headers["authorization"].split()[0] for r in calls(sandbox)} == {"Bearer"}
    assert capfd.readouterr() == ("", "")
    assert requests.get(users, timeout=30).status_code == 401


@pytest.mark.usefixtures("dpop")
def test_each_request_has_its_own_proof(
    okta: requests.Session, users: str, sandbox: Sandbox
) -> None:
    assert [okta.get(f"{users}?limit=1").status_code for _ in "12"] == [200, 200]
    assert nonces(sandbox) == [None, None]
    replayed = {"Authorization": "", "DPoP": ""}
    replayed = {name: calls(sandbox)[0].headers[name.lower()] for name in replayed}
    assert requests.get(users, headers=replayed, timeout=30).status_code == 400


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
    assert okta.get(users, auth=without_hook(okta.auth)).status_code == 401
    sandbox.faults.add(Fault("GET", status(200, [], {"DPoP-Nonce": "four"}), skip=1))
    okta.get(users)
    sandbox.org.api_nonces = ["four"]
    assert okta.get(users).history == []


@pytest.mark.parametrize("body", [None, {"error": "use_dpop_nonce"}, b"[" * 2000])
@pytest.mark.usefixtures("dpop")
def test_nonce_challenge_is_answered_only_once(
    okta: requests.Session, users: str, sandbox: Sandbox, body: object
) -> None:
    headers = CHALLENGE if body is None else {"DPoP-Nonce": "x"}
    sandbox.faults.add(Fault("GET /api", status(401, body, headers), times=None))
    assert okta.get(users).status_code == 401
    assert len(calls(sandbox)) == (1 if isinstance(body, bytes) else 2)


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
    ("changes", "wanted"),
    [
        ({"expires_in": 70}, 1),
        ({"expires_in": 60}, 2),
        ({"expires_in": -1}, 1),  # as if it were not there
        ({"expires_in": 3600, "usual": 60}, 1),
        ({"expires_in": None, "usual": 60}, 2),
    ],
)
def test_token_is_renewed_a_minute_before_it_expires(
    okta: requests.Session,
    users: str,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    wanted: int,
) -> None:
    monkeypatch.setattr(auth, "USUAL_LIFETIME", changes.pop("usual", auth.USUAL_LIFETIME))
    change = patch(lambda a: Response(a.status, dict(a.body or {}) | changes, a.headers))  # type: ignore[call-overload]  # the body is a dict
    sandbox.faults.add(Fault(TOKEN, change, times=None))
    assert [okta.get(users).status_code for _ in "12"] == [200, 200]
    assert token_requests(sandbox) == wanted


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
    assert len(set(nonces(sandbox))) == works


def test_refused_client_raises_with_a_hint_and_may_work_later(
    app: Client, okta: requests.Session, users: str
) -> None:
    app.status = "INACTIVE"
    with pytest.raises(OktaRefused, match="invalid_client") as caught:
        okta.get(users)
    assert caught.value.hint
    app.status = "ACTIVE"
    assert okta.get(users).status_code == 200


@pytest.mark.parametrize(("seconds", "waits"), [(60, True), (70, False)])
def test_rate_limit_is_waited_for_as_in_the_script(
    okta: requests.Session,
    users: str,
    sandbox: Sandbox,
    pauses: list[float],
    seconds: int,
    waits: bool,
) -> None:
    sandbox.faults.add(Fault(TOKEN, rate_limit(600, 0, seconds)))
    if waits:
        assert okta.get(users).status_code == 200
    else:
        with pytest.raises(NoUsableResponse) as caught:
            okta.get(users)
        assert "seconds" in caught.value.hint
    assert len(pauses) == waits


@pytest.mark.parametrize("change", [{"PRIVATE_KEY": "x"}, {"DPOP": "maybe"}, {"CLIENT_ID": ""}])
def test_wrong_settings_raise_at_once(
    okta: requests.Session, env: EnvFile, sandbox: Sandbox, change: dict[str, str]
) -> None:
    assert okta.auth
    env.write(**change)
    with pytest.raises(LocalError, match=next(iter(change))) as caught:
        OktaAuth(env.path)
    assert caught.value.hint
    assert sandbox.seen == []


# Other origins


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
    sandbox.faults.add(Fault(f"GET {OLD}", status(307, None, {"Location": url})))
    wanted = (LocalError, NoUsableResponse, requests.exceptions.InvalidURL)
    with pytest.raises(wanted, match=r"is not sent to|invalid URL|parse") as caught:
        okta.get(url if how == "request" else sandbox.url + OLD)
    assert "user" not in str(caught.value)
    assert [r.path for r in calls(sandbox)] == ([OLD] if how == "redirect" else [])
    assert okta.get(users).status_code == 200


@pytest.mark.usefixtures("dpop")
def test_without_the_hook_a_proof_goes_to_another_host(
    okta: requests.Session, sandbox: Sandbox
) -> None:
    with Sandbox(Org("https://127.0.0.1")) as other:
        elsewhere = {"Location": f"{other.url}/api/v1/users"}
        sandbox.faults.add(Fault(f"GET {OLD}", status(302, None, elsewhere), times=None))
        with pytest.raises(LocalError, match="is not sent to"):
            okta.get(sandbox.url + OLD)
        assert other.seen == []
        both = Path(other.ca_file).read_text() + Path(sandbox.ca_file).read_text()
        Path(sandbox.ca_file).write_text(both)
        okta.get(sandbox.url + OLD, auth=without_hook(okta.auth))
        assert "dpop" in other.seen[0].request.headers


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.usefixtures("dpop")
def test_redirect_within_the_org_gets_a_proof_of_its_own(
    okta: requests.Session, users: str, sandbox: Sandbox, code: int
) -> None:
    sandbox.org.api_nonces = ["one"]
    steps = [("/api/v1/older", OLD), (OLD, f"{users}?limit=1")]
    for path, target in steps:
        redirect = status(code, None, {"Location": target})
        sandbox.faults.add(Fault(f"GET {path}", redirect, times=None))
    sandbox.faults.add(Fault(f"POST {OLD}", status(303, None, {"Location": users})))

    response = okta.get(f"{sandbox.url}/api/v1/older")

    assert (response.status_code, len(response.json())) == (200, 1)
    assert nonces(sandbox) == [None, None, None, "one"]
    sent = [request.headers["dpop"] for request in calls(sandbox)]
    first, second = okta.get(f"{sandbox.url}/api/v1/older").history
    assert first.request.headers["DPoP"] != second.request.headers["DPoP"]
    assert first.request.headers["DPoP"] == calls(sandbox)[len(sent)].headers["dpop"]
    assert okta.get(sandbox.url + OLD, auth=without_hook(okta.auth)).status_code == 400
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


def test_import_changes_nothing_in_the_program_and_costs_the_scripts_nothing() -> None:
    command = [sys.executable, "-W", "error", "-c", SAFE_IMPORT]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


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

    fresh = tmp_path / "fresh"
    venv.create(fresh, symlinks=True)
    (site,) = fresh.glob("lib/python*/site-packages")
    subprocess.run([*pip, "install", "--no-deps", "--target", site, wheel], check=True)
    (site / "tests.pth").write_text(str(Path(requests.__file__).parents[1]))
    assert (site / "pkj" / "py.typed").exists()
    assert [p.name for p in site.glob("*.py")] == []
    metadata = next(site.glob("okta_private_key_jwt-*/METADATA")).read_text()
    required = [line for line in metadata.splitlines() if line.startswith("Requires-")]
    assert len(required) == 5, required

    use = USE.replace("{site}", str(site))
    environment = clean_environment(REQUESTS_CA_BUNDLE=sandbox.ca_file, SCOPES="okta.users.read")
    command = [str(fresh / "bin" / "python"), "-c", use, str(env.path), users]
    result = subprocess.run(
        command, cwd=fresh, env=environment, capture_output=True, text=True, check=False
    )
    assert (result.stdout, result.stderr) == ("2\n", "")
