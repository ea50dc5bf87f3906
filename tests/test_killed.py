"""Steps 1 and 2 killed or interrupted in the middle of writing: every `.env` stays whole.

The point is the n-th line that runs inside the module that writes the file, or the n-th
event that Python's auditing knows: that is deterministic, and needs nothing of the script.
"""

import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable

import pytest
from conftest import ROOT, STEP_1, STEP_2, STEP_3, EnvFile, Run, clean_environment
from cryptography.hazmat.primitives.asymmetric import rsa
from faults import Sandbox

from pkj import keys

RUNNER = """
import os, runpy, signal, sys

kind, place, number, name, script = sys.argv[1:6]
sys.argv = sys.argv[5:]
sys.path.insert(0, os.path.dirname(script))
count = 0

def step():
    global count
    count += 1
    if count == int(number):
        signal.raise_signal(signal.Signals[name])  # here and now, unlike os.kill

def local(frame, event, argument):
    if event == "line":
        step()
    return local

def trace(frame, event, argument):
    # CO_OPTIMIZED: lines of functions, not those of a module that is being imported.
    ours = frame.f_code.co_filename.endswith(place) and frame.f_code.co_flags & 1
    return local if ours else None

def hook(event, arguments):
    if event in place.split("+"):
        step()

if kind == "line":
    sys.settrace(trace)
else:
    sys.addaudithook(hook)
try:
    runpy.run_path(script, run_name="__main__")
finally:
    sys.settrace(None)
    if number == "0":
        sys.stderr.write(f"counted {count}")
"""
LINES = ("line", "env_file.py")
EVENTS = ("event", "open+os.rename+os.remove+os.chmod+os.chown+socket.connect+fcntl.flock")
SECRET = "PRIVATE_KEY"  # noqa: S105 - a name


class Scene:
    """A step about to be killed, in a folder that git looks at."""

    def __init__(self, env: EnvFile, sandbox: Sandbox, script: str, *arguments: str) -> None:
        self.env, self.sandbox = env, sandbox
        self.full = [str(ROOT / script), "--env-file", str(env.path), *arguments]
        self.folder = env.path.parent
        self.before = env.path.read_bytes()
        shutil.copy(ROOT / ".gitignore", self.folder)
        self.git("init", "-q")

    def git(self, *arguments: str) -> str:
        told = ["git", "-C", str(self.folder), *arguments]  # as whoever works here has it
        return subprocess.run(told, capture_output=True, text=True, check=True).stdout

    def killed_at(
        self, kind: str, place: str, number: int, name: str
    ) -> subprocess.CompletedProcess[str]:
        told = [sys.executable, "-c", RUNNER, kind, place, str(number), name, *self.full]
        trusted = clean_environment(REQUESTS_CA_BUNDLE=str(self.sandbox.ca_file))
        return subprocess.run(
            told, env=trusted, capture_output=True, text=True, timeout=60, check=False
        )

    def again(self) -> None:
        """Everything as before the kill."""
        for path in self.folder.glob(".env*"):
            path.unlink()
        self.env.path.write_bytes(self.before)
        self.env.path.chmod(0o600)
        self.sandbox.org.clients.clear()

    def remains(self) -> object:
        """What tells one kill from another to whoever runs the step next."""
        held = {name: bool(value) for name, value in self.env.values().items()}
        changed = self.env.path.read_bytes() != self.before
        clients = self.sandbox.org.clients.values()
        beside = sorted(path.name for path in self.folder.iterdir())
        return changed, held, beside, [(len(app.keys), list(app.grants)) for app in clients]

    def faults(self, written: tuple[str, ...]) -> list[str]:
        """What is wrong with the folder. A run that got so far has written all of `written`."""
        found = []
        now = self.env.path.read_bytes()
        if now != self.before:
            found += lacking(EnvFile(self.env.path).values(), written)
            found += forgotten(self.before, now, written)
        found += [
            f"{path.name} has mode {mode:o}"
            for path in self.folder.glob(".env*")
            if (mode := stat.S_IMODE(path.stat().st_mode)) != 0o600
        ]
        shown = self.git("status", "--porcelain", "--untracked-files=all")
        return found + [line for line in shown.splitlines() if line != "?? .gitignore"]


