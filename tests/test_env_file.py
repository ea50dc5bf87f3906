"""The `.env` on a real disk: modes, owners, links, copies, leftovers, locks, two runs at once."""

import contextlib
import fcntl
import hashlib
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from conftest import (
    CREATE_APP,
    GENERATE_KEYS,
    GET_TOKEN,
    ROOT,
    SCOPES,
    EnvFile,
    Run,
    command,
    trusting,
)
from cryptography.hazmat.primitives.asymmetric import rsa
from faults import Fault, Sandbox, delay, patch

from pkj import env_file, keys
from pkj.env import Env
from pkj.errors import LocalError
from pkj.sandbox.exchange import Response
from pkj.sandbox.state import Client

AS_ROOT = os.geteuid() == 0
NOBODY = 65534
OLD = "# mine\nA=1\n"
MIB = 2**20
Printed = pytest.CaptureFixture[str]


@pytest.fixture
def path() -> Iterator[Path]:
    """Where a `.env` will be, in an empty folder that everybody may write to."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "folder"
        folder.mkdir()
        for each in (folder.parent, folder):
            each.chmod(0o777)
        yield folder / ".env"


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Without root's rights, where the tests run as root."""
    group, user = (NOBODY, NOBODY) if AS_ROOT else (os.getegid(), os.geteuid())
    os.setegid(group)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(os.getuid())
        os.setegid(os.getgid())


def put(path: Path, text: str = OLD, mode: int = 0o600, owner: int = -1, group: int = -1) -> None:
    path.write_text(text, encoding="utf-8", newline="")
    path.chmod(mode)
    if AS_ROOT:
        os.chown(path, owner, group)


def beside(path: Path) -> dict[str, int]:
    """The files in the folder, with their modes."""
    return {f.name: stat.S_IMODE(f.lstat().st_mode) for f in sorted(path.parent.iterdir())}


