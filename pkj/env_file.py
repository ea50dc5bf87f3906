"""The `.env` file on disk: read it whole, replace it whole, one run at a time."""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

from pkj.errors import LocalError

LARGEST = 2 * 2**20
"""Bytes. Settings need a few thousand; python-dotenv takes seconds to parse a megabyte."""

MOST_SPACES = 1000
"""In a row. python-dotenv's time grows with the square of their number (`parse_unquoted_value`
in dotenv/parser.py): 200,000 around a value take over a minute."""

TOO_MANY_SPACES = re.compile(rf"(?<![^\S\r\n])[^\S\r\n]{{{MOST_SPACES + 1}}}")

LOCK_SECONDS = 60.0
"""How long a run waits for another one."""

SILENT_SECONDS = 0.5
"""How long it waits before it says so."""

READ_HINT = "check what --env-file names, and who may read it"
WRITE_HINT = "check what --env-file names, and who may write to its folder"
BUSY_HINT = (
    "a file that is itself mounted (a container's bind mount) cannot be replaced: mount its"
    " folder, or name another file with --env-file"
)


def read_text(path: Path) -> str | None:
    """Return the text of the file, None if it does not exist.

    Raises LocalError if it is not a readable regular file in UTF-8, or would take too long to
    parse. Never waits: a FIFO is opened without blocking, and refused.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK
    try:
        with open(path, "rb", opener=lambda name, _: os.open(name, flags)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise LocalError(f"{path} is not a regular file", "name another with --env-file")
            content = file.read(LARGEST + 1)
        text = content.decode("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as cause:
        problem = f"{path} is not UTF-8 text (byte {cause.start})"
        raise LocalError(problem, "save it as UTF-8 and run this again") from cause
    except OSError as cause:
        raise LocalError(f"{path} cannot be read: {cause.strerror}", READ_HINT) from cause
    if len(content) > LARGEST:
        problem = f"{path} is larger than {LARGEST} bytes: it is not a .env file"
        raise LocalError(problem, "name another with --env-file")
    if run := TOO_MANY_SPACES.search(text):
        line = len(re.findall(r"\r\n|\n|\r", text[: run.start()])) + 1
        problem = f"line {line} of {path} has more than {MOST_SPACES} spaces in a row"
        raise LocalError(problem, "remove them and run this again")
    return text


def open_to_others(path: Path) -> int | None:
    """Return the mode of the file if users other than its owner may read or change it."""
    with contextlib.suppress(OSError):
        mode = stat.S_IMODE(path.stat().st_mode)
        return mode if mode & 0o066 else None
    return None


@contextlib.contextmanager
def locked(path: Path, note: Callable[[str], None]) -> Iterator[None]:
    """Let no other run change the file during the `with` block.

    The lock (flock(2)) ends with the process. It is on an empty file beside `.env`, which is
    removed at the end: `.env` itself is a new file after each save, and a lock on the folder
    would delay runs that use other files in it. Waits up to LOCK_SECONDS for another run, and
    notes that; then raises LocalError.
    """
    target = Path(os.path.realpath(path))
    lock = target.with_name(f"{target.name}.pkj-lock")
    descriptor = _acquire(lock, path, note)
    try:
        if descriptor is not None:
            for file in dict.fromkeys((path, target)):
                _remove_leftovers(file)
        yield
    finally:
        if descriptor is not None:
            _release(descriptor, lock)


def replace_text(path: Path, text: str) -> int | None:
    """Replace the file at `path` (resolved) by `text` in one step, with mode 0600; keep its owner.

    Return the mode it had if that was looser. Raises LocalError, and leaves the file unchanged,
    if it cannot be done.
    """
    try:
        before = path.stat() if path.exists() else None
        _put(path, text, path if before else None)
    except OSError as cause:
        hint = BUSY_HINT if cause.errno == errno.EBUSY else WRITE_HINT
        problem = f"{path} cannot be written: {cause.strerror}; it was not changed"
        raise LocalError(problem, hint) from cause
    mode = stat.S_IMODE(before.st_mode) if before else 0o600
    return mode if mode & ~0o600 else None


def keep_copy(path: Path, text: str) -> Path:
    """Save `text` beside `path` as NAME.previous, and return where. Call it with the lock held.

    Earlier backups are renamed to .previous.1 and so on: none is overwritten. Raises LocalError.
    """
    copy = path.with_name(f"{path.name}.previous")
    try:
        _put(copy, text, path, before_rename=lambda: _make_room(copy))
    except OSError as cause:
        problem = f"{copy} cannot be written: {cause.strerror}; {path} was not changed"
        raise LocalError(problem, WRITE_HINT) from cause
    return copy


def _acquire(lock: Path, path: Path, note: Callable[[str], None]) -> int | None:
    """Return the descriptor that holds the lock. None if there can be no lock: in a folder where
    nothing can be written anyway, or on a file system without locks (flock(2), NFS)."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    began, told = time.monotonic(), False
    while True:
        try:
            descriptor = os.open(lock, flags, 0o600)
        except OSError as cause:
            if not os.path.lexists(lock):
                return None
            problem = f"{lock} cannot be opened: {cause.strerror}"
            raise LocalError(problem, f"remove it if no other run is using {path}") from cause
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.lstat(lock)):
                return descriptor
        except (BlockingIOError, FileNotFoundError):
            pass  # another run has it, or had it and removed the file
        except OSError:
            _release(descriptor, lock)
            return None
        os.close(descriptor)
        waited = time.monotonic() - began
        if waited > LOCK_SECONDS:
            problem = f"another run is still using {path}; nothing was changed"
            raise LocalError(problem, "wait for it to end, then run this again")
        if waited > SILENT_SECONDS and not told:
            note(f"another run is using {path}; waiting up to {LOCK_SECONDS:.0f} seconds")
            told = True
        time.sleep(0.02)


