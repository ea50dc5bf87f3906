"""The `.env` on a real disk: modes, links, locks, failures; and what is read from it."""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from dotenv import dotenv_values

from pkj import env_file
from pkj.env import WHO_WRITES, Env
from pkj.errors import LocalError

AS_ROOT = os.geteuid() == 0
NOBODY = 65534
OLD = "# mine\nA=1\n"
LONG = "x" * 20_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a `.env` will be, in a folder with nothing else in it."""
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder / ".env"


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def settings(path: Path, notes: list[str]) -> Env:
    return Env(path, {}, notes.append)


def put(path: Path, text: str = OLD, mode: int = 0o600) -> None:
    path.write_text(text, encoding="utf-8", newline="")
    path.chmod(mode)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def stored(path: Path) -> dict[str, str | None]:
    return dotenv_values(path, interpolate=False)


def beside(path: Path) -> list[str]:
    return sorted(os.listdir(path.parent))


def python(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", code, *map(str, arguments)]


def run_python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = python(code, *arguments)
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Without root's rights, where the tests run as root."""
    if not AS_ROOT:
        yield
        return
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter and write to."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    folder.chmod(0o777)
    shutil.rmtree(folder)


# Writing


def test_a_new_file_is_for_its_owner_alone(settings: Env, path: Path, notes: list[str]) -> None:
    settings.save({"A": "1"})

    assert path.read_bytes() == b"A=1\n"
    assert mode(path) == 0o600
    assert notes == []
    assert beside(path) == [".env"]