def lacking(values: dict[str, str | None], written: tuple[str, ...]) -> list[str]:
    """What a completely written file must have: each value, and of one and the same key."""
    empty = [name for name in written if not values.get(name)]
    if empty:
        return [f"{name} is empty" for name in empty]
    modulus = keys.modulus_of(keys.load_private(values[SECRET] or ""))
    right = {
        "MODULUS": keys.to_base64url(modulus),
        "PUBLIC_KEY": keys.public_pem(modulus),
        "KEY_ID": keys.thumbprint(modulus),
    }
    return [f"{n} is of another key" for n in right if values.get(n) and values[n] != right[n]]


def forgotten(before: bytes, after: bytes, written: tuple[str, ...]) -> list[str]:
    """Lines of the file before that are gone, but for those of what was written."""
    mine = tuple(f"{name}=".encode() for name in written)
    first_lines = re.findall(rb"^[A-Z_]+=.*$", before, re.MULTILINE)
    return [
        line.decode()
        for line in first_lines
        if not line.startswith(mine) and line not in after.split(b"\n")
    ]


OF_A_KEY = ("PRIVATE_KEY", "PUBLIC_KEY", "MODULUS", "KEY_ID")


@pytest.fixture
def step_1(env: EnvFile, sandbox: Sandbox) -> Scene:
    return Scene(env, sandbox, STEP_1)


@pytest.fixture
def step_1_force(env_with_key: EnvFile, sandbox: Sandbox) -> Scene:
    return Scene(env_with_key, sandbox, STEP_1, "--force")


@pytest.fixture
def step_2(env: EnvFile, sandbox: Sandbox, key: rsa.RSAPrivateKey) -> Scene:
    """With nothing but a private key of one's own: it writes twice."""
    env.write(PRIVATE_KEY=keys.of_new_key(key)[SECRET])
    return Scene(env, sandbox, STEP_2)


SCENES = {
    "step_1": OF_A_KEY,
    "step_1_force": OF_A_KEY,
    "step_2": (),
}
"""What a step writes in one go. Step 2 writes CLIENT_ID first, the rest later."""


def counted(scene: Scene, kind: str, place: str) -> int:
    """How many points there are in a run that nothing happens to."""
    result = scene.killed_at(kind, place, 0, "SIGKILL")
    scene.again()
    assert result.returncode == 0, result.stderr
    return int(result.stderr.rpartition("counted ")[2])


def check_again(scene: Scene, run: Run, script: str, where: str) -> None:
    """Whatever the kill left, the next run completes."""
    again = run(script, *scene.full[3:])
    if script == STEP_1 and where == "step_1" and scene.env.path.read_bytes() != scene.before:
        assert again.returncode in (0, 1), again.stderr  # 1: the key is there already
    else:
        assert again.returncode == 0, again.stderr
    assert scene.faults(SCENES[where]) == []
    assert not list(scene.folder.glob(".env.pkj-*"))
    assert scene.env[SECRET]
    if script == STEP_2:
        assert list(scene.sandbox.org.clients) == [scene.env["CLIENT_ID"]]


def at_points(
    scene: Scene,
    run: Run,
    where: str,
    kind_and_place: tuple[str, str],
    choose: Callable[[int], range],
    name: str = "SIGKILL",
) -> None:
    script = STEP_2 if where == "step_2" else STEP_1
    total = counted(scene, *kind_and_place)
    assert total >= 5
    left: list[object] = []
    for number in choose(total):
        result = scene.killed_at(*kind_and_place, number, name)
        if name == "SIGKILL":
            assert result.returncode == -signal.SIGKILL, (number, result.stderr)
        else:
            told = (result.returncode, result.stderr.splitlines()[-1:])
            assert told == (130, ["interrupted"]), (number, result.stderr)
            assert "Traceback" not in result.stderr, (number, result.stderr)
        assert scene.faults(SCENES[where]) == []
        if (remains := scene.remains()) not in left:
            left.append(remains)
            check_again(scene, run, script, where)
        scene.again()