def _release(descriptor: int, lock: Path) -> None:
    # A run that waits for the file sees that it was removed, and creates another. A file that is
    # not empty is not ours.
    if os.fstat(descriptor).st_size == 0:
        with contextlib.suppress(OSError):
            lock.unlink()
    os.close(descriptor)


def _remove_leftovers(path: Path) -> None:
    """Remove the temporary files that killed runs left; call it with the lock held.

    The name of such a file contains the digest of its text, unless it is empty.
    """
    name = re.compile(rf"{re.escape(path.name)}(?:\.previous)?\.pkj-([0-9a-f]{{32}})-[0-9a-f]{{8}}")
    with contextlib.suppress(OSError):
        for match in filter(None, map(name.fullmatch, os.listdir(path.parent))):
            leftover = path.with_name(match[0])
            with contextlib.suppress(OSError, LocalError):
                text = read_text(leftover)
                if text == "" or (text and _digest(text) == match[1]):
                    leftover.unlink()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _make_room(copy: Path) -> None:
    """Rename the backups one by one, the oldest first, up to the first free name, so that none is
    lost wherever this is killed."""
    names = [copy]
    while os.path.lexists(names[-1]):
        names.append(copy.with_name(f"{copy.name}.{len(names)}"))
    for newer, older in reversed([*pairwise(names)]):
        os.rename(newer, older)


def _put(
    path: Path, text: str, like: Path | None, before_rename: Callable[[], None] = lambda: None
) -> None:
    """Write the whole file, with the owner of the file `like`."""
    temporary = path.with_name(f"{path.name}.pkj-{_digest(text)}-{os.urandom(4).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        with open(os.open(temporary, flags, 0o600), "wb") as file:
            os.fchmod(file.fileno(), 0o600)  # whatever the umask is
            if like:
                _keep_owner(file.fileno(), like)
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        before_rename()
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    _sync_folder(path.parent)


def _keep_owner(file: int, like: Path) -> None:
    fresh, wanted = os.fstat(file), like.stat()
    if (fresh.st_uid, fresh.st_gid) == (wanted.st_uid, wanted.st_gid):
        return
    try:
        os.fchown(file, wanted.st_uid, wanted.st_gid)
    except PermissionError as cause:
        problem = f"{like} belongs to user {wanted.st_uid} and group {wanted.st_gid}"
        hint = "run this as its owner, or change its owner to you; nothing was changed"
        raise LocalError(f"{problem}, which this process cannot preserve", hint) from cause


def _sync_folder(folder: Path) -> None:
    # The rename has happened, even on a file system that cannot sync a folder.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
