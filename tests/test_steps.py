"""The three scripts in a row: what they print, where they look for `.env`, and what they cost."""

import cProfile
import json
import pstats
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import CREATE_APP, GENERATE_KEYS, GET_TOKEN, ROOT, SCOPES, EnvFile, Run
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from faults import Sandbox


def test_three_scripts_give_a_token_that_calls_the_api(
    env: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    env.write(ADMIN_ROLES="READ_ONLY_ADMIN")

    first, second, third = run(GENERATE_KEYS), run(CREATE_APP), run(GET_TOKEN)

    assert [first.returncode, second.returncode, third.returncode] == [0, 0, 0]
    assert first.stdout == "///////////////// Keys generated and added to .env file.\n"
    client_id = env["CLIENT_ID"]
    assert client_id in sandbox.org.clients
    lines = second.stdout.split("\n")
    body = json.loads("\n".join(lines[2:-9]))
    assert body["client_id"] == client_id
    assert lines == [
        *("///////////////// Okta Service app created:", ""),
        *(*json.dumps(body, indent=2).split("\n"), ""),
        *("///////////////// Setting CLIENT_ID in .env:", "", client_id, ""),
        *("///////////////// Scopes granted:", "", *SCOPES.split(), ""),
    ]
    assert re.fullmatch(r"///////////////// Access Token:\n\n\S+\.\S+\.\S+\n", third.stdout)
    assert run(GET_TOKEN, "--check").returncode == 0


def test_env_beside_the_scripts_is_used_and_not_needed(
    tmp_path: Path, process: Run, sandbox: Sandbox
) -> None:
    checkout, decoy = tmp_path / "checkout", tmp_path / "elsewhere" / ".env"
    shutil.copytree(ROOT / "pkj", checkout / "pkj", ignore=shutil.ignore_patterns("sandbox"))
    for script in (GENERATE_KEYS, CREATE_APP, GET_TOKEN):
        shutil.copy(ROOT / script, checkout)
    decoy.parent.mkdir()
    decoy.write_text("OKTA_URL=https://decoy.invalid\nPRIVATE_KEY=decoy\n", encoding="utf-8")
    before, beside = decoy.read_bytes(), EnvFile(checkout / ".env")
    there = {"cwd": decoy.parent, "env_file": None}

    first = process(checkout / GENERATE_KEYS, **there)
    written = list(beside.values())
    org = {"OKTA_URL": sandbox.url, "API_KEY": sandbox.org.api_key}
    beside.write(SCOPES=SCOPES, ADMIN_ROLES="READ_ONLY_ADMIN", **org)
    second = process(checkout / CREATE_APP, **there)
    third = process(decoy.parent / ".." / "checkout" / GET_TOKEN, "-o", "token", **there)
    values = beside.values()
    beside.path.unlink()
    fourth = process(checkout / GET_TOKEN, "-o", "token", env=values, **there)

    results = [first, second, third, fourth]
    assert [result.returncode for result in results] == [0] * 4, [r.stderr for r in results]
    assert written == ["PRIVATE_KEY", "PUBLIC_KEY", "MODULUS", "KEY_ID"]
    assert list(sandbox.org.clients) == [values["CLIENT_ID"]]
    assert [result.stdout.count(".") for result in results[2:]] == [2, 2]
    assert not beside.path.exists()
    assert [path.name for path in decoy.parent.iterdir()] == [".env"]
    assert decoy.read_bytes() == before


@pytest.mark.parametrize(
    ("script", "missing"),
    [
        (
            CREATE_APP,
            {"OKTA_URL": "you", "API_KEY": "you", "SCOPES": "you", "MODULUS": GENERATE_KEYS},
        ),
        (
            GET_TOKEN,
            {
                "OKTA_URL": "you",
                "SCOPES": "you",
                "PRIVATE_KEY": GENERATE_KEYS,
                "CLIENT_ID": CREATE_APP,
            },
        ),
    ],
)
def test_missing_settings_are_named_at_once_with_who_sets_them(
    script: str, missing: dict[str, str], env: EnvFile, run: Run, sandbox: Sandbox, tmp_path: Path
) -> None:
    env.path.write_text("OKTA_URL=\nSCOPES=\nPRIVATE_KEY=\nMODULUS=\n", encoding="utf-8")
    before = env.path.read_bytes()

    result = run(script)
    without_file = run(script, env_file=tmp_path / "other.env")

    assert (result.returncode, result.stdout) == (1, "")
    for name, supplier in missing.items():
        assert re.search(f"{name}.*{supplier}", result.stderr)
    assert env.path.read_bytes() == before
    assert (without_file.returncode, without_file.stdout) == (1, "")
    assert f"{tmp_path / 'other.env'} does not exist" in without_file.stderr
    assert not (tmp_path / "other.env").exists()
    assert sandbox.connections == 0


PACKAGES = {"cryptography", "dotenv", "jwt", "requests"}
NETWORK = {"requests", "urllib3", "http", "ssl", "jwt"}


@pytest.mark.parametrize(
    ("script", "option", "needed", "unneeded"),
    [
        pytest.param(GENERATE_KEYS, "--force", {"cryptography", "dotenv"}, NETWORK, id="generate"),
        pytest.param(CREATE_APP, "-v", {*PACKAGES, "http"} - {"jwt"}, {"jwt"}, id="new-app"),
        pytest.param(GET_TOKEN, "-v", {*PACKAGES, "http"}, set(), id="token"),
    ],
)
@pytest.mark.usefixtures("registered")
def test_script_imports_only_what_it_needs(
    script: str, option: str, needed: set[str], unneeded: set[str], process: Run, sandbox: Sandbox
) -> None:
    if script == CREATE_APP:
        sandbox.org.clients.clear()

    result = process(script, option, env={"PYTHONPROFILEIMPORTTIME": "1"})

    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("import time:")]
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
    assert needed <= imported
    assert imported.isdisjoint({*unneeded, "subprocess"})  # whose arguments anybody can read


