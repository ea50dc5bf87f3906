"""What a person would wait for, counted: imports, requests, connections, parses. Never time."""

import base64
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import STEP_1, STEP_2, STEP_3, EnvFile, Run, clean_environment
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from faults import Fault, Sandbox, Turn

from pkj import keys

PACKAGES = {"cryptography", "dotenv", "jwt", "requests"}
REPORT_IMPORTS = {"PYTHONPROFILEIMPORTTIME": "1"}

NOTE_PARSES = """
import os, sys, threading

def note(frame, event, called):
    if event == "c_call" and called.__name__ == "load_pem_private_key":
        with open(os.environ["PARSES"], "a") as file:
            file.write("parsed\\n")

sys.setprofile(note)
threading.setprofile(note)
"""
"""A sitecustomize.py: Python runs it first in each process that has it on PYTHONPATH."""


def imported(stderr: str) -> set[str]:
    """The modules that a process with REPORT_IMPORTS imported."""
    lines = [line for line in stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


def packages(stderr: str) -> set[str]:
    return {name.partition(".")[0] for name in imported(stderr)}


def test_step_1_imports_nothing_of_the_network(env: EnvFile, process: Run) -> None:
    result = process(STEP_1, env=REPORT_IMPORTS)

    assert result.returncode == 0
    assert env["PRIVATE_KEY"]
    assert {"cryptography", "dotenv"} <= packages(result.stderr)
    assert packages(result.stderr).isdisjoint({"requests", "urllib3", "http", "ssl", "jwt"})


def test_step_2_for_a_new_app_signs_nothing_and_does_not_import_jwt(
    env_with_key: EnvFile, process: Run
) -> None:
    result = process(STEP_2, env=REPORT_IMPORTS)

    assert result.returncode == 0
    assert env_with_key["CLIENT_ID"]
    assert {"cryptography", "dotenv", "requests", "http"} <= packages(result.stderr)
    assert "jwt" not in packages(result.stderr)


def test_the_same_look_finds_all_four_packages_in_step_3(registered: EnvFile, process: Run) -> None:
    del registered
    result = process(STEP_3, env=REPORT_IMPORTS)

    assert result.returncode == 0
    assert {*PACKAGES, "http"} <= packages(result.stderr)


@pytest.mark.parametrize("script", [STEP_1, STEP_2, STEP_3])
def test_help_imports_none_of_the_four_packages(script: str, process: Run) -> None:
    result = process(script, "--help", env=REPORT_IMPORTS)

    assert result.returncode == 0
    assert "argparse" in imported(result.stderr)
    assert packages(result.stderr).isdisjoint(PACKAGES)


@pytest.mark.parametrize("number", [2, 10])
def test_step_2_makes_at_most_four_requests_beside_the_grants(
    number: int, env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    env_with_key.write(SCOPES=" ".join(f"okta.sample{n}.read" for n in range(number)))

    result = run(STEP_2)

    assert result.returncode == 0, result.stderr
    (app,) = sandbox.org.clients.values()
    assert len(app.grants) == number
    assert len(sandbox.seen) <= number + 4  # the search, the app, the org's own domain, the roles
    assert sandbox.connections == 1


def test_a_search_of_more_pages_takes_more_requests_and_no_more_connections(
    env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    for name in ("one", "another", "a third"):
        sandbox.org.add_client(name, [], application_type="web", jwks_uri="https://a.invalid/")
    sandbox.org.page_limit = 1

    result = run(STEP_2)

    assert result.returncode == 0, result.stderr
    assert env_with_key["CLIENT_ID"] in sandbox.org.clients
    assert len(sandbox.seen) > 2 + 3
    assert sandbox.connections == 1


def closing(turn: Turn) -> None:
    answer = turn.work()
    answer.headers["connection"] = "close"
    turn.send(answer)
    turn.close()


def test_a_server_that_keeps_no_connection_open_is_seen_by_the_count(
    env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    del env_with_key
    sandbox.faults.add(Fault("POST", closing, times=None))

    result = run(STEP_2)

    assert result.returncode == 0, result.stderr
    assert sandbox.connections == 4  # the search and the app, a grant, a grant, the roles


def test_a_second_run_of_step_2_has_one_connection(
    registered: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    before, sent = sandbox.connections, len(sandbox.seen)

    result = run(STEP_2)

    assert result.returncode == 0, result.stderr
    assert list(sandbox.org.clients) == [registered["CLIENT_ID"]]
    assert len(sandbox.seen) - sent <= 5  # the app, its status, its keys, grants and roles
    assert sandbox.connections - before == 1


@pytest.mark.parametrize(
    ("dpop", "number"),
    [
        pytest.param("", 1, id="bearer"),
        pytest.param("true", 2, id="dpop-with-a-nonce"),
    ],
)
def test_step_3_asks_once_or_twice_on_one_connection(
    dpop: str, number: int, env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    env_with_key.write(DPOP=dpop)
    assert run(STEP_2).returncode == 0
    before, sent = sandbox.connections, len(sandbox.seen)

    result = run(STEP_3)

    assert result.returncode == 0, result.stderr
    assert len(sandbox.seen) - sent == number
    assert sandbox.connections - before == 1


def test_step_3_that_has_to_find_out_about_dpop_asks_three_times(
    env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    env_with_key.write(DPOP="true")
    assert run(STEP_2).returncode == 0
    env_with_key.write(DPOP="")
    before, sent = sandbox.connections, len(sandbox.seen)

    result = run(STEP_3)

    assert result.returncode == 0, result.stderr
    assert len(sandbox.seen) - sent == 3
    assert sandbox.connections - before == 1


class Parses:
    """`environ` for processes whose calls of load_pem_private_key are to be counted."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(NOTE_PARSES, encoding="utf-8")
        self._file = folder / "parses"
        self.environ = {"PYTHONPATH": str(folder), "PARSES": str(self._file)}

    def taken(self) -> int:
        """How many there were since the last look."""
        if not self._file.exists():
            return 0
        number = len(self._file.read_text(encoding="utf-8").splitlines())
        self._file.unlink()
        return number


@pytest.fixture
def parses(tmp_path: Path) -> Parses:
    return Parses(tmp_path / "parses")


def test_steps_2_and_3_parse_the_private_key_once(
    env_with_key: EnvFile, process: Run, parses: Parses
) -> None:
    counts = []
    for script in (STEP_2, STEP_2, STEP_3):
        result = process(script, env=parses.environ)
        assert result.returncode == 0, result.stderr
        counts.append(parses.taken())

    assert counts == [1, 1, 1]
    assert env_with_key["CLIENT_ID"]


def test_what_counts_the_parses_sees_none_without_a_private_key_and_each_of_two(
    env_with_key: EnvFile, process: Run, parses: Parses, key: rsa.RSAPrivateKey
) -> None:
    env_with_key.write(PRIVATE_KEY="")
    twice = (
        "import sys\n"
        "from cryptography.hazmat.primitives.serialization import load_pem_private_key as load\n"
        "pem = sys.argv[1].encode()\n"
        "load(pem, None), load(data=pem, password=None)\n"
    )

    result = process(STEP_2, env=parses.environ)
    none = parses.taken()
    command = [sys.executable, "-c", twice, keys.private_pem(key)]
    subprocess.run(command, env=clean_environment(**parses.environ), timeout=60, check=True)

    assert result.returncode == 0, result.stderr
    assert (none, parses.taken()) == (0, 2)


def damaged(key: rsa.RSAPrivateKey, parts: str, bit: int) -> str:
    """The key as PEM text, with one bit of each of these numbers turned (0 is the lowest)."""
    numbers = key.private_numbers()
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    der = key.private_bytes(serialization.Encoding.DER, form, plain)
    for part in parts.split():
        number = numbers.public_numbers.n if part == "n" else int(getattr(numbers, part))
        octets = number.to_bytes((number.bit_length() + 7) // 8, "big")
        assert der.count(octets) == 1
        der = der.replace(octets, (number ^ 1 << bit).to_bytes(len(octets), "big"))
    text = base64.encodebytes(der).decode()
    return f"-----BEGIN PRIVATE KEY-----\n{text}-----END PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("parts", "bit"),
    [
        *(pytest.param(part, 0, id=f"{part}-made-even") for part in ("p", "q")),
        *(pytest.param(part, 500, id=part) for part in ("p", "q", "d", "dmp1", "dmq1", "iqmp")),
    ],
)
def test_step_3_with_a_damaged_key_gets_a_token_or_sends_nothing(
    parts: str, bit: int, registered: EnvFile, run: Run, sandbox: Sandbox, key: rsa.RSAPrivateKey
) -> None:
    registered.write(PRIVATE_KEY=damaged(key, parts, bit))
    sent = len(sandbox.seen)

    result = run(STEP_3, "-o", "token")

    if result.returncode == 0:  # OpenSSL found the fault, and signed without that number
        assert result.stdout.count(".") == 2
        assert sandbox.seen[-1].answer_status == 200
    else:
        refused_here(result, sandbox, connections=1, sent=sent)


@pytest.mark.parametrize(
    ("parts", "bit"),
    [
        pytest.param("n", 500, id="n"),
        pytest.param("n", 0, id="n-made-even"),
        pytest.param("q d", 500, id="q-and-d"),
        pytest.param("iqmp d", 1, id="iqmp-and-d"),
    ],
)
def test_step_3_sends_no_signature_that_is_wrong(
    parts: str, bit: int, registered: EnvFile, run: Run, sandbox: Sandbox, key: rsa.RSAPrivateKey
) -> None:
    registered.write(PRIVATE_KEY=damaged(key, parts, bit))
    sent = len(sandbox.seen)

    result = run(STEP_3, "-o", "token")

    refused_here(result, sandbox, connections=1, sent=sent)


@pytest.mark.parametrize("part", ["p", "q", "dmp1", "iqmp"])
def test_step_2_with_a_damaged_key_refuses_it_or_makes_an_app_that_gets_a_token(
    part: str, env_with_key: EnvFile, run: Run, sandbox: Sandbox, key: rsa.RSAPrivateKey
) -> None:
    env_with_key.write(PRIVATE_KEY=damaged(key, part, 500), MODULUS="", PUBLIC_KEY="")

    result = run(STEP_2)

    if result.returncode == 0:
        assert run(STEP_3).returncode == 0
        assert sandbox.seen[-1].answer_status == 200
    else:
        refused_here(result, sandbox, connections=0, sent=0)


@pytest.mark.parametrize("parts", ["n", "q d", "iqmp d"])
def test_step_2_registers_no_key_that_cannot_sign(
    parts: str, env_with_key: EnvFile, run: Run, sandbox: Sandbox, key: rsa.RSAPrivateKey
) -> None:
    env_with_key.write(PRIVATE_KEY=damaged(key, parts, 1), MODULUS="", PUBLIC_KEY="")

    result = run(STEP_2)

    refused_here(result, sandbox, connections=0, sent=0)


def test_the_same_key_without_damage_is_good_for_both_steps(
    env_with_key: EnvFile, run: Run, sandbox: Sandbox, key: rsa.RSAPrivateKey
) -> None:
    env_with_key.write(PRIVATE_KEY=damaged(key, "", 0), MODULUS="", PUBLIC_KEY="")

    results = [run(STEP_2), run(STEP_3)]

    assert [result.returncode for result in results] == [0, 0]
    assert sandbox.seen[-1].answer_status == 200


def refused_here(
    result: subprocess.CompletedProcess[str], sandbox: Sandbox, *, connections: int, sent: int
) -> None:
    """The step ended with a word on PRIVATE_KEY, and the sandbox heard nothing of it."""
    assert "Traceback" not in result.stderr
    assert (result.returncode, result.stdout) == (1, "")
    assert "PRIVATE_KEY" in result.stderr
    assert (sandbox.connections, len(sandbox.seen)) == (connections, sent)
