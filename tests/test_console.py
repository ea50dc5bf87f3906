"""What every script has in common: options, streams, interrupts, exit codes."""

import gc
import io
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from conftest import (
    ROOT,
    SCOPES,
    STEP_1,
    STEP_2,
    STEP_3,
    EnvFile,
    Run,
    clean_environment,
    command,
)
from faults import Fault, Sandbox, hang, patch

from pkj.console import Console
from pkj.sandbox.exchange import Response

FULL = Path("/dev/full")
OPTIONS = {
    STEP_1: ("--help", "--bits", "--force", "--env-file"),
    STEP_2: ("--help", "--name", "--timeout", "--env-file"),
    STEP_3: ("--help", "-o", "--timeout", "--env-file"),
}
ALL_STEPS = pytest.mark.parametrize("script", [STEP_1, STEP_2, STEP_3])


def begun(script: str, env: EnvFile, sandbox: Sandbox) -> subprocess.Popen[str]:
    """The script as a running process whose output is caught."""
    return subprocess.Popen(
        command(script, "--env-file", env.path),
        env=clean_environment(REQUESTS_CA_BUNDLE=sandbox.ca_file),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("code", "told"),
    [
        pytest.param(0, (STEP_2, "--help"), id="help"),
        pytest.param(0, (STEP_2, "--dry-run", "-v", "--name", "\u00fc"), id="done"),
        pytest.param(1, (STEP_1,), id="wrong-here"),
        pytest.param(2, (STEP_3, "--no-such-option"), id="usage"),
        pytest.param(3, (STEP_3,), id="refused"),
    ],
)
def test_a_run_in_this_process_cannot_be_told_from_a_process_and_leaves_nothing(
    code: int, told: tuple[str, ...], env_with_key: EnvFile, run: Run, process: Run
) -> None:
    env_with_key.write(CLIENT_ID="" if STEP_2 in told else "0oaUnknown")
    before = left_by_a_run()

    results = [run(*told), process(*told)]

    plain = [(r.returncode, r.stdout, without_numbers(r.stderr)) for r in results]
    assert plain[0] == plain[1]
    assert plain[0][0] == code
    assert results[0].stdout + results[0].stderr
    assert left_by_a_run() == before


def left_by_a_run() -> tuple[object, ...]:
    streams = (sys.stdin, sys.stdout, sys.stderr, sys.argv, sys.modules["__main__"])
    state = (os.getcwd(), gc.isenabled(), gc.get_freeze_count())
    return *streams, *state, dict(os.environ), signal.getsignal(signal.SIGINT), warnings.filters[:]


def without_numbers(text: str) -> str:
    """Without milliseconds, request ids and error ids, which are another each time."""
    return " ".join(word for word in text.split() if not any(map(str.isdigit, word)))


@ALL_STEPS
def test_help_names_every_option_and_every_exit_code(script: str, tmp_path: Path) -> None:
    # Without any package: whoever has not installed them yet may still read it.
    result = without_packages(script, "--help", packages=tmp_path)

    assert (result.returncode, result.stderr) == (0, "")
    for option in OPTIONS[script]:
        assert f"  {option}" in result.stdout or f", {option}" in result.stdout, option
    codes = " ".join(result.stdout.partition("exit codes:")[2].split())
    for code in ("0 done", "1 ", "2 usage", "130 interrupted"):
        assert code in codes
    for code in ("3 Okta refused", "4 no usable response"):
        assert (code in codes) == (script != STEP_1)
    assert ".env" in result.stdout


