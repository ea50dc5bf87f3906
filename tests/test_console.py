"""What all scripts share: options, streams, interrupts, missing packages."""

import gc
import io
import os
import re
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from conftest import (
    CREATE_APP,
    GENERATE_KEYS,
    GET_TOKEN,
    ROOT,
    SCOPES,
    EnvFile,
    Run,
    clean_environment,
    command,
)
from faults import Fault, Sandbox, Turn
from scene import Scene

from pkj.console import Console
from pkj.errors import LocalError

FULL = "/dev/full"
NEEDS_FULL = pytest.mark.skipif(not os.path.exists(FULL), reason="there is no /dev/full here")
STEPS = (GENERATE_KEYS, CREATE_APP, GET_TOKEN)


def ended(told: list[Any], **more: Any) -> subprocess.CompletedProcess[str]:
    settings = {"capture_output": True, "text": True, "timeout": 60, "check": False, **more}
    return subprocess.run(told, env=clean_environment(PYTHONPATH=""), **settings)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        *((f"{CREATE_APP} --help", 0), (f"{CREATE_APP} --dry-run -v --name \u00fc", 0)),
        *((GENERATE_KEYS, 1), (f"{GET_TOKEN} --no-such-option", 2), (GET_TOKEN, 3)),
    ],
)
def test_run_in_this_process_is_like_a_process(
    line: str, code: int, env_with_key: EnvFile, run: Run, process: Run
) -> None:
    env_with_key.write(CLIENT_ID="" if CREATE_APP in line else "0oaUnknown")
    before = (sys.argv, os.getcwd(), dict(os.environ), gc.isenabled())

    results = [run(*line.split()), process(*line.split())]

    # Milliseconds, request IDs and error IDs differ each time.
    texts = [re.sub(r"\S*\d\S*", "", result.stderr) for result in results]
    here, there = [(r.returncode, r.stdout, text) for r, text in zip(results, texts, strict=True)]
    assert here == there
    assert here[0] == code
    assert here[1] + here[2]
    after = (sys.argv, os.getcwd(), dict(os.environ), gc.isenabled())
    assert after == before


@pytest.mark.parametrize("script", STEPS)
def test_without_packages_there_is_help_and_a_message(script: str, env_with_key: EnvFile) -> None:
    before, told = env_with_key.path.read_bytes(), [sys.executable, "-S", str(ROOT / script)]

    help_text, refused = ended([*told, "--help"]), ended([*told, "--env-file", env_with_key.path])

    assert (help_text.returncode, help_text.stderr) == (0, "")
    options, _, codes = help_text.stdout.partition("exit codes:")
    assert {"--help", "--env-file", "--version"} <= {*re.findall(r"--[a-z-]+", options)}
    with_okta = [] if script == GENERATE_KEYS else ["3", "4"]
    assert re.findall(r"\b\d+\b", codes) == ["0", "1", "2", *with_okta, "130"]
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "error: the package dotenv is not installed\n" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert env_with_key.path.read_bytes() == before


@pytest.mark.parametrize("missing", ["cryptography", "dotenv", "jwt", "requests"])
def test_missing_package_is_named(missing: str, registered: EnvFile, process: Run) -> None:
    folder = registered.path.parent
    (folder / f"{missing}.py").write_text(f"raise ModuleNotFoundError(name={missing!r})")

    result = process(GET_TOKEN, env={"PYTHONPATH": str(folder)})

    assert (result.returncode, result.stdout) == (1, "")
    assert f"error: the package {missing} is not installed\n" in result.stderr
    assert "pip install -r requirements.txt" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", ["serve", "demo"])
def test_mock_org_names_the_missing_package(name: str) -> None:
    result = ended([sys.executable, "-S", "-m", "pkj.sandbox", name], cwd=ROOT)

    assert (result.returncode, result.stdout) == (1, "")
    assert re.match(r"The package (jwt|requests|cryptography) is not installed: ", result.stderr)
    assert result.stderr.count("\n") == 1


def test_scripts_work_without_docstrings_and_asserts(
    env: EnvFile, process: Run, sandbox: Sandbox
) -> None:
    results = [
        process(script, *options, env={"PYTHONOPTIMIZE": "2"})
        for script in STEPS
        for options in (["--help"], [])
    ]

    assert [result.returncode for result in results] == [0] * 6, [r.stderr for r in results]
    assert list(sandbox.org.clients) == [env["CLIENT_ID"]]


NO_SECONDS = ("0", "-1", "nan", "inf", "3601", "3600.1", "abc", "")