@pytest.mark.parametrize("umask", [0, 0o022, 0o277, 0o777], ids=oct)
def test_the_umask_makes_no_difference(settings: Env, path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        settings.save({"A": "1"}, keep_copy=True)
        settings.save({"A": "2"}, keep_copy=True)
    finally:
        os.umask(before)

    assert {name: mode(path.with_name(name)) for name in beside(path)} == {
        ".env": 0o600,
        ".env.previous": 0o600,
    }


@pytest.mark.parametrize(
    ("before", "said"),
    [
        pytest.param(0o644, ["0644"], id="0644"),
        pytest.param(0o660, ["0660"], id="0660"),
        pytest.param(0o601, ["0601"], id="0601"),
        pytest.param(0o600, [], id="0600"),
        pytest.param(0o400, [], id="0400"),
    ],
)
def test_the_mode_is_0600_afterwards_and_a_looser_one_is_noted(
    settings: Env, path: Path, notes: list[str], before: int, said: list[str]
) -> None:
    put(path, mode=before)

    settings.save({"B": "2"})

    assert mode(path) == 0o600
    assert path.read_text() == "# mine\nA=1\nB=2\n"
    assert notes == [f"{path} had mode {was}; changed to 0600" for was in said]


WATCHED_WRITER = """
import os
import sys
sys.path.insert(0, ".")
from pathlib import Path
from pkj.env import Env

path = Path(sys.argv[1])

def watch(frame, event, called):
    for name in ("open", "fsync", "replace"):
        if event == "c_return" and called is getattr(os, name):
            for new in path.parent.glob(".env.pkj-*-*"):
                print(name, oct(new.stat().st_mode & 0o777), new.stat().st_size)
            if name == "replace":
                print("replaced")

sys.setprofile(watch)
os.umask(0)
Env(path, {}, print).save({"B": "2"})
"""


def test_the_new_text_is_private_from_the_first_and_whole_before_it_takes_its_place(
    path: Path,
) -> None:
    put(path, mode=0o600)

    result = run_python(WATCHED_WRITER, path)

    size = len("# mine\nA=1\nB=2\n")
    seen = ["open 0o600 0", f"fsync 0o600 {size}", "replaced"]
    assert result.stdout.splitlines() == seen, result.stderr
    assert path.stat().st_size == size


def test_a_link_stays_a_link_and_what_it_points_to_is_changed(
    settings: Env, path: Path, tmp_path: Path
) -> None:
    target = tmp_path / "elsewhere" / "settings"
    target.parent.mkdir()
    put(target, mode=0o644)
    path.symlink_to(os.path.relpath(target, path.parent))

    settings.save({"A": "2"}, keep_copy=True)

    assert path.is_symlink()
    assert target.read_text() == "# mine\nA=2\n"
    assert (mode(target), target.is_symlink()) == (0o600, False)
    assert beside(target) == ["settings"]
    assert beside(path) == [".env", ".env.previous"]
    assert path.with_name(".env.previous").read_text() == OLD


def test_a_link_to_nothing_yet_makes_what_it_points_to(
    settings: Env, path: Path, tmp_path: Path
) -> None:
    path.symlink_to(tmp_path / "later")

    settings.save({"A": "1"})

    assert path.is_symlink()
    assert (tmp_path / "later").read_text() == "A=1\n"
    assert mode(tmp_path / "later") == 0o600


def test_a_chain_of_links_stays_a_chain(settings: Env, path: Path, tmp_path: Path) -> None:
    put(tmp_path / "last")
    (tmp_path / "middle").symlink_to("last")
    path.symlink_to(tmp_path / "middle")

    settings.save({"A": "2"})

    assert path.is_symlink()
    assert (tmp_path / "middle").is_symlink()
    assert stored(tmp_path / "last") == {"A": "2"}


def test_a_check_that_raises_changes_nothing(settings: Env, path: Path, notes: list[str]) -> None:
    put(path, mode=0o644)
    before = path.stat()
    given: list[object] = []

    def refuse(values: object) -> None:
        given.append(values)
        raise LocalError("not now")

    with pytest.raises(LocalError, match="not now"):
        settings.save({"A": "2"}, check=refuse, keep_copy=True)

    after = path.stat()
    assert given == [{"A": "1"}]
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert (path.read_text(), mode(path)) == (OLD, 0o644)
    assert beside(path) == [".env"]
    assert notes == []


def test_the_newest_copy_is_previous_and_none_is_overwritten(
    settings: Env, path: Path, notes: list[str]
) -> None:
    texts = ["A=0\n", "\ufeffA=1\r\n", "# only this\n"]
    for text in texts:
        put(path, text, mode=0o644)
        settings.save({"A": "new"}, keep_copy=True)

    names = [".env.previous", ".env.previous.1", ".env.previous.2"]
    copies = [path.with_name(name) for name in names]
    assert beside(path) == [".env", *names]
    assert [copy.read_bytes().decode() for copy in copies] == texts[::-1]
    assert [mode(copy) for copy in copies] == [0o600] * 3
    assert all(str(copies[0]) in note for note in notes if "previous" in note)


def test_a_copy_of_a_file_by_another_name_is_called_after_it(path: Path) -> None:
    other = path.with_name("org.env")
    put(other)

    Env(other, {}, print).save({"A": "2"}, keep_copy=True)

    assert beside(path) == ["org.env", "org.env.previous"]


def test_a_link_where_the_copy_would_be_is_not_followed(
    settings: Env, path: Path, tmp_path: Path
) -> None:
    put(path)
    path.with_name(".env.previous").symlink_to(tmp_path / "trap")

    settings.save({"A": "2"}, keep_copy=True)

    assert not (tmp_path / "trap").exists()
    assert path.with_name(".env.previous.1").is_symlink()
    assert path.with_name(".env.previous").read_text() == OLD


def test_the_command_that_goes_back_is_printed(path: Path, notes: list[str]) -> None:
    link = path.with_name("a link's.env")
    put(path, mode=0o600)
    link.symlink_to(path.name)

    Env(link, {}, notes.append).save({"A": "2"}, keep_copy=True)

    (note,) = notes
    subprocess.run(["/bin/sh", "-c", note.partition("to go back: ")[2]], cwd="/", check=True)
    assert (path.read_text(), link.is_symlink()) == (OLD, True)
    assert beside(path) == [".env", link.name]


KILLED_IN_BETWEEN = """
import os, signal, sys
sys.path.insert(0, ".")
from pathlib import Path
from pkj.env import Env
count = 0
def hook(event, _):
    global count
    count += event == "os.rename"
    if event == "os.rename" and count == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
Env(Path(sys.argv[1]), {}, print).save({"A": "new"}, keep_copy=True)
"""


@pytest.mark.parametrize("at", range(1, 5))
def test_no_copy_is_lost_wherever_the_next_one_is_cut_off(
    settings: Env, path: Path, at: int
) -> None:
    for text in ("A=0\n", "A=1\n", "A=2\n"):
        put(path, text)
        settings.save({"A": "new"}, keep_copy=True)
    put(path, "A=3\n")

    assert run_python(KILLED_IN_BETWEEN, path, at).returncode == -signal.SIGKILL
    settings.save({"A": "4"}, keep_copy=True)

    copies = sorted(path.parent.glob(".env.previous*"))
    texts = [copy.read_text() for copy in copies]
    assert [text for text in texts if text != "A=new\n"][-3:] == ["A=2\n", "A=1\n", "A=0\n"]
    assert copies[0].name == ".env.previous"
    assert texts[0] == "A=3\n"
    assert not list(path.parent.glob("*.pkj-*"))


def test_where_there_is_no_file_there_is_nothing_to_keep(settings: Env, path: Path) -> None:
    settings.save({"A": "1"}, keep_copy=True)

    assert beside(path) == [".env"]


def leftover(path: Path, text: str) -> Path:
    """As a killed writer leaves it."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:32]
    return path.with_name(f"{path.name}.pkj-{digest}-0123abcd")


def test_what_a_killed_writer_left_is_removed_by_the_next(
    settings: Env, path: Path, tmp_path: Path
) -> None:
    target = tmp_path / "elsewhere" / "settings"
    target.parent.mkdir()
    put(target)
    path.symlink_to(target)
    for name in (".env", ".env.previous"):
        put(leftover(path.with_name(name), "PRIVATE_KEY=k\n"), "PRIVATE_KEY=k\n")
    put(leftover(target, "PRIVATE_KEY=k\n"), "PRIVATE_KEY=k\n")
    put(leftover(target, "PRIVATE_KEY=other\n"), "")
    target.with_name("settings.pkj-lock").touch()

    settings.save({"A": "2"})

    assert (beside(path), beside(target)) == ([".env"], ["settings"])


@pytest.mark.parametrize(
    "name",
    [
        *(".env.pkj-prod", ".env.pkj-lock", ".env.pkj-0123456789abcdef"),
        leftover(Path(".env"), "x").name,
    ],
)
def test_a_file_of_somebody_else_stays_whatever_its_name(
    settings: Env, path: Path, name: str
) -> None:
    put(path)
    mine = path.with_name(name)
    put(mine, "PRIVATE_KEY=mine\n")

    settings.save({"A": "2"})
    Env(mine, {}, print).save({"B": "2"})

    assert mine.read_text() == "PRIVATE_KEY=mine\nB=2\n"
    assert beside(path) == [".env", name]


def test_a_folder_that_cannot_be_listed_is_no_hindrance(open_folder: Path) -> None:
    put(open_folder / ".env")
    os.chown(open_folder / ".env", NOBODY if AS_ROOT else -1, NOBODY if AS_ROOT else -1)
    open_folder.chmod(0o333)

    with as_nobody():
        Env(open_folder / ".env", {}, print).save({"A": "2"})

    open_folder.chmod(0o777)
    assert (stored(open_folder / ".env"), beside(open_folder / ".env")) == ({"A": "2"}, [".env"])


def test_mode_and_owner_are_set_on_the_open_file_and_never_by_its_name(path: Path) -> None:
    put(path)
    if AS_ROOT:
        os.chown(path, NOBODY, NOBODY)
    hook = "lambda event, a: event in ('os.chmod', 'os.chown') and print(event, a[0])"

    result = run_python(f"import sys; sys.addaudithook({hook})\n{WRITER}", path, "X", 1)

    assert result.stderr == ""
    assert re.fullmatch(r"(os\.ch(mod|own) \d+\n)+", result.stdout)


@pytest.mark.skipif(not AS_ROOT, reason="only root can give a file to somebody else")
def test_owner_and_group_stay(settings: Env, path: Path) -> None:
    put(path)
    os.chown(path, NOBODY, NOBODY - 1)

    settings.save({"A": "2"}, keep_copy=True)

    for file in (path, path.with_name(".env.previous")):
        after = file.stat()
        assert (after.st_uid, after.st_gid, mode(file)) == (NOBODY, NOBODY - 1, 0o600)
    assert stored(path) == {"A": "2"}


@pytest.mark.skipif(not AS_ROOT, reason="only root can give a file to somebody else")
@pytest.mark.parametrize("copy", [False, True])
def test_an_owner_that_cannot_be_kept_means_one_sentence_and_no_change(
    copy: bool, open_folder: Path
) -> None:
    path = open_folder / ".env"
    put(path, mode=0o644)

    with as_nobody(), pytest.raises(LocalError, match="belongs to user 0 and group 0") as refused:
        Env(path, {}, print).save({"A": "2"}, keep_copy=copy)

    assert str(refused.value).startswith(f"{path} belongs")
    assert "\n" not in str(refused.value)
    assert refused.value.hint
    assert (path.read_text(), mode(path), beside(path)) == (OLD, 0o644, [".env"])


# Taking turns


def hold_lock(path: Path) -> int:
    """As another run does, until the descriptor is closed."""
    lock = os.open(path.with_name(f"{path.name}.pkj-lock"), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


WRITER = """
import sys
sys.path.insert(0, ".")
from pathlib import Path
from pkj.env import Env
path, prefix, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for number in range(count):
    Env(path, {}, print).save({f"{prefix}{number}": f"{prefix} {number}"})
"""

STALE_WRITER = """
import sys
sys.path.insert(0, ".")
from pathlib import Path
from pkj.env import Env
env = Env(Path(sys.argv[1]), {}, print)
print(env.stored("A"), flush=True)
env.save({"B": "2"})
print(env.stored("A"), flush=True)
"""


def test_writers_at_the_same_time_lose_nothing_of_each_other(path: Path) -> None:
    put(path)
    prefixes = ("X", "Y", "Z")

    writers = [subprocess.Popen(python(WRITER, path, name, 20), cwd=ROOT) for name in prefixes]

    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]
    written = {f"{name}{n}": f"{name} {n}" for name in prefixes for n in range(20)}
    assert stored(path) == {"A": "1", **written}
    assert path.read_text().startswith(OLD)
    assert beside(path) == [".env"]


def test_a_writer_that_waited_for_the_lock_reads_again_before_it_writes(path: Path) -> None:
    put(path)
    lock = hold_lock(path)
    with subprocess.Popen(
        python(STALE_WRITER, path), cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout
        assert writer.stdout.readline() == "1\n"
        time.sleep(0.2)
        assert writer.poll() is None
        assert path.read_text() == OLD
        put(path, "A=changed meanwhile\nC=3\n")
        os.close(lock)
        assert writer.stdout.readline() == "changed meanwhile\n"
        assert writer.wait(timeout=60) == 0

    assert stored(path) == {"A": "changed meanwhile", "C": "3", "B": "2"}


def test_a_writer_that_keeps_the_lock_is_not_waited_for_for_ever(
    settings: Env, path: Path, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(path)
    monkeypatch.setattr(env_file, "SILENT_SECONDS", 0)
    monkeypatch.setattr(env_file, "LOCK_SECONDS", 0.1)
    lock = hold_lock(path)

    with pytest.raises(LocalError, match="another run is still at work"):
        settings.save({"A": "2"})
    assert path.read_text() == OLD
    assert notes == [f"another run is at work on {path}; waiting for up to 0 seconds"]
    assert settings.get("A") == "1"  # readers wait for nobody
    other = path.with_name("prod.env")
    Env(other, {}, print).save({"A": "3"})  # nor do those with another file

    os.close(lock)
    settings.save({"A": "2"})
    assert beside(path) == [".env", other.name]
    assert stored(path) == {"A": "2"}


def test_the_lock_of_a_killed_writer_ends_with_it(settings: Env, path: Path) -> None:
    code = (
        "import sys, time; sys.path.insert(0, '.')\n"
        "from pathlib import Path; from pkj.env import Env\n"
        "lock = Env(Path(sys.argv[1]), {}, print).locked(); lock.__enter__()\n"
        "print('locked', flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        python(code, path), cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "locked\n"
        holder.kill()

    assert beside(path) == [".env.pkj-lock"]
    settings.save({"A": "2"})

    assert (stored(path), beside(path)) == ({"A": "2"}, [".env"])


def test_who_holds_the_lock_saves_and_reads_what_others_wrote_before(
    settings: Env, path: Path
) -> None:
    put(path)
    assert settings.get("A") == "1"
    put(path, "A=2\n")

    with settings.locked(), settings.locked():
        assert settings.get("A") == "2"
        settings.save({"B": "3"})
        settings.save({"C": "4"})
        assert ".env.pkj-lock" in beside(path)

    assert (stored(path), beside(path)) == ({"A": "2", "B": "3", "C": "4"}, [".env"])


@pytest.mark.parametrize("kind", ["symlink", "directory"])
def test_a_lock_that_cannot_be_opened_is_one_sentence(
    settings: Env, path: Path, tmp_path: Path, kind: str
) -> None:
    put(path)
    lock = path.with_name(".env.pkj-lock")
    lock.symlink_to(tmp_path / "trap") if kind == "symlink" else lock.mkdir()

    with pytest.raises(LocalError, match=r"\.env\.pkj-lock cannot be opened") as refused:
        settings.save({"A": "2"})

    assert "remove it" in refused.value.hint
    assert path.read_text() == OLD
    assert not (tmp_path / "trap").exists()


def test_a_private_key_that_appears_meanwhile_is_not_lost(settings: Env, path: Path) -> None:
    put(path, "A=1\nPRIVATE_KEY=old\nPRIVATE_KEY=\n")
    before = path.read_text()

    with pytest.raises(LocalError, match="has another PRIVATE_KEY now; nothing was changed"):
        settings.save({"PRIVATE_KEY": "new"})
    assert (path.read_text(), beside(path)) == (before, [".env"])

    settings.save({"A": "2"})
    assert path.read_text() == before.replace("A=1", "A=2")
    settings.save({"PRIVATE_KEY": "new"}, keep_copy=True)
    assert "old" in path.with_name(".env.previous").read_text()


# What cannot be read or written


def refused(settings: Env, when: str = "save") -> str:
    """The sentence with which reading or saving is refused."""
    action: dict[str, Callable[[], object]] = {
        "read": lambda: settings.get("A"),
        "save": lambda: settings.save({"NEW": LONG}),
    }
    with pytest.raises(LocalError) as error:
        action[when]()
    sentence = str(error.value)
    assert "\n" not in sentence
    assert str(settings.path) in sentence or os.path.realpath(settings.path) in sentence
    return sentence


@pytest.mark.parametrize("when", ["read", "save"])
@pytest.mark.parametrize(
    ("kind", "word"),
    [
        pytest.param("directory", "Is a directory", id="directory"),
        pytest.param("fifo", "not a regular file", id="fifo"),
        pytest.param("socket", "cannot be read", id="socket"),
        pytest.param("device", "not a regular file", id="device"),
        pytest.param("latin-1", "not UTF-8", id="latin_1"),
        pytest.param("utf-16", "not UTF-8", id="utf_16"),
        pytest.param("loop", "cannot be read", id="a_link_to_itself"),
    ],
)
def test_what_is_no_text_file_is_refused_in_one_sentence_and_left_alone(
    settings: Env, path: Path, monkeypatch: pytest.MonkeyPatch, when: str, kind: str, word: str
) -> None:
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        monkeypatch.chdir(path.parent)  # the name of a socket must be short
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    elif kind == "device":
        path.symlink_to("/dev/null")
    elif kind == "loop":
        path.symlink_to(path.name)
    else:
        path.write_bytes("A=größer".encode(kind))
    before = path.lstat()

    signal.alarm(30)  # ends a test that waits for somebody to write to the FIFO

    assert word in refused(settings, when)

    signal.alarm(0)
    after = path.lstat()
    assert (after.st_ino, after.st_mode, after.st_size) == (
        before.st_ino,
        before.st_mode,
        before.st_size,
    )
    assert beside(path) == [".env"]


def test_a_file_that_may_not_be_read_is_refused_and_left_alone(open_folder: Path) -> None:
    path = open_folder / ".env"
    put(path, mode=0)

    with as_nobody():
        env = Env(path, {}, print)
        assert "cannot be read: Permission denied" in refused(env, "read")
        assert "cannot be read: Permission denied" in refused(env)

    path.chmod(0o600)
    assert path.read_text() == OLD


def test_a_folder_that_may_not_be_written_is_refused(open_folder: Path) -> None:
    path = open_folder / ".env"
    put(path, mode=0o644)
    open_folder.chmod(0o555)

    with as_nobody():
        env = Env(path, {}, print)
        assert env.get("A") == "1"
        assert "cannot be written: Permission denied" in refused(env)
        with pytest.raises(LocalError, match="was not changed"):
            env.save({"A": "2"}, keep_copy=True)

    assert (path.read_text(), beside(path)) == (OLD, [".env"])


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    env = Env(tmp_path / "none" / ".env", {}, print)

    assert "cannot be written: No such file or directory" in refused(env)
    assert list(tmp_path.iterdir()) == []


def test_a_file_as_a_folder_is_refused(path: Path) -> None:
    put(path)
    env = Env(path / ".env", {}, print)

    assert "cannot be read: Not a directory" in refused(env, "read")
    assert "Not a directory" in refused(env)


FAILING_WRITER = """
import sys
sys.path.insert(0, ".")
from pathlib import Path
from pkj.env import Env
from pkj.errors import LocalError
try:
    Env(Path(sys.argv[1]), {}, print).save({"NEW": "x" * 20_000}, keep_copy=sys.argv[2] == "copy")
except LocalError as error:
    print(error, error.hint, sep="|")
"""


@pytest.mark.parametrize("keep", ["copy", "no copy"])
def test_a_write_that_fails_half_way_leaves_the_file_whole(path: Path, keep: str) -> None:
    put(path, mode=0o644)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({}, -1))\n".format
    lifted = limit(-1)  # what measures the coverage writes a file of its own at the end

    result = run_python(limit(4096) + FAILING_WRITER + lifted, path, keep)

    assert result.stderr == ""
    assert "cannot be written: File too large; it is as it was" in result.stdout
    assert (path.read_text(), mode(path)) == (OLD, 0o644)
    kept = [".env.previous"] if keep == "copy" else []
    assert beside(path) == [".env", *kept]


def in_a_mount_namespace(commands: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Run shell commands and then a writer of `path` where mounts are this process's own.

    Its output ends with what the file holds afterwards and what is beside it.
    """
    unshare = shutil.which("unshare")
    if not unshare or not AS_ROOT:
        pytest.skip("mounting needs root and unshare(1)")
    script = (
        f'set -e; {commands}; "$PYTHON" -c "$WRITER" "$FILE" "no copy"; '
        'cat "$FILE"; ls -A "$FOLDER"'
    )
    env = {
        **os.environ,
        "PYTHON": sys.executable,
        "WRITER": FAILING_WRITER,
        "FILE": str(path),
        "FOLDER": str(path.parent),
    }
    command = [unshare, "--mount", "sh", "-c", script]
    result = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    if "mount:" in result.stderr or "unshare:" in result.stderr:
        pytest.skip(f"mounting is not permitted here: {result.stderr.strip()}")
    assert result.returncode == 0, result.stderr
    return result


def test_a_file_that_is_mounted_by_itself_is_refused_with_the_way_out(
    path: Path, tmp_path: Path
) -> None:
    put(path)
    put(tmp_path / "mounted", "A=mounted\n")

    result = in_a_mount_namespace(f"mount --bind {tmp_path}/mounted $FILE", path)

    assert "cannot be written: Device or resource busy; it is as it was" in result.stdout
    assert "mount its folder" in result.stdout
    assert result.stdout.endswith("\nA=mounted\n.env\n")
    assert (tmp_path / "mounted").read_text() == "A=mounted\n"
    assert (path.read_text(), beside(path)) == (OLD, [".env"])


def test_a_full_disk_leaves_the_file_whole(path: Path) -> None:
    full = "mount -t tmpfs -o size=16k none $FOLDER; echo A=1 > $FILE"

    result = in_a_mount_namespace(full, path)

    assert "cannot be written: No space left on device; it is as it was" in result.stdout
    assert result.stdout.endswith("\nA=1\n.env\n")


def test_a_disk_for_reading_only_is_refused(path: Path) -> None:
    put(path)
    read_only = "mount --bind $FOLDER $FOLDER; mount -o remount,ro,bind $FOLDER"

    result = in_a_mount_namespace(read_only, path)

    assert "cannot be written: Read-only file system; it is as it was" in result.stdout
    assert result.stdout.endswith(f"\n{OLD}.env\n")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param("A='open\nB=2\n", 1, id="the_first_line"),
        pytest.param("A=1\n# c\nB='open\nC=2\n", 3, id="a_later_line"),
        pytest.param('A=1\r\nB="open\r\n', 2, id="windows_line_ends"),
        pytest.param("A=1\n\n\nB='open\n", 4, id="behind_blank_lines"),
    ],
)
def test_a_quote_that_is_not_closed_is_refused_with_its_line(
    settings: Env, path: Path, text: str, line: int
) -> None:
    put(path, text, mode=0o644)
    before = path.read_bytes()

    with pytest.raises(LocalError, match=f"line {line} is not an assignment") as error:
        settings.save({"PRIVATE_KEY": "-----BEGIN\n\"'\n-----END"})

    assert "quote" in error.value.hint
    assert (path.read_bytes(), mode(path), beside(path)) == (before, 0o644, [".env"])


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("A#c\nB='x'#c\n", id="comments_close_by"),
        pytest.param("\ufeffA=1\r\nB = 2\r\n", id="byte_order_mark"),
        pytest.param("export A\n'B'='x'\n", id="forms_of_names"),
    ],
)
def test_a_file_that_python_dotenv_reads_can_be_changed(
    settings: Env, path: Path, text: str
) -> None:
    put(path, text)

    settings.save({"A": "new", "B": "two\nlines"})

    assert stored(path) == {"A": "new", "B": "two\nlines"}


