"""The three steps in order, and where they look for their `.env`."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from conftest import ROOT, SCOPES, STEP_1, STEP_2, STEP_3, EnvFile, Run, clean_environment
from faults import Sandbox


def users_api(sandbox: Sandbox, token: str) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        headers = {"Authorization": f"Bearer {token}"}
        url = f"{sandbox.url}/api/v1/users"
        return session.get(url, headers=headers, verify=sandbox.ca_file, timeout=30)


def test_three_commands_give_a_token_that_opens_the_users_api(
    env: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    env.write(ADMIN_ROLES="READ_ONLY_ADMIN")

    first, second, third = run(STEP_1), run(STEP_2), run(STEP_3)

    assert [first.returncode, second.returncode, third.returncode] == [0, 0, 0]
    assert first.stdout == "///////////////// Keys generated and added to .env file.\n"
    client_id = env["CLIENT_ID"]
    assert client_id in sandbox.org.clients
    app, tail = second.stdout.split("\n\n///////////////// Setting CLIENT_ID in .env:\n\n")
    heading, _, body = app.partition("\n\n")
    assert heading == "///////////////// Okta Service app created:"
    assert json.loads(body)["client_id"] == client_id
    assert body == json.dumps(json.loads(body), indent=2)
    granted = "///////////////// Scopes granted:\n\nokta.users.read\nokta.users.manage\n"
    assert tail == f"{client_id}\n\n{granted}"
    heading, blank, token, end = third.stdout.split("\n")
    assert (heading, blank, end) == ("///////////////// Access Token:", "", "")
    assert token.count(".") == 2
    assert users_api(sandbox, token).status_code == 200


def test_a_changed_token_or_one_without_the_scope_does_not_open_the_users_api(
    env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    env_with_key.write(SCOPES="okta.groups.read")
    assert run(STEP_2).returncode == 0

    result = run(STEP_3, "-o", "token")

    token = result.stdout.removesuffix("\n")
    assert result.returncode == 0
    assert users_api(sandbox, token).status_code == 403
    head, claims, signature = token.split(".")
    turned = "B" if signature[9] == "A" else "A"
    changed = f"{head}.{claims}.{signature[:9]}{turned}{signature[10:]}"
    assert users_api(sandbox, changed).status_code == 401


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the scripts in it whose `.env` is nobody's; without the sandbox."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for script in (STEP_1, STEP_2, STEP_3):
        shutil.copy(ROOT / script, folder)
    shutil.copytree(ROOT / "pkj", folder / "pkj", ignore=shutil.ignore_patterns("sandbox"))
    return folder


def run_in_checkout(
    sandbox: Sandbox, script: Path, cwd: Path, *arguments: str, **settings: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=cwd,
        env=clean_environment(REQUESTS_CA_BUNDLE=sandbox.ca_file, **settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_steps_use_the_env_beside_the_scripts_from_any_working_directory(
    checkout: Path, tmp_path: Path, sandbox: Sandbox
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    decoy = elsewhere / ".env"
    decoy.write_text("OKTA_URL=https://decoy.invalid\nPRIVATE_KEY=decoy\n", encoding="utf-8")
    before = decoy.read_bytes()
    beside = EnvFile(checkout / ".env")

    first = run_in_checkout(sandbox, checkout / STEP_1, elsewhere)
    made = beside.values()
    settings = {"SCOPES": SCOPES, "ADMIN_ROLES": "READ_ONLY_ADMIN"}
    beside.write(OKTA_URL=sandbox.url, API_KEY=sandbox.org.api_key, **settings)
    second = run_in_checkout(sandbox, checkout / STEP_2, elsewhere)
    third = run_in_checkout(sandbox, Path("..", "checkout", STEP_3), elsewhere, "-o", "token")

    assert first.returncode == 0, first.stderr
    assert list(made) == ["PRIVATE_KEY", "PUBLIC_KEY", "MODULUS", "KEY_ID"]
    assert second.returncode == 0, second.stderr
    assert beside["CLIENT_ID"] in sandbox.org.clients
    assert third.returncode == 0, third.stderr
    assert users_api(sandbox, third.stdout.strip()).status_code == 200
    assert [path.name for path in elsewhere.iterdir()] == [".env"]
    assert decoy.read_bytes() == before


def test_step_3_needs_no_env_file_when_the_environment_holds_its_four_values(
    registered: EnvFile, checkout: Path, sandbox: Sandbox
) -> None:
    sandbox.org.role_needed = False
    names = ("OKTA_URL", "CLIENT_ID", "PRIVATE_KEY", "SCOPES")
    four = {name: registered[name] or "" for name in names}
    four["PRIVATE_KEY"] = four["PRIVATE_KEY"].replace("\n", "\\n")  # as CI systems hold it
    three = {name: value for name, value in four.items() if name != "SCOPES"}

    done = run_in_checkout(sandbox, checkout / STEP_3, checkout, "-o", "token", **four)
    refused = run_in_checkout(sandbox, checkout / STEP_3, checkout, "-o", "token", **three)

    assert (done.returncode, done.stderr) == (0, "")
    assert users_api(sandbox, done.stdout.strip()).status_code == 200
    assert not (checkout / ".env").exists()
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "SCOPES" in refused.stderr
    assert "OKTA_URL" not in refused.stderr


@pytest.mark.parametrize("script", [STEP_2, STEP_3])
def test_every_missing_setting_is_named_at_once_with_who_supplies_it(
    script: str, env: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    env.path.write_text("OKTA_URL=\nSCOPES=\nPRIVATE_KEY=\nMODULUS=\n", encoding="utf-8")
    before = env.path.read_bytes()

    result = run(script)

    assert (result.returncode, result.stdout) == (1, "")
    who = {
        STEP_2: {"OKTA_URL": "you", "API_KEY": "you", "SCOPES": "you", "MODULUS": STEP_1},
        STEP_3: {"OKTA_URL": "you", "SCOPES": "you", "PRIVATE_KEY": STEP_1, "CLIENT_ID": STEP_2},
    }
    lines = result.stderr.splitlines()
    for name, supplier in who[script].items():
        assert [line for line in lines if f"{name}:" in line or f"{name} or" in line], name
        assert [line for line in lines if name in line and supplier in line], name
    assert sandbox.connections == 0
    assert env.path.read_bytes() == before


@pytest.mark.parametrize("script", [STEP_2, STEP_3])
def test_an_env_file_that_was_named_and_is_not_there_is_an_error(
    script: str, run: Run, tmp_path: Path
) -> None:
    result = run(script, env_file=tmp_path / "other.env")

    assert (result.returncode, result.stdout) == (1, "")
    assert f"{tmp_path / 'other.env'} does not exist" in result.stderr
    assert not (tmp_path / "other.env").exists()
