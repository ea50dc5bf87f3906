"""A script that was forked cannot be told from one in a new interpreter."""

import signal
import sys
from pathlib import Path

import forked
import pytest
from conftest import STEP_1, STEP_2, STEP_3, EnvFile, Run

pytestmark = pytest.mark.skipif(not forked.possible(), reason="macOS, Windows: nothing is forked")

NEW_INTERPRETER = {"timeout": 60}
"""Anything for `subprocess.run` makes `run` take it."""


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
def test_streams_and_exit_code_are_the_same(
    code: int, told: tuple[str, ...], env_with_key: EnvFile, run: Run
) -> None:
    env_with_key.write(CLIENT_ID="" if STEP_2 in told else "0oaUnknown")

    results = [run(*told), run(*told, **NEW_INTERPRETER)]

    plain = [(r.returncode, r.stdout, without_times(r.stderr)) for r in results]
    assert plain[0] == plain[1]
    assert plain[0][0] == code
    assert results[0].stdout + results[0].stderr


def without_times(text: str) -> str:
    """Without milliseconds, request ids and error ids, which are another each time."""
    return " ".join(word for word in text.split() if not any(map(str.isdigit, word)))


def forked_lines(folder: Path, *lines: str, timeout: float = 60, **environ: str) -> tuple[int, str]:
    script = folder / "script.py"
    script.write_text("\n".join(lines), encoding="utf-8")
    told = [sys.executable, str(script), "an argument"]
    result = forked.run(told, environ, folder, timeout)
    return result.returncode, result.stdout


def test_it_has_the_arguments_the_folder_and_the_environment_it_was_given_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_TESTS", "1")
    shown = (
        "import os, sys; print(sys.argv[1:], os.getcwd(), dict(os.environ), 'pkj' in sys.modules)"
    )

    code, stdout = forked_lines(tmp_path, shown, GIVEN="2")

    assert (code, stdout) == (0, f"['an argument'] {tmp_path} {{'GIVEN': '2'}} False\n")


def test_a_signal_that_ends_it_is_its_exit_code(tmp_path: Path) -> None:
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"

    assert forked_lines(tmp_path, killed) == (-signal.SIGKILL, "")


def test_an_exception_is_a_failure(tmp_path: Path) -> None:
    assert forked_lines(tmp_path, "print('begun')", "1 / 0") == (1, "begun\n")


def test_it_is_ended_when_it_takes_too_long(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    sleeps = f"import os, time; print(os.getpid(), file=open({str(pid)!r}, 'w'), flush=True)"

    with pytest.raises(TimeoutError):
        forked_lines(tmp_path, sleeps, "time.sleep(60)", timeout=1)

    assert not Path("/proc", pid.read_text().strip()).exists()