def spread(points: int) -> Callable[[int], range]:
    """About so many of the points, the first among them."""
    return lambda total: range(1, total + 1, max(1, -(-total // points)))


@pytest.mark.parametrize("where", SCENES)
def test_a_step_killed_at_one_of_ten_lines_leaves_a_whole_file(
    where: str, run: Run, request: pytest.FixtureRequest
) -> None:
    at_points(request.getfixturevalue(where), run, where, LINES, spread(8))


def test_step_2_killed_between_two_requests_leaves_a_whole_file(step_2: Scene, run: Run) -> None:
    # Lines of the module through which every request goes.
    at_points(step_2, run, "step_2", ("line", "okta/org.py"), spread(6))


@pytest.mark.parametrize("where", SCENES)
def test_an_interrupt_at_such_a_line_leaves_a_whole_file(
    where: str, run: Run, request: pytest.FixtureRequest
) -> None:
    at_points(request.getfixturevalue(where), run, where, LINES, spread(3), "SIGINT")


@pytest.mark.slow
@pytest.mark.parametrize(
    "place", [LINES, EVENTS, ("line", "/pkj/env.py")], ids=lambda place: place[1][:11]
)
@pytest.mark.parametrize("where", SCENES)
def test_a_step_killed_at_one_of_hundreds_of_points_leaves_a_whole_file(
    where: str, place: tuple[str, str], run: Run, request: pytest.FixtureRequest
) -> None:
    at_points(request.getfixturevalue(where), run, where, place, spread(24))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "module"),
    [*((w, m) for w in SCENES for m in ("env_file.py", "/pkj/env.py")), ("step_2", "okta/org.py")],
)
def test_an_interrupt_at_one_of_ten_points_leaves_a_whole_file(
    where: str, module: str, run: Run, request: pytest.FixtureRequest
) -> None:
    place = ("line", module)
    at_points(request.getfixturevalue(where), run, where, place, spread(10), "SIGINT")


@pytest.mark.slow
@pytest.mark.parametrize("where", SCENES)
def test_an_interrupt_at_nearly_any_of_twenty_lines_of_the_console_is_one_word(
    where: str, request: pytest.FixtureRequest
) -> None:
    scene = request.getfixturevalue(where)
    place = ("line", "/pkj/console.py")
    loud: dict[int, object] = {}
    for number in spread(20)(counted(scene, *place)):
        result = scene.killed_at(*place, number, "SIGINT")
        if "Traceback" in result.stderr or result.returncode not in (0, 130):
            loud[number] = (result.returncode, result.stderr)
        scene.again()
    assert len(loud) <= 3, loud  # the lines around the `try` that looks after interrupts


def test_a_file_cut_short_or_with_two_keys_in_it_is_found_out(
    env_with_key: EnvFile, other_key: rsa.RSAPrivateKey, sandbox: Sandbox
) -> None:
    scene = Scene(env_with_key, sandbox, STEP_1)
    whole = scene.before
    env_with_key.path.write_bytes(whole[:-40])
    assert scene.faults(OF_A_KEY)
    env_with_key.path.write_bytes(whole)
    env_with_key.write(MODULUS=keys.to_base64url(keys.modulus_of(other_key)))
    assert "MODULUS is of another key" in scene.faults(OF_A_KEY)
    env_with_key.path.write_bytes(b"# a comment\n" + whole.partition(b"\n")[2])
    assert scene.faults(OF_A_KEY)
    env_with_key.path.write_bytes(whole)
    env_with_key.path.chmod(0o640)
    assert scene.faults(OF_A_KEY) == [".env has mode 640"]
    env_with_key.path.chmod(0o600)
    assert scene.faults(OF_A_KEY) == []
    (scene.folder / "a-copy").write_bytes(whole)
    assert scene.faults(OF_A_KEY) == ["?? a-copy"]


@pytest.mark.parametrize("script", [STEP_1, STEP_3])
def test_a_point_that_is_never_reached_kills_nothing(
    script: str, registered: EnvFile, sandbox: Sandbox
) -> None:
    scene = Scene(registered, sandbox, script, *(["--force"] if script == STEP_1 else []))
    result = scene.killed_at(*LINES, 10**6, "SIGKILL")
    assert result.returncode == 0, result.stderr