def test_a_file_of_a_megabyte_is_read_and_changed(settings: Env, path: Path) -> None:
    many = "".join(f"NAME_{n}='${{A}} {n}' # {'a comment ' * 8}\n" for n in range(5_000))
    one = f"LONG={'x ' * 200_000}\n\n"
    put(path, many + one + "\n" * 100_000)
    assert path.stat().st_size > 1_000_000

    assert settings.get("NAME_4999") == "${A} 4999"
    settings.save({"A": "1", "LONG": "short"})

    assert path.read_text() == f"{many}LONG=short\n\n{chr(10) * 100_000}A=1\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(f"B=1\n\nA=x{' ' * 200_000}y\n", "line 3 of", id="many_spaces"),
        pytest.param(f"A='x'\r\nA=x{' ' * 200_000}\n", "line 2 of", id="spaces_at_the_end"),
        pytest.param(f"A={'x' * 3 * 2**20}\n", "larger than 2097152 bytes", id="too_large"),
    ],
)
@pytest.mark.parametrize("when", ["read", "save"])
def test_a_file_that_would_take_minutes_is_refused_at_once(
    settings: Env, path: Path, text: str, problem: str, when: str
) -> None:
    put(path, text)
    signal.alarm(10)  # ends the test by force

    assert problem in refused(settings, when)

    signal.alarm(0)
    put(path, f"A=x{' ' * 1000}y\n")
    assert settings.get("A") == f"x{' ' * 1000}y"


