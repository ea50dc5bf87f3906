"""Two runs on one `.env` at the same time: one waits, and then sees what the other wrote."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from conftest import SCOPES, STEP_1, STEP_2, STEP_3, EnvFile, Run, clean_environment, command
from cryptography.hazmat.primitives.asymmetric import rsa
from faults import Fault, Sandbox, delay, patch

from pkj import keys
from pkj.sandbox.exchange import Response
from pkj.sandbox.state import Client


def begun(
    env: EnvFile, sandbox: Sandbox, script: str = STEP_2, *options: str
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(script, "--env-file", env.path, *options),
        env=clean_environment(REQUESTS_CA_BUNDLE=sandbox.ca_file),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    "names",
    [["PRIVATE_KEY"], ["PRIVATE_KEY", "PUBLIC_KEY", "MODULUS", "KEY_ID"]],
    ids=["own", "four"],
)
def test_two_first_runs_at_once_make_one_app(
    names: list[str], env: EnvFile, sandbox: Sandbox, key: rsa.RSAPrivateKey
) -> None:
    values = keys.of_new_key(key)
    env.write(**{name: values[name] for name in names})
    sandbox.faults.add(Fault("GET /oauth2/v1/clients", delay(1), times=2))

    runs = [begun(env, sandbox), begun(env, sandbox)]
    said = [process.communicate(timeout=60)[1] for process in runs]

    assert [process.returncode for process in runs] == [0, 0], said
    (app,) = sandbox.org.clients.values()
    assert env["CLIENT_ID"] == app.id
    assert list(app.grants) == SCOPES.split()
    assert {name: env[name] for name in values} == values
    assert "".join(said).count("another run is at work on") == 1
    assert [path.name for path in env.path.parent.iterdir()] == [".env"]


@contextmanager
def a_run_in_the_middle(env: EnvFile, sandbox: Sandbox) -> Iterator[threading.Event]:
    """It waits for an answer of the org until the event is set, and then comes to its end."""
    reached, go_on = threading.Event(), threading.Event()

    def wait(answer: Response) -> Response:
        reached.set()
        assert go_on.wait(30)
        return answer

    env.write(SCOPES="okta.users.read okta.groups.read")
    sandbox.faults.add(Fault("POST /api/v1/apps/", patch(wait)))
    with begun(env, sandbox) as process:
        assert reached.wait(30)
        yield go_on
        go_on.set()
        stderr = process.communicate(timeout=30)[1]
    assert process.returncode == 0, stderr


@pytest.mark.usefixtures("app")
def test_who_changes_nothing_or_another_file_waits_for_nobody(
    env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    with a_run_in_the_middle(env_with_key, sandbox):
        other = env_with_key.path.with_name("other.env")
        for script, *options in (
            (STEP_3, "--check"),
            (STEP_2, "--dry-run"),
            (STEP_2, "--delete", "--dry-run"),
            (STEP_1, "--env-file", str(other)),
        ):
            result = run(script, *options)
            assert result.returncode == 0, result.stderr
            assert "another run" not in result.stderr


@pytest.mark.parametrize(
    ("script", "options", "code"),
    [(STEP_1, [], 1), (STEP_1, ["--force"], 0), (STEP_2, ["--delete", "--yes"], 0)],
)
def test_who_changes_the_file_waits_for_the_run_that_is_at_work(
    script: str, options: list[str], code: int, env_with_key: EnvFile, app: Client, sandbox: Sandbox
) -> None:
    with a_run_in_the_middle(env_with_key, sandbox) as go_on:
        with begun(env_with_key, sandbox, script, *options) as second:
            assert second.stderr
            waiting = f"another run is at work on {env_with_key.path}; waiting for up to 60 seconds"
            assert second.stderr.readline() == f"{waiting}\n"
            assert (second.poll(), list(sandbox.org.clients)) == (None, [app.id])
            go_on.set()
            rest = second.stderr.read()
        assert second.returncode == code, rest
    assert bool(sandbox.org.clients) == (script == STEP_1)