@pytest.mark.parametrize(
    ("script", "argument", "said"),
    [
        *((GET_TOKEN, f"--timeout={value}", "argument --timeout") for value in NO_SECONDS),
        (CREATE_APP, "--timeout=0", "argument --timeout"),
        (CREATE_APP, "--timeou=5", "--timeou"),
        (GENERATE_KEYS, "--forc", "--forc"),
        (GENERATE_KEYS, "--bits=1024", "argument --bits"),
        (GENERATE_KEYS, "--timeout=5", "--timeout"),
        (GET_TOKEN, "-oyaml", "argument -o"),
        (GET_TOKEN, "--unknown", "--unknown"),
        (CREATE_APP, "argument", "argument"),
        (CREATE_APP, "--name=", "argument --name: must not be empty"),
        (CREATE_APP, "--name= \u00a0", "argument --name: must not be empty"),
        (CREATE_APP, "--name=a\nb", "argument --name: must not contain control"),
        (CREATE_APP, "--name=a\x9bb", "argument --name: must not contain control"),
        (CREATE_APP, "--name=a\udcff", "argument --name: must not contain control"),
        (CREATE_APP, "--name=rocket \U00010000", "argument --name: must not contain char"),
    ],
)
def test_wrong_usage_is_refused_before_anything_happens(
    script: str, argument: str, said: str, env: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    before = env.path.read_bytes()

    result = run(script, argument)

    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("usage: ")
    assert said in result.stderr
    assert sandbox.connections == 0
    assert env.path.read_bytes() == before


@pytest.mark.parametrize("seconds", ["0.5", "3600"])
def test_name_in_any_script_and_timeout_are_accepted(
    seconds: str, env_with_key: EnvFile, process: Run, sandbox: Sandbox
) -> None:
    name = "B\u00fcro f\u00fcr \u041a\u043b\u044e\u0447\u0438 \u65e5\u672c \uffff"

    # A terminal that cannot show the name shows escapes; Okta gets the name.
    options = ["--name", name, "--timeout", seconds]
    result = process(CREATE_APP, *options, env={"PYTHONIOENCODING": "ascii"})

    assert result.returncode == 0, result.stderr
    app = sandbox.org.clients[env_with_key["CLIENT_ID"] or ""]
    assert app.metadata["client_name"] == name
    assert result.stdout.isascii()
    assert r"B\xfcro f\xfcr \u041a" in result.stdout


INTERRUPTS = [
    # the script, the request during which it is interrupted, what it has printed, a second one
    (CREATE_APP, "POST /oauth2/v1/clients", "", ""),
    (CREATE_APP, "POST /api/v1/apps/", "Scopes granted:\n\n(unknown)\n", ""),
    (GET_TOKEN, "POST /oauth2/v1/token", "", ""),
    (GET_TOKEN, "POST /oauth2/v1/token", "", "before"),
    (GET_TOKEN, "POST /oauth2/v1/token", "", "after"),
]


@pytest.mark.parametrize(("script", "line", "printed", "second"), INTERRUPTS)
def test_interrupt_ends_the_wait_and_a_second_one_is_ignored(
    script: str, line: str, printed: str, second: str, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, moments = signal.signal, [second]

    def handle(number: int, handler: Any) -> Any:
        for moment in ("before", "after"):
            if moment == "after":
                real(number, handler)
            if moment in moments:
                moments.remove(moment)
                signal.raise_signal(signal.SIGINT)

    def wait(turn: Turn) -> None:
        monkeypatch.setattr(signal, "signal", handle)
        os.kill(os.getpid(), signal.SIGINT)
        turn.pause(None)

    scene.env.write(CLIENT_ID="0oaAny" if script == GET_TOKEN else "")
    scene.sandbox.faults.add(Fault(line, wait))

    try:
        result = scene.run(script)
    except KeyboardInterrupt:
        pytest.fail("not handled")

    assert (result.returncode, result.stderr.splitlines()[-1]) == (130, "interrupted")
    assert result.stdout.endswith(printed)
    assert bool(result.stdout) == bool(printed)
    assert not second or not moments


@pytest.mark.parametrize("full", [False, pytest.param(True, marks=NEEDS_FULL)])
def test_output_that_cannot_be_written_does_not_stop_the_work(
    full: bool, env: EnvFile, process: Run, sandbox: Sandbox
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    if full:
        os.close(writer)
        writer = os.open(FULL, os.O_WRONLY)

    results = [process(script, stdout=writer) for script in STEPS]

    os.close(writer)
    for result in results:
        assert result.returncode == full
        assert result.stderr.count("error: the output could not be written: No space left") == full
        assert not re.search("ipe|Traceback|Exception", result.stderr)
    (client,) = sandbox.org.clients.values()
    assert env["CLIENT_ID"] == client.id
    assert list(client.grants) == SCOPES.split()


@pytest.mark.skipif(os.name != "posix", reason="closes streams as a POSIX shell does")
@pytest.mark.parametrize("closing", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_streams_do_no_harm(closing: str, env: EnvFile, run: Run, tmp_path: Path) -> None:
    env.path.chmod(0o644)  # for a line on stderr
    told = command(GENERATE_KEYS, "--env-file", env.path)

    result = ended(["/bin/sh", "-c", f'exec "$@" {closing}', "sh", *told], stdin=subprocess.DEVNULL)

    done = "///////////////// Keys generated and added to .env file.\n"
    assert (result.returncode, result.stdout) == (0, "" if "1" in closing else done)
    assert ("0644" in result.stderr) == ("2" not in closing)
    assert (env["PRIVATE_KEY"] or "").startswith("-----BEGIN PRIVATE KEY-----\n")
    assert env.path.read_text(encoding="utf-8").startswith("OKTA_URL=")
    assert [path.name for path in tmp_path.iterdir()] == [".env"]
    assert run(GENERATE_KEYS).returncode == 1  # the key in it is found


@pytest.mark.parametrize("typed", [b"0oa2\n", b"\n", b"", b"\xff\xfe\n"])
def test_only_the_client_id_confirms(typed: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    for line in (b"0oa1 \n", typed):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(line), "utf-8"))
        with pytest.raises(LocalError, match="does not match") if line is typed else nullcontext():
            Console().confirm("this deletes it", "0oa1")