# Reading


def test_a_byte_order_mark_is_no_part_of_the_first_name(settings: Env, path: Path) -> None:
    put(path, "\ufeffA=1\n")

    assert settings.get("A") == "1"


@pytest.mark.parametrize("raw", ["pa${HOME}ss", "$HOME", "`id`", "$(id)", "a#b", "100%"])
def test_a_value_is_what_it_is_without_any_expansion(settings: Env, path: Path, raw: str) -> None:
    put(path, f"API_KEY={raw}\nQUOTED='{raw}'\n")

    assert settings.get("API_KEY") == raw
    settings.save({"B": "2"})
    settings.save({"COPY": raw})
    assert stored(path) == {"API_KEY": raw, "QUOTED": raw, "B": "2", "COPY": raw}


@pytest.mark.parametrize(
    ("in_file", "in_environment", "value", "from_environment"),
    [
        pytest.param("A=1\n", {}, "1", False, id="only_the_file"),
        pytest.param("", {"A": "2"}, "2", True, id="only_the_environment"),
        pytest.param("A=1\n", {"A": "2"}, "2", True, id="the_environment_wins"),
        pytest.param("A=1\n", {"A": ""}, "1", False, id="empty_in_the_environment"),
        pytest.param("A=\n", {}, None, False, id="empty_in_the_file"),
        pytest.param("A\n", {"A": ""}, None, False, id="empty_in_both"),
        pytest.param("", {}, None, False, id="nowhere"),
        pytest.param("A=1\nA=2\n", {}, "2", False, id="the_last_of_two"),
    ],
)
def test_the_environment_wins_and_empty_counts_as_absent(
    path: Path,
    in_file: str,
    in_environment: dict[str, str],
    value: str | None,
    from_environment: bool,
) -> None:
    put(path, in_file)
    env = Env(path, in_environment, print)

    assert env.get("A") == value
    assert env.is_from_environment("A") == from_environment
    assert env.stored("A") == (stored(path).get("A") or None)