@pytest.mark.parametrize(("scopes", "others"), [(2, 0), (10, 0), (2, 3)])
def test_first_run_makes_at_most_four_requests_beside_grants_and_pages(
    scopes: int, others: int, env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    env_with_key.write(SCOPES=" ".join(f"okta.sample{n}.read" for n in range(scopes)))
    sandbox.org.page_limit = 1
    for _ in range(others):
        sandbox.org.add_client("Other", [], application_type="web", jwks_uri="https://a.invalid/")

    result = run(CREATE_APP)

    assert result.returncode == 0, result.stderr
    app = sandbox.org.clients[env_with_key["CLIENT_ID"] or ""]
    assert len(app.grants) == scopes
    # A page for each of the others, the app, the org's own domain, the roles.
    assert others < len(sandbox.seen) <= scopes + max(1, others) + 3
    assert sandbox.connections == 1


@pytest.mark.parametrize(
    ("script", "dpop", "number"),
    [
        pytest.param(CREATE_APP, "", 5, id="app-status-keys-grants-roles"),
        pytest.param(GET_TOKEN, "", 1, id="bearer"),
        pytest.param(GET_TOKEN, "true", 2, id="dpop-with-a-nonce"),
        pytest.param(GET_TOKEN, "true", 3, id="dpop-that-the-settings-do-not-mention"),
    ],
)
def test_later_run_takes_few_requests_and_one_connection(
    script: str, dpop: str, number: int, env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    env_with_key.write(DPOP=dpop)
    assert run(CREATE_APP).returncode == 0
    env_with_key.write(DPOP="" if number == 3 else dpop)
    connections, sent = sandbox.connections, len(sandbox.seen)

    result = run(script)

    assert result.returncode == 0, result.stderr
    assert list(sandbox.org.clients) == [env_with_key["CLIENT_ID"]]
    assert len(sandbox.seen) - sent == number
    assert sandbox.connections - connections == 1


def parses(act: Callable[..., object], *arguments: object) -> int:
    """How many private keys `act` parses."""
    profile = cProfile.Profile()
    profile.runcall(act, *arguments)
    calls = pstats.Stats(profile).stats.items()  # type: ignore[attr-defined]  # name: numbers
    return sum(n for (_, _, name), (n, *_) in calls if "load_pem_private_key>" in name)


def test_private_key_is_parsed_once(env_with_key: EnvFile, run: Run, sandbox: Sandbox) -> None:
    pem = (env_with_key["PRIVATE_KEY"] or "").encode()

    assert [parses(run, script) for script in (CREATE_APP, CREATE_APP, GET_TOKEN)] == [1, 1, 1]
    assert sandbox.seen[-1].response_status == 200
    env_with_key.write(PRIVATE_KEY="")
    assert parses(run, CREATE_APP) == 0
    assert parses(lambda: [load_pem_private_key(pem, None) for _ in range(2)]) == 2
