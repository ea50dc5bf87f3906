"""Scripts as processes of their own, forked from one that has the four packages in memory.

A new interpreter takes 0.3 s to import them, and the tests run a script some thousand times.
Forked from such a process, a script has its own process id, streams, environment and exit
code all the same. It imports `pkj` itself: this module must not.
"""

import importlib
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

QUICK = {"pkj.app_choice": (0, 0, 0, 0), "pkj.app_deletion": (0, 0, 0, 0, 0)}
"""For the `LAG_PAUSES` of these modules: tests do not wait for an org that lags behind."""

WARM = ["cryptography.hazmat.primitives.serialization", "dotenv", "jwt", "requests"]


def possible() -> bool:
    """macOS has the system call, but its own libraries do not survive it."""
    return sys.platform == "linux"


def run(
    command: list[str], environment: Mapping[str, str], folder: Path, timeout: float
) -> subprocess.CompletedProcess[str]:
    """What `subprocess.run` returns for `python script arguments`, with both streams as text.

    Raises TimeoutError after `timeout` seconds, with the process ended.
    """
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload([__name__, *WARM])
    with ExitStack() as stack:
        files = [stack.enter_context(tempfile.NamedTemporaryFile()) for _ in range(2)]
        names = [file.name for file in files]
        process = forking.Process(target=_child, args=(command, dict(environment), folder, *names))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(command)
        texts = [file.read().decode() for file in files]
    return subprocess.CompletedProcess(command, process.exitcode, *texts)


def _child(
    command: list[str], environment: dict[str, str], folder: Path, stdout: str, stderr: str
) -> None:
    for number, name in ((1, stdout), (2, stderr)):
        file = os.open(name, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    _python, script, *arguments = command
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(Path(script).parent))
    if script.endswith("create_okta_service_app.py"):
        for module, pauses in QUICK.items():
            importlib.import_module(module).LAG_PAUSES = pauses  # type: ignore[attr-defined]  # of a module
    runpy.run_path(script, run_name="__main__")