def python(code: str, *arguments: object, prefix: Sequence[str] = ()) -> subprocess.Popen[str]:
    """Start a process that runs `code`, which knows the `settings` and their `path`."""
    first = "import os, resource, signal, sys; from pathlib import Path; from pkj.env import Env\n"
    first += "path = Path(sys.argv[1]); settings = Env(path, {}, print)\n"
    told = [*prefix, sys.executable, "-c", first + code, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(told, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.parametrize("umask", [0, 0o022, 0o277, 0o777])
@pytest.mark.parametrize(
    ("before", "noted"),
    [(0o644, ["0644"]), (0o660, ["0660"]), (0o601, ["0601"]), (0o600, []), (0o400, []), (0, [])],
)
def test_saved_files_are_private(
    path: Path, capsys: Printed, umask: int, before: int, noted: list[str]
) -> None:
    if before:
        put(path, mode=before)
    old = os.umask(umask)
    try:
        Env(path, {}, print).save({"B": "2"}, keep_copy=True)
    finally:
        os.umask(old)

    assert beside(path) == dict.fromkeys([".env", ".env.previous"] if before else [".env"], 0o600)
    assert path.read_text() == (f"{OLD}B=2\n" if before else "B=2\n")
    said = capsys.readouterr().out
    assert re.findall(r" had mode (\d+); changed to 0600", said) == noted
    assert bool(said) == bool(before)


WATCHED = """
def watch(frame, event, called):
    for name in ("open", "fsync", "replace"):
        if event == "c_return" and called is getattr(os, name):
            for new in path.parent.glob(".env.pkj-*-*"):
                print(name, oct(new.stat().st_mode & 0o777), new.stat().st_size)
            if name == "replace":
                print("replaced")

os.umask(0)
sys.addaudithook(lambda event, a: event in ("os.chmod", "os.chown") and print(event, a[0]))
sys.setprofile(watch)
settings.save({"B": "2"})
"""


def test_new_text_is_private_at_once_and_complete_before_it_replaces_the_old(path: Path) -> None:
    put(path, owner=NOBODY)
    lines = python(WATCHED, path).communicate(timeout=60)[0].splitlines()
    by_descriptor = [line for line in lines if re.fullmatch(r"os\.ch(mod|own) \d+", line)]
    assert len(by_descriptor) == 1 + AS_ROOT
    seen = ["open 0o600 0", f"fsync 0o600 {len(OLD) + 4}", "replaced"]
    assert [line for line in lines if line not in by_descriptor] == seen


@pytest.mark.parametrize("before", [b"\xef\xbb\xbfA=1\r\n", b""], ids=["file", "nothing"])
def test_links_stay_and_a_copy_can_be_restored(path: Path, capsys: Printed, before: bytes) -> None:
    middle, target = path.parent.with_name("middle"), path.with_name("settings")
    link, previous = path.with_name("a link's.env"), path.with_name("a link's.env.previous")
    links = {link: "../middle", middle: "folder/settings", previous: "trap"}
    for each, to in links.items():
        each.symlink_to(to)
    if before:
        target.write_bytes(before)

    Env(link, {}, print).save({"A": "2"}, keep_copy=True)

    moved = path.with_name(f"{previous.name}.1") if before else previous
    assert all(file.is_symlink() for file in (link, middle, moved))
    assert not target.is_symlink()
    assert re.fullmatch(r"\s*A=2\s*", target.read_text("utf-8-sig"))
    assert len(beside(path)) == (4 if before else 3)
    backs = re.findall("to go back: (.*)", capsys.readouterr().out)
    for back in backs:
        subprocess.run(["/bin/sh", "-c", back], cwd="/", check=True)
        assert (target.read_bytes(), len(beside(path))) == (before, 3)
    assert len(backs) == bool(before)


@pytest.mark.skipif(not AS_ROOT, reason="only root can give a file to somebody else")
@pytest.mark.parametrize("copy", [False, True])
def test_owner_and_group_are_kept_or_nothing_changes(path: Path, copy: bool) -> None:
    settings = Env(path, {}, print)
    put(path, mode=0o644, owner=NOBODY, group=NOBODY - 1)
    with as_nobody(), pytest.raises(LocalError, match="belongs to user 65534 and group 65533"):
        settings.save({"A": "2"}, keep_copy=copy)
    assert (path.read_text(), beside(path)) == (OLD, {".env": 0o644})
    settings.save({"A": "2"}, keep_copy=copy)
    owners = [(file.stat().st_uid, file.stat().st_gid) for file in path.parent.iterdir()]
    assert owners == [(NOBODY, NOBODY - 1)] * (1 + copy)
    assert EnvFile(path).values() == {"A": "2"}


def leftover(path: Path, text: str) -> Path:
    """Where a killed run left this text."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:32]
    return path.with_name(f"{path.name}.pkj-{digest}-0123abcd")


def test_leftovers_of_killed_runs_are_removed_and_other_files_stay(path: Path) -> None:
    target = path.parent.with_name("settings")
    put(target)
    path.symlink_to(target)
    for file in (path, path.with_name(".env.previous"), target):
        put(leftover(file, "PRIVATE_KEY=k\n"), "PRIVATE_KEY=k\n")
    put(leftover(target, "PRIVATE_KEY=other\n"), "")
    put(target.with_name("settings.pkj-lock"), "somebody else's\n")
    lookalikes = [leftover(path, text).name for text in ("x", "a")]
    others = [*lookalikes, ".env.pkj-0123456789abcdef", ".env.pkj-lock"]
    for name in others:
        put(path.with_name(name), "PRIVATE_KEY=mine\n")

    Env(path, {}, print).save({"A": "2"})
    assert list(beside(path)) == sorted([".env", *others])
    assert list(beside(target)) == ["folder", "settings", "settings.pkj-lock"]
    Env(path.with_name(others[0]), {}, print).save({"B": "2"})
    assert path.with_name(others[0]).read_text() == "PRIVATE_KEY=mine\nB=2\n"


def test_writers_at_the_same_time_lose_nothing(path: Path) -> None:
    put(path)
    code = "for n in range(20): settings.save({f'{sys.argv[2]}{n}': str(n)})"
    writers = [python(code, path, name) for name in "XYZ"]
    assert [writer.communicate(timeout=60)[1] for writer in writers] == [""] * 3
    written = {f"{name}{n}": str(n) for name in "XYZ" for n in range(20)}
    assert (EnvFile(path).values(), beside(path)) == ({"A": "1", **written}, {".env": 0o600})


def test_lock_wait_ends(path: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Env(path, {}, print)
    put(path)
    monkeypatch.setattr(env_file, "SILENT_SECONDS", 0)
    monkeypatch.setattr(env_file, "LOCK_SECONDS", 0.1)
    lock = os.open(path.with_name(".env.pkj-lock"), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(LocalError, match="another run is still using"):
        settings.save({"A": "2"})
    note = f"another run is using {path}; waiting up to 0 seconds\n"
    assert capsys.readouterr().out == note
    assert (path.read_text(), settings.get("A")) == (OLD, "1")  # readers do not wait
    other = path.with_name("prod.env")
    Env(other, {}, print).save({"A": "3"})  # nor do writers of another file
    os.close(lock)
    put(path, "A=2\n")
    with settings.locked():
        assert settings.get("A") == "2"
        settings.save({"B": "3"})
    assert EnvFile(path).values() == {"A": "2", "B": "3"}
    assert list(beside(path)) == [".env", other.name]


def test_lock_that_cannot_be_opened_is_a_local_error(path: Path) -> None:
    put(path)
    path.with_name(".env.pkj-lock").symlink_to("trap")
    with pytest.raises(LocalError, match=r"\.env\.pkj-lock cannot be opened") as refused:
        Env(path, {}, print).save({"A": "2"})
    assert "remove it" in refused.value.hint
    assert (path.read_text(), list(beside(path))) == (OLD, [".env", ".env.pkj-lock"])


def refused(settings: Env, when: str) -> str:
    """The line with which reading or saving is refused."""
    with pytest.raises(LocalError) as error:
        settings.get("A") if when == "read" else settings.save({"A": "2"}, keep_copy=when == "copy")
    line = str(error.value)
    assert "\n" not in line
    assert "mount" not in error.value.hint
    assert str(settings.path) in line or os.path.realpath(settings.path) in line
    return line


def make_socket(path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch, socket.socket(socket.AF_UNIX) as bound:
        patch.chdir(path.parent)  # the name of a socket must be short
        bound.bind(path.name)


UNREADABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "directory": (Path.mkdir, "Is a directory"),
    "fifo": (os.mkfifo, "not a regular file"),
    "socket": (make_socket, "cannot be read"),
    "link-to-itself": (lambda path: path.symlink_to(path.name), "cannot be read"),
    "latin-1": (lambda path: path.write_bytes(b"A=gr\xf6\xdfer"), "not UTF-8 text (byte 4)"),
    "too-large": (lambda path: put(path, "#" * (2 * MIB + 1)), "larger than 2097152 bytes"),
    "spaces": (lambda path: put(path, f"B=1\n\nA=x{' ' * 1001}y\n"), "line 3 of"),
    "many-spaces": (lambda path: put(path, f"A='x'\r\nA=x{' ' * 200_000}\n"), "line 2 of"),
}


@pytest.mark.parametrize("when", ["read", "save"])
@pytest.mark.parametrize("kind", UNREADABLE)
def test_unreadable_file_is_refused(path: Path, when: str, kind: str) -> None:
    settings = Env(path, {}, print)
    make, problem = UNREADABLE[kind]
    make(path)
    before = path.lstat()
    signal.alarm(30)  # ends a test that waits for somebody to write to the FIFO
    assert problem in refused(settings, when)
    signal.alarm(0)
    assert os.path.samestat(before, path.lstat())
    assert list(beside(path)) == [".env"]


def test_large_file_is_read_and_changed(path: Path) -> None:
    settings = Env(path, {}, print)
    many = "".join(f"NAME_{n}='${{A}} {n}' # {'a comment ' * 8}\n" for n in range(5_000))
    long, end = "x " * 200_000, f"SPACES=x{' ' * 1000}y\n" + "\n" * 100_000
    filled = f"#{'x' * (2 * MIB - len(many) - len(long) - len(end) - 8)}\n"
    put(path, f"{many}LONG={long}\n{filled}{end}")
    assert path.stat().st_size == 2 * MIB
    assert (settings.get("NAME_4999"), settings.get("SPACES")) == ("${A} 4999", f"x{' ' * 1000}y")
    settings.save({"LONG": "short"})
    assert path.read_text() == f"{many}LONG=short\n{filled}{end}"


@pytest.mark.parametrize(
    ("name", "modes", "refusing", "problem"),
    [
        (".env", (0, 0o777), "read save copy", "cannot be read: Permission denied"),
        (".env", (0o644, 0o555), "save copy", "cannot be written: Permission denied"),
        ("none/.env", (0o600, 0o777), "save copy", "cannot be written: No such file or directory"),
        (".env/.env", (0o644, 0o777), "read save copy", "Not a directory"),
        (".env", (0o600, 0o333), "", ""),  # a folder that cannot be listed does not matter
    ],
    ids=["file", "folder", "no-folder", "file-as-folder", "unlistable"],
)
def test_what_the_system_refuses_is_a_local_error(
    name: str, modes: tuple[int, int], refusing: str, problem: str, path: Path
) -> None:
    put(path, OLD, modes[0], NOBODY, NOBODY)
    path.parent.chmod(modes[1])
    settings = Env(path.parent / name, {}, print)
    with as_nobody():
        said = [refused(settings, when) for when in refusing.split()]
        assert "read" in refusing or settings.get("A") in ("1", None)
        if not said:
            settings.save({"A": "1"})
    assert all(problem in line for line in said)
    assert any("was not changed" in line for line in said) == problem.startswith(
        "cannot be written"
    )
    path.parent.chmod(0o777)
    path.chmod(0o600)
    assert (path.read_text(), beside(path)) == (OLD, {".env": 0o600})


WRITER = """
from pkj.errors import LocalError
try:
    settings.save({"NEW": "x" * 20_000}, keep_copy=sys.argv[2] == "True")
except LocalError as error:
    print(error, error.hint, sep="|")
print(path.read_text(), sorted(os.listdir(path.parent)))
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))  # for what measures the coverage
"""


@pytest.mark.parametrize(
    ("setup", "problem", "left"),
    [
        ("ulimit -S -f 8", "File too large", OLD),
        ("mount --bind $D/../mounted $F", "Device or resource busy", "A=mounted\n"),
        ("mount -t tmpfs -o size=16k none $D; echo A=1 > $F", "No space left on device", "A=1\n"),
        ("mount --bind $D $D; mount -o remount,ro,bind $D", "Read-only file system", OLD),
    ],
    ids=["limit", "mounted-file", "full-disk", "read-only"],
)
def test_failed_save_changes_nothing(path: Path, setup: str, problem: str, left: str) -> None:
    put(path)
    put(path.parent.with_name("mounted"), "A=mounted\n")
    limited = "ulimit" in setup
    shell = f'F=$4 D=${{4%/*}}; {setup}; exec "$@"'  # $1 is python, $4 the path
    prefix = [*([] if limited else ["unshare", "--mount"]), "sh", "-ec", shell, "sh"]

    stdout, stderr = python(WRITER, path, limited, prefix=prefix).communicate(timeout=60)

    if "mount:" in stderr or "unshare:" in stderr:
        pytest.skip(f"mounting is not permitted here: {stderr.strip()}")
    assert f"cannot be written: {problem}; it was not changed" in stdout, stderr
    assert ("mount its folder" in stdout) == ("busy" in problem)
    files = [".env", ".env.previous"] if limited else [".env"]
    assert stdout.endswith(f"\n{left} {files}\n")
    assert (path.read_text(), list(beside(path))) == (OLD, files)


def begun(env: EnvFile, sandbox: Sandbox, script: str, *options: str) -> subprocess.Popen[str]:
    told, null = command(script, "--env-file", env.path, *options), subprocess.DEVNULL
    given = {"env": trusting(sandbox, None), "stdout": null, "stderr": subprocess.PIPE}
    return subprocess.Popen(told, text=True, **given)


@pytest.mark.parametrize("names", [["PRIVATE_KEY"], None], ids=["private-key", "four-settings"])
def test_two_first_runs_at_once_register_one_app(
    names: list[str] | None, env: EnvFile, sandbox: Sandbox, key: rsa.RSAPrivateKey
) -> None:
    values = keys.settings_of(key)
    env.write(**{name: values[name] for name in names or values})
    sandbox.faults.add(Fault("GET /oauth2/v1/clients", delay(1), times=2))
    runs = [begun(env, sandbox, CREATE_APP) for _ in range(2)]
    said = [process.communicate(timeout=60)[1] for process in runs]
    assert [process.returncode for process in runs] == [0, 0], said
    (app,) = sandbox.org.clients.values()
    assert (env["CLIENT_ID"], list(app.grants)) == (app.id, SCOPES.split())
    assert values.items() <= env.values().items()
    assert "".join(said).count("another run is using") == 1
    assert list(beside(env.path)) == [".env"]


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ((GENERATE_KEYS,), 1),
        ((GENERATE_KEYS, "--force"), 0),
        ((CREATE_APP, "--delete", "--yes"), 0),
    ],
)
def test_only_runs_that_change_the_file_wait(
    told: tuple[str, ...], code: int, env_with_key: EnvFile, app: Client, run: Run, sandbox: Sandbox
) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def wait(response: Response) -> Response:
        reached.set()
        assert go_on.wait(30)
        return response

    env, other = env_with_key, str(env_with_key.path.with_name("other.env"))
    env.write(SCOPES="okta.users.read okta.groups.read")
    sandbox.faults.add(Fault("POST /api/v1/apps/", patch(wait)))
    free = [
        (GET_TOKEN, "--check"),
        (CREATE_APP, "--dry-run"),
        (CREATE_APP, "--delete", "--dry-run"),
    ]
    with begun(env, sandbox, CREATE_APP) as first:
        assert reached.wait(30)
        for each in (*free, (GENERATE_KEYS, "--env-file", other)):
            result = run(*each)
            assert (result.returncode, "another run" in result.stderr) == (0, False), result.stderr
        with begun(env, sandbox, *told) as second:
            assert second.stderr
            waiting = f"another run is using {env.path}; waiting up to 60 seconds"
            assert second.stderr.readline() == f"{waiting}\n"
            assert (second.poll(), list(sandbox.org.clients)) == (None, [app.id])
            go_on.set()
            said = [first.communicate(timeout=30)[1], second.stderr.read()]
    assert [first.returncode, second.returncode] == [0, code], said
    assert bool(sandbox.org.clients) == (told[0] == GENERATE_KEYS)
