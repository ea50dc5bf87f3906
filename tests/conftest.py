"""Run the real scripts against a fresh sandbox over TLS, with a `.env` in a temporary folder."""

import contextlib
import gc
import io
import os
import runpy
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from dotenv import dotenv_values
from faults import Org, Sandbox
from joserfc.jwk import RSAKey

from pkj import keys
from pkj.app import delete, find
from pkj.okta import org
from pkj.sandbox.state import Client

if TYPE_CHECKING:
    from scene import Scene

ROOT = Path(__file__).resolve().parent.parent
GENERATE_KEYS, CREATE_APP, GET_TOKEN = (
    "generate_keys.py",
    "create_okta_service_app.py",
    "get_access_token.py",
)
SETTINGS = (
    *("OKTA_URL", "API_KEY", "SCOPES", "PRIVATE_KEY", "PUBLIC_KEY", "MODULUS"),
    *("KEY_ID", "CLIENT_ID", "ADMIN_ROLES", "DPOP"),
)
SCOPES = "okta.users.read okta.users.manage"

Run = Callable[..., subprocess.CompletedProcess[str]]


def pytest_xdist_auto_num_workers() -> int:
    """Two for each processor: while one waits for a response or a pause, the other works."""
    return 2 * (os.cpu_count() or 1)


def clean_environment(**extra: str) -> dict[str, str]:
    """This process's environment without anything a real org left in it."""
    leaking = {*SETTINGS, "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HTTPS_PROXY", "https_proxy"}
    kept = {name: value for name, value in os.environ.items() if name not in leaking}
    return {**kept, "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost", **extra}


def trusting(sandbox: Sandbox, env: Mapping[str, str] | None) -> dict[str, str]:
    return clean_environment(REQUESTS_CA_BUNDLE=sandbox.ca_file) | dict(env or {})


def command(script: str, *arguments: object) -> list[str]:
    return [sys.executable, str(ROOT / script), *map(str, arguments)]


def with_env_file(path: Path | None, *arguments: object) -> list[object]:
    return list(arguments) if path is None else ["--env-file", path, *arguments]