def test_everything_missing_is_named_at_once_with_who_supplies_it(path: Path) -> None:
    env = Env(path, {"SCOPES": "a", "API_KEY": ""}, print)

    with pytest.raises(LocalError) as error:
        env.require("OKTA_URL", "API_KEY", "SCOPES", "MODULUS or PRIVATE_KEY")

    assert str(error.value).splitlines() == [
        "missing settings:",
        f"  OKTA_URL: {WHO_WRITES['OKTA_URL']}",
        f"  API_KEY: {WHO_WRITES['API_KEY']}",
        f"  MODULUS or PRIVATE_KEY: {WHO_WRITES['MODULUS']}",
    ]
    assert str(path) in error.value.hint


def test_a_quote_that_is_not_closed_is_pointed_out_where_something_is_missing(path: Path) -> None:
    put(path, "# ours\nSCOPES='a\nPRIVATE_KEY='p'\n")

    with pytest.raises(LocalError, match=r"line 2 of the file is not an assignment: .* quote"):
        Env(path, {}, print).require("PRIVATE_KEY")


def test_what_is_required_comes_back_and_of_two_either_will_do(path: Path) -> None:
    put(path, "A=1\nPRIVATE_KEY=p\nOTHER=x\n")
    env = Env(path, {"A": "2"}, print)

    assert env.require("A", "MODULUS or PRIVATE_KEY") == {"A": "2", "PRIVATE_KEY": "p"}