@pytest.mark.parametrize(
    "line",
    [
        *(f"{STEP_3} --timeout={value}" for value in ("0", "-1", "nan", "inf", "3601", "abc", "")),
        f"{STEP_2} --timeout=0",
        f"{STEP_2} --timeou=5",
        f"{STEP_1} --forc",
        f"{STEP_1} --bits=1024",
        f"{STEP_1} --timeout=5",
        f"{STEP_3} -o=yaml",
        f"{STEP_3} --unknown",
        f"{STEP_2} argument",
    ],
)
def test_what_is_no_option_is_refused_before_anything_happens(
    line: str, env: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    before = env.path.read_bytes()

    result = run(*line.split(" "))

    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("usage: ")
    assert "Traceback" not in result.stderr
    assert sandbox.connections == 0
    assert env.path.read_bytes() == before


@pytest.fixture
def heeding_interrupts() -> Iterator[None]:
    """A process that was started with interrupts ignored (`&`, nohup) would pass that on."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("script", "request_line", "printed"),
    [
        pytest.param(STEP_2, "POST /oauth2/v1/clients", "", id="registering"),
        pytest.param(STEP_2, "POST /api/v1/apps/", "Scopes granted:\n\n", id="granting"),
        pytest.param(STEP_3, "POST /oauth2/v1/token", "", id="asking-for-a-token"),
    ],
)
@pytest.mark.usefixtures("heeding_interrupts")
def test_an_interrupt_ends_the_wait_with_one_word(
    script: str, request_line: str, printed: str, env_with_key: EnvFile, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault(request_line, hang(after_work=False), times=None))
    env_with_key.write(CLIENT_ID="0oaAny" if script == STEP_3 else "")

    with begun(script, env_with_key, sandbox) as process:
        assert sandbox.faults.hanging.wait(30)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=10)

    assert (process.returncode, stderr) == (130, "interrupted\n")
    assert stdout.endswith(printed)
    assert bool(stdout) == bool(printed)


INTERRUPTED_TWICE = """
import os, runpy, signal, sys

real, places = signal.signal, sys.argv.pop(1).split()

def interrupt(place):
    if place in places:
        places.remove(place)
        signal.raise_signal(signal.SIGINT)

def watched(number, handler):
    interrupt("before")
    before = real(number, handler)
    interrupt("after")
    return before

def reading(event, arguments):
    if event == "open" and str(arguments[0]).endswith(".env"):
        if "handling" in places:
            signal.signal = watched
        interrupt("reading")

sys.addaudithook(reading)
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("places", ["reading", "reading handling before", "reading handling after"])
def test_a_second_interrupt_does_not_disturb_the_first(places: str, env: EnvFile) -> None:
    told = [sys.executable, "-c", INTERRUPTED_TWICE, places, str(ROOT / STEP_1)]
    result = subprocess.run(
        [*told, "--env-file", env.path], capture_output=True, text=True, timeout=60, check=False
    )

    assert (result.returncode, result.stderr) == (130, "interrupted\n")


def test_a_pipe_that_closes_early_does_not_stop_the_work(
    env_with_key: EnvFile, sandbox: Sandbox
) -> None:
    closed = threading.Event()

    def wait_for_the_reader(answer: Response) -> Response:
        assert closed.wait(30)
        return answer

    sandbox.faults.add(Fault("POST /api/v1/apps/", patch(wait_for_the_reader)))

    with begun(STEP_2, env_with_key, sandbox) as process:
        stdout: IO[str] | None = process.stdout
        assert stdout is not None
        first_line = stdout.readline()
        stdout.close()
        closed.set()
        assert process.stderr is not None
        stderr = process.stderr.read()

    assert first_line == "///////////////// Okta Service app created:\n"
    assert process.returncode == 0
    assert "ipe" not in stderr
    assert "Traceback" not in stderr
    (client,) = sandbox.org.clients.values()
    assert env_with_key["CLIENT_ID"] == client.id
    assert list(client.grants) == SCOPES.split()


@pytest.mark.parametrize("script", [STEP_1, STEP_3])
def test_a_pipe_that_nobody_reads_is_no_word_worth(
    script: str, registered: EnvFile, process: Run
) -> None:
    if script == STEP_1:
        registered.write(PRIVATE_KEY="", MODULUS="")
    reader, writer = os.pipe()
    os.close(reader)

    result = process(script, stdout=writer)
    os.close(writer)

    assert result.returncode == 0
    assert "ipe" not in result.stderr
    assert "Traceback" not in result.stderr
    assert registered["PRIVATE_KEY"]


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
def test_output_that_finds_no_room_is_an_error_after_the_work(
    env: EnvFile, process: Run, sandbox: Sandbox
) -> None:
    with FULL.open("wb") as full:
        results = [process(script, stdout=full) for script in (STEP_1, STEP_2, STEP_3)]

    for result in results:
        assert result.returncode == 1
        assert "error: the output could not be written: No space left" in result.stderr
        assert result.stderr.count("error:") == 1
        assert "Traceback" not in result.stderr
        assert "Exception" not in result.stderr
    (client,) = sandbox.org.clients.values()
    assert env["CLIENT_ID"] == client.id
    assert list(client.grants) == SCOPES.split()


@pytest.mark.skipif(os.name != "posix", reason="closes streams as a POSIX shell does")
@pytest.mark.parametrize(
    "closing", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"], ids=["stdin", "stdout", "stderr", "all"]
)
def test_closed_streams_do_no_harm(closing: str, env: EnvFile, run: Run, tmp_path: Path) -> None:
    env.path.chmod(0o644)  # there is something to say on stderr
    result = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {closing}', "sh", *command(STEP_1, "--env-file", env.path)],
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    done = "///////////////// Keys generated and added to .env file.\n"
    assert (result.returncode, result.stdout) == (0, "" if "1" in closing else done)
    assert ("0644" in result.stderr) == ("2" not in closing)
    assert (env["PRIVATE_KEY"] or "").startswith("-----BEGIN PRIVATE KEY-----\n")
    assert env.path.read_text(encoding="utf-8").startswith("OKTA_URL=")
    assert [path.name for path in tmp_path.iterdir()] == [".env"]
    assert run(STEP_1).returncode == 1  # the file is whole: the key in it is found


def test_a_name_that_the_terminal_cannot_show_reaches_okta_as_it_is(
    env_with_key: EnvFile, process: Run, sandbox: Sandbox
) -> None:
    name = "Büro für Ключи"

    result = process(STEP_2, "--name", name, env={"PYTHONIOENCODING": "ascii"})

    assert result.returncode == 0, result.stderr
    client = sandbox.org.clients[env_with_key["CLIENT_ID"] or ""]
    assert client.metadata["client_name"] == name
    assert result.stdout.isascii()
    assert r"B\xfcro f\xfcr \u041a" in result.stdout


def without_packages(
    script: str, *arguments: str, packages: Path
) -> subprocess.CompletedProcess[str]:
    """Run with a Python that has no packages but those in the folder `packages`."""
    return subprocess.run(
        [sys.executable, "-S", str(ROOT / script), *arguments],
        env=clean_environment(PYTHONPATH=str(packages)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("missing", ["cryptography", "dotenv", "jwt", "requests"])
def test_a_package_that_is_not_installed_is_named(
    missing: str, env_with_key: EnvFile, tmp_path: Path
) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    for installed in Path(pytest.__file__).parent.parent.iterdir():
        if installed.name != missing:
            (packages / installed.name).symlink_to(installed)
    env_with_key.write(CLIENT_ID="0oaAny")

    result = without_packages(STEP_3, "--env-file", str(env_with_key.path), packages=packages)

    assert (result.returncode, result.stdout) == (1, "")
    assert f"error: the package {missing} is not installed\n" in result.stderr
    assert "pip install -r requirements.txt" in result.stderr
    assert "Traceback" not in result.stderr


@ALL_STEPS
def test_no_package_at_all_is_one_sentence(
    script: str, env_with_key: EnvFile, tmp_path: Path
) -> None:
    before = env_with_key.path.read_bytes()

    result = without_packages(
        script, "--env-file", str(env_with_key.path), packages=tmp_path / "none"
    )

    assert (result.returncode, result.stdout) == (1, "")
    assert "the package dotenv is not installed" in result.stderr
    assert "Traceback" not in result.stderr
    assert env_with_key.path.read_bytes() == before


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_the_pretend_org_names_the_package_that_is_not_installed(
    command: str, tmp_path: Path
) -> None:
    result = subprocess.run(
        [sys.executable, "-S", "-m", "pkj.sandbox", command],
        env=clean_environment(PYTHONPATH=str(tmp_path)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (result.returncode, result.stdout) == (1, "")
    assert re.match(r"The package (jwt|requests|cryptography) is not installed: ", result.stderr)
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(("typed", "read"), [(b"0oa1 \n", "0oa1"), (b"\xff\xfe\n", "")])
def test_keys_that_are_no_text_are_no_answer(
    typed: bytes, read: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed), "utf-8"))

    assert Console().ask("which?") == read