def run_here(
    script: str,
    *arguments: object,
    environment: Mapping[str, str],
    folder: Path,
    stdin: int | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a script in this process, in some 6 ms rather than the 150 of a new one.

    A traceback is an exception here, and fails the test. `stdin` is a file descriptor,
    None is at its end. Not for several at a time: the streams, the environment and the
    folder are this process's.
    """
    told = [str(ROOT / script), *map(str, arguments)]
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2)]
    source = os.open(os.devnull, os.O_RDONLY) if stdin is None else os.dup(stdin)
    with (
        open(source, encoding="utf-8") as typed,
        mock.patch.dict(os.environ, environment, clear=True),
        mock.patch.multiple(sys, argv=told, stdin=typed, stdout=streams[0], stderr=streams[1]),
        pytest.MonkeyPatch.context() as patch,
        warnings.catch_warnings(),
        signals_and_garbage_as_before(),
    ):
        patch.chdir(folder)
        patch.setattr(os, "_exit", sys.exit)
        try:
            runpy.run_path(told[0], run_name="__main__")
            code: object = 0
        except SystemExit as end:
            code = end.code
    assert isinstance(code, int)
    return subprocess.CompletedProcess(told, code, *map(text_of, streams))


@contextlib.contextmanager
def signals_and_garbage_as_before(seconds: int = 60) -> Iterator[None]:
    """Put back what a script leaves to the end of its process; fail after `seconds`."""
    collecting, interrupt = gc.isenabled(), signal.getsignal(signal.SIGINT)
    alarm = signal.signal(signal.SIGALRM, lambda *_: pytest.fail(f"took over {seconds} s"))
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, alarm)
        signal.signal(signal.SIGINT, interrupt)
        (gc.enable if collecting else gc.disable)()


def text_of(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode()  # type: ignore[attr-defined,no-any-return]  # a BytesIO


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds for which scripts in this process paused before a retry; none is waited."""
    asked: list[float] = []
    stand_in = SimpleNamespace(**vars(time) | {"sleep": asked.append})
    for module in (org, find, delete):
        monkeypatch.setattr(module, "time", stand_in)
    return asked


@pytest.fixture(autouse=True, scope="session")
def interrupts() -> None:
    """Let processes be interrupted: from a shell that started this in the background, they
    would inherit that SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def key() -> rsa.RSAPrivateKey:
    return keys.generate(2048)


@pytest.fixture(scope="session")
def other_key() -> rsa.RSAPrivateKey:
    return keys.generate(2048)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Org("https://127.0.0.1")) as running:
        yield running


class EnvFile:
    """A `.env` as a test sees it: through python-dotenv, never through the code under test."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getitem__(self, name: str) -> str | None:
        return self.values().get(name)

    def values(self) -> dict[str, str | None]:
        return dotenv_values(self.path, interpolate=False)

    def write(self, **values: str) -> None:
        """Put the values in place of those of the same name."""
        merged = {**self.values(), **values} if self.path.exists() else values
        text = "".join(f"{name}='{value}'\n" for name, value in merged.items())
        self.path.write_text(text, encoding="utf-8")
        self.path.chmod(0o600)


@pytest.fixture
def env(tmp_path: Path, sandbox: Sandbox) -> EnvFile:
    """What a user fills in: the org, the API token, the scopes."""
    file = EnvFile(tmp_path / ".env")
    file.write(OKTA_URL=sandbox.url, API_KEY=sandbox.org.api_key, SCOPES=SCOPES)
    return file


@pytest.fixture
def env_with_key(env: EnvFile, key: rsa.RSAPrivateKey) -> EnvFile:
    """The same, with a key."""
    env.write(**keys.settings_of(key))
    return env


def public_jwk(key: rsa.RSAPrivateKey) -> dict[str, Any]:
    """Return the JWK by a second JOSE library, with its thumbprint as kid."""
    jwk = RSAKey.import_key(key.public_key())
    return dict(jwk.as_dict(private=False)) | {"kid": jwk.thumbprint()}


def plant(
    sandbox: Sandbox,
    env: EnvFile,
    key: rsa.RSAPrivateKey,
    scopes: str = SCOPES,
    **changes: object,
) -> Client:
    """An app that trusts the key and has the scopes, its id in `.env`; no process is spent."""
    client = sandbox.org.add_client("Planted", [public_jwk(key)], **changes)
    client.grants.update({s: {"scopeId": s, "status": "ACTIVE"} for s in scopes.split()})
    env.write(CLIENT_ID=client.id)
    return client


@pytest.fixture
def app(env_with_key: EnvFile, sandbox: Sandbox, key: rsa.RSAPrivateKey) -> Client:
    """What steps 1 and 2 leave behind, here and at the org; a role lets it call the API."""
    client = plant(sandbox, env_with_key, key)
    client.roles["READ_ONLY_ADMIN"] = {"type": "READ_ONLY_ADMIN"}
    return client


@pytest.fixture
def bound(app: Client, env_with_key: EnvFile) -> Client:
    """The app requires DPoP, and the `.env` says so."""
    app.dpop_bound = True
    env_with_key.write(DPOP="true")
    return app


@pytest.fixture
def scene(
    env_with_key: EnvFile,
    run: Run,
    sandbox: Sandbox,
    key: rsa.RSAPrivateKey,
    other_key: rsa.RSAPrivateKey,
) -> "Scene":
    """The `.env` with a key, and ways to put apps into the org (see scene.py)."""
    from scene import scene_of  # here, because it imports this module

    return scene_of(env_with_key, run, sandbox, key, other_key)


@pytest.fixture
def run(sandbox: Sandbox, tmp_path: Path) -> Run:
    """Run a script in this process: `run(GET_TOKEN, "-o", "json", env={"SCOPES": "…"})`.

    It works on the `.env` of the test unless `env_file` is None. For settings of Python
    itself, and for several runs at a time, see `process`.
    """

    def ran(
        script: str,
        *arguments: object,
        env: Mapping[str, str] | None = None,
        env_file: Path | None = tmp_path / ".env",
        stdin: int | None = None,
    ) -> subprocess.CompletedProcess[str]:
        assert not any(name.startswith("PYTHON") for name in env or {}), "too late for this process"
        environment = trusting(sandbox, env)
        told = with_env_file(env_file, *arguments)
        return run_here(script, *told, environment=environment, folder=tmp_path, stdin=stdin)

    return ran


@pytest.fixture
def process(sandbox: Sandbox, tmp_path: Path) -> Run:
    """Run a script in a process of its own, where only that shows what the test is about.

    Takes what `run` takes, settings of Python itself (`env={"PYTHONPATH": "…"}`), and
    `**more` for `subprocess.run`.
    """

    def ended(
        script: str,
        *arguments: object,
        env: Mapping[str, str] | None = None,
        env_file: Path | None = tmp_path / ".env",
        **more: Any,
    ) -> subprocess.CompletedProcess[str]:
        environment = trusting(sandbox, env)
        told = command(script, *with_env_file(env_file, *arguments))
        caught = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        settings = {**caught, "timeout": 60, "cwd": tmp_path, **more}
        return subprocess.run(told, env=environment, check=False, **settings)

    return ended


@pytest.fixture
def registered(env_with_key: EnvFile, run: Run) -> EnvFile:
    """The `.env` of an app that is registered."""
    result = run(CREATE_APP)
    assert result.returncode == 0, result.stderr
    return env_with_key