@pytest.mark.parametrize("link", [False, True], ids=["no_file", "a_link_to_nothing"])
def test_a_file_that_the_user_named_and_that_is_not_there_is_an_error(
    path: Path, link: bool
) -> None:
    if link:
        path.symlink_to("nothing")
    complete = {"A": "1"}

    with pytest.raises(LocalError, match="does not exist") as error:
        Env(path, complete, print, explicit=True).require("A")
    assert "--env-file" in error.value.hint

    assert Env(path, complete, print).require("A") == complete
    path.touch()
    (path.parent / "nothing").touch()
    assert Env(path, complete, print, explicit=True).require("A") == complete


def test_where_there_is_no_file_the_command_that_makes_one_is_printed(path: Path) -> None:
    folder = path.parent / "a b"
    folder.mkdir()
    (folder / ".env.example").write_text("A=\n")
    for made in (False, True):
        with pytest.raises(LocalError) as error:
            Env(folder / ".env", {}, print).require("OKTA_URL")
        commands = re.findall("run `(cp .*)`, and fill it in", error.value.hint)
        assert len(commands) == (not made)
        for command in commands:
            subprocess.run(["/bin/sh", "-c", command], cwd="/", check=True)
    assert (folder / ".env").read_text() == "A=\n"


@pytest.mark.parametrize(
    ("in_environment", "warned"),
    [
        pytest.param({}, False, id="not_set"),
        pytest.param({"A": ""}, False, id="empty"),
        pytest.param({"A": "new"}, False, id="the_same"),
        pytest.param({"A": "old"}, True, id="another"),
    ],
)
def test_a_value_that_the_environment_hides_is_written_with_a_warning(
    path: Path, notes: list[str], in_environment: dict[str, str], warned: bool
) -> None:
    env = Env(path, in_environment, notes.append)

    env.save({"A": "new"})

    assert stored(path) == {"A": "new"}
    assert env.stored("A") == "new"
    assert [("warning: A is also set" in note, "unset A" in note) for note in notes] == (
        [(True, True)] if warned else []
    )


def test_an_empty_value_clears_a_name(settings: Env, path: Path) -> None:
    put(path, "A=1\nB=2\n")

    settings.save({"A": ""})

    assert path.read_text() == "A=\nB=2\n"
    assert settings.get("A") is None


def test_the_secrets_that_were_read_are_known_from_both_places(path: Path) -> None:
    put(path, "API_KEY=00file\nPRIVATE_KEY=pem\nA=1\n")
    env = Env(path, {"API_KEY": "00environment"}, print)
    env.get("A")

    assert sorted(env.secrets()) == ["00environment", "00file", "pem"]


def test_the_table_of_names_is_complete() -> None:
    assert list(WHO_WRITES) == [
        *("OKTA_URL", "API_KEY", "SCOPES", "ADMIN_ROLES", "DPOP"),
        *("PRIVATE_KEY", "PUBLIC_KEY", "MODULUS", "KEY_ID", "CLIENT_ID"),
    ]
