"""The `.env` file on disk: read it whole, replace it whole, one writer at a time."""

import contextlib
import errno
import os
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from pkj.errors import WrongHere

if sys.platform != "win32":
    import fcntl

TEMPORARY = ".env.pkj-"
"""How the names of temporary files begin, so that git ignores one that a kill left behind."""

LOCK_SECONDS = 10.0

READ_HINT = "see what --env-file names, and who may read it"
WRITE_HINT = "see what --env-file names, and who may write to its folder"
BUSY_HINT = (
    "a file that is mounted by itself (a container's bind mount) cannot be replaced: "
    "mount its folder, or name another file with --env-file"
)


def read_text(path: Path) -> str | None:
    """The whole text of the file, None where there is no file.

    Raises WrongHere for what is not a readable regular file in UTF-8. Never waits: a FIFO
    is opened without blocking, and refused.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        with open(path, "rb", opener=lambda name, _: os.open(name, flags)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise WrongHere(f"{path} is not a regular file", "name another with --env-file")
            return file.read().decode("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as cause:
        problem = f"{path} is not UTF-8 text (byte {cause.start})"
        raise WrongHere(problem, "save it as UTF-8 and run this again") from cause
    except OSError as cause:
        raise WrongHere(f"{path} cannot be read: {cause.strerror}", READ_HINT) from cause


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock that writers of `path` (resolved) take, for at most one of them at a time.

    The lock is on the folder itself, so it leaves no file behind and ends with the process.
    Raises WrongHere when another writer keeps it for LOCK_SECONDS.
    """
    if sys.platform == "win32":
        yield
        return
    try:
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError as cause:
        raise WrongHere(f"{path} cannot be written: {cause.strerror}", WRITE_HINT) from cause
    try:
        if _lock(folder, path):
            _remove_leftovers(path.parent)
        yield
    finally:
        os.close(folder)


def replace_text(path: Path, text: str) -> int | None:
    """Put `text` in the place of the file (resolved) in one step, mode 0600, owner kept.

    Returns the mode it had if that was looser, else None. Raises WrongHere, and leaves the
    file as it was, if it cannot be done.
    """
    try:
        before = path.stat() if path.exists() else None
        _put(path, text.encode(), path if before else None)
    except OSError as cause:
        hint = BUSY_HINT if cause.errno == errno.EBUSY else WRITE_HINT
        problem = f"{path} cannot be written: {cause.strerror}; it is as it was"
        raise WrongHere(problem, hint) from cause
    mode = stat.S_IMODE(before.st_mode) if before else 0o600
    return mode if mode & ~0o600 and sys.platform != "win32" else None


def keep_copy(path: Path, text: str) -> Path:
    """Keep `text` beside `path` as NAME.previous, or .previous.1 and so on: none is overwritten.

    Returns where. Raises WrongHere. To be called with the lock held.
    """
    copy, number = path.with_name(f"{path.name}.previous"), 0
    try:
        while os.path.lexists(copy):
            number += 1
            copy = path.with_name(f"{path.name}.previous.{number}")
        _put(copy, text.encode(), path)
    except OSError as cause:
        problem = f"{copy} cannot be written: {cause.strerror}; nothing was changed"
        raise WrongHere(problem, WRITE_HINT) from cause
    return copy


def _lock(folder: int, path: Path) -> bool:
    """Whether the lock was taken: some file systems have none for folders (flock(2), NFS)."""
    if sys.platform == "win32":
        return False
    give_up = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            if time.monotonic() > give_up:
                problem = f"{path} is being written by another process"
                raise WrongHere(problem, "wait for it to end, or end it") from cause
            time.sleep(0.02)
        except OSError:
            return False
        else:
            return True


def _remove_leftovers(folder: Path) -> None:
    """With the lock held, every temporary file is one that a killed writer left."""
    for leftover in folder.glob(f"{TEMPORARY}*"):
        with contextlib.suppress(OSError):
            leftover.unlink()


def _put(path: Path, content: bytes, like: Path | None) -> None:
    """Write the file whole, with the owner of the file `like`."""
    temporary = path.with_name(f"{TEMPORARY}{os.urandom(8).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(temporary, flags, 0o600), "wb") as file:
            os.chmod(temporary, 0o600)  # whatever the umask took away
            if like and sys.platform != "win32":
                _keep_owner(file.fileno(), like)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
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
        raise WrongHere(f"{problem}, which this process may not keep", hint) from cause


def _sync_folder(folder: Path) -> None:
    # The rename has happened; a file system that cannot sync a folder does not undo it.
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
