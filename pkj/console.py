"""Run a script: its options, its two streams, its exit code.

stdout is for results: the blocks that README shows, or the token alone. stderr is for
everything else a person reads. Third-party packages are imported only once the options are
parsed, so that `--help` is quick, and a missing package can be reported.
"""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol, TextIO

from pkj import __version__
from pkj.errors import LocalError, PkjError, UsageError

if TYPE_CHECKING:
    from pkj.env import Env

    class Step(Protocol):
        """What a script does between its options and its exit code."""

        def __call__(self, env: Env, options: Namespace, out: Console) -> None: ...


APP_NAME = "Private Key JWT Service App"
HEADING = "/////////////////"
INTERRUPTED = 130
PACKAGES = {"cryptography", "dotenv", "jwt", "requests"}
INSTALL = "activate the virtual environment, or run `pip install -r requirements.txt` in it"


class Console:
    """The two streams. `secrets` returns what must not be shown, each time it is needed."""

    def __init__(self) -> None:
        self.secrets: Callable[[], Iterable[str]] = tuple
        self.failure = ""
        self._begun = False

    def heading(self, text: str) -> None:
        """Print the heading of a block, with blank lines around it, as README shows."""
        self.say(f"{chr(10) * self._begun}{HEADING} {text}\n")
        self._begun = True

    def say(self, text: str) -> None:
        """Print progress or a result to stdout."""
        self._write(sys.stdout, self._safe(text))

    def note(self, text: str) -> None:
        """Print something to know to stderr."""
        self._write(sys.stderr, self._safe(text))

    def emit(self, text: str) -> None:
        """Print a result unchanged to stdout: a token, the only secret that is shown, or a JWK."""
        self._write(sys.stdout, text)

    def complain(self, error: PkjError, origin: str = "") -> None:
        """Print what failed, and what to do about it, to stderr."""
        self.note(f"error: {error}{origin}")
        if error.hint:
            self.note(f"what to do: {error.hint}")

    def require_person(self, options: Namespace, option: str) -> None:
        """Raise UsageError if `option` has to ask for confirmation, and nobody can be asked."""
        if options.yes or options.dry_run or (sys.stdin is not None and sys.stdin.isatty()):
            return
        raise UsageError(f"{option} asks for confirmation, but this is not a terminal", "add --yes")

    def confirm(self, what: str, client_id: str) -> None:
        """Raise LocalError unless the person types the client ID."""
        self.note(f"{what}; type the app's client ID {client_id} to continue:")
        try:
            typed = sys.stdin.readline().strip()
        except UnicodeDecodeError:  # keys that the terminal's encoding does not have
            typed = ""
        if typed != client_id:
            problem = "the client ID does not match; nothing was deleted"
            raise LocalError(problem, "run this again and type the client ID, or add --yes")

    def flush(self) -> None:
        """Flush what argparse printed: a broken pipe at exit would print a traceback."""
        for stream in (sys.stdout, sys.stderr):
            self._write(stream, "", end="")

    def _safe(self, text: str) -> str:
        from pkj.masking import masked, visible  # not needed for `--help`

        return visible(masked(text, self.secrets()))

    def _write(self, stream: TextIO | None, text: str, end: str = "\n") -> None:
        if stream is None:  # closed by whoever started the process: `>&-`
            return
        try:
            print(text, end=end, file=stream, flush=True)
        except BrokenPipeError:
            _silence(stream)
        except OSError as cause:
            self.failure = f"the output could not be written: {cause.strerror}"
            _silence(stream)


def run(step: Step, doc: str | None, add_options: Callable[[ArgumentParser], object]) -> NoReturn:
    """Parse the options, run the step, end the process with its exit code.

    `doc` is the script's docstring (None under `python -OO`) and its `--help`. An exception
    that is not a PkjError is a defect of this toolkit, and shows its traceback.
    """
    # A script lives for a fraction of a second. The garbage collector would run dozens of times
    # while modules are imported, for nothing; the memory a script needs is bounded elsewhere.
    # At the end, the interpreter would collect once more and free every module one by one, which
    # the system does at once. Both together are a fifth of the time of get_access_token.py.
    gc.disable()
    out, code = Console(), 0
    try:
        _interrupt_once()
        code = _run(step, doc, add_options, out)
        out.flush()
        _ignore_interrupts()
    except KeyboardInterrupt:
        _ignore_interrupts()
        out.note("interrupted")
        code = INTERRUPTED
    if out.failure and code == 0:
        out.complain(LocalError(out.failure, "the work is done; check where the output goes"))
        code = LocalError.exit_code
    os._exit(code)  # all output is flushed


def _run(
    step: Step, doc: str | None, add_options: Callable[[ArgumentParser], object], out: Console
) -> int:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # both are TextIOWrapper
    env = None
    try:
        options = _parse(doc or "", add_options)
        from pkj.env import BESIDE_THE_SCRIPTS, Env

        explicit = options.env_file is not None
        path = options.env_file or BESIDE_THE_SCRIPTS
        env = Env(path, os.environ, out.note, explicit=explicit)
        out.secrets = env.secrets
        step(env, options, out)
    except SystemExit as end:  # raised by argparse
        return end.code if isinstance(end.code, int) else 0
    except PkjError as error:
        out.complain(error, _origin(error, env))
        return error.exit_code
    except ModuleNotFoundError as cause:
        if cause.name not in PACKAGES:
            raise
        out.complain(LocalError(f"the package {cause.name} is not installed", INSTALL))
        return LocalError.exit_code
    return 0


def _origin(error: PkjError, env: Env | None) -> str:
    """Say which of the settings in a message came from the environment."""
    named = set(re.findall(r"[A-Z_]+", f"{error} {error.hint}"))
    if env is None or not (names := sorted(named & env.used_from_environment)):
        return ""
    come = "comes" if len(names) == 1 else "come"
    return f" ({' and '.join(names)} {come} from the environment, which overrides {env.path})"


def _interrupt_once() -> None:
    """Let Ctrl-C interrupt once: a second one could only add a traceback to the first."""

    def interrupt(*_: object) -> None:
        _ignore_interrupts()
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not in a background job
        signal.signal(signal.SIGINT, interrupt)


def _ignore_interrupts() -> None:
    """Ignore Ctrl-C while the process ends: it could only add a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _silence(stream: TextIO) -> None:
    """Send the rest of a stream nowhere: nobody reads it, and the work goes on."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _parse(doc: str, add_options: Callable[[ArgumentParser], object]) -> Namespace:
    """Return the options of this process. The first paragraph of `doc` says what the script does.

    Ends the process (SystemExit) with 2 for wrong usage, with 0 after `--help`.
    """
    summary, _, details = doc.partition("\n\n")
    parser = ArgumentParser(
        description=summary,
        epilog=details,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    what = "the file that holds the settings, instead of the .env beside the scripts"
    parser.add_argument("--env-file", type=Path, metavar="PATH", help=what)
    add_options(parser)
    return parser.parse_args()


def add_app_options(parser: ArgumentParser) -> None:
    """Add the options of create_okta_service_app.py."""
    app = parser.add_argument_group("the app")
    app.add_argument("--name", type=_app_name, help=f"the name of a new app (default: {APP_NAME})")
    action = app.add_mutually_exclusive_group()
    action.add_argument("--delete", action="store_true", help="delete the app and clear CLIENT_ID")
    what = "replace the key in .env with a new one; Okta still trusts the old one"
    action.add_argument("--rotate-key", action="store_true", help=what)
    what = "delete the signing keys of the app, except the one in use"
    action.add_argument("--retire-old-keys", action="store_true", help=what)
    app.add_argument("--dry-run", action="store_true", help="show changes without making them")
    what = "with --delete or --retire-old-keys: do not ask for confirmation"
    app.add_argument("--yes", action="store_true", help=what)
    _add_request_options(parser)


def add_token_options(parser: ArgumentParser) -> None:
    """Add the options of get_access_token.py."""
    token = parser.add_argument_group("the token")
    token.add_argument(
        "-o",
        dest="form",
        choices=("text", "token", "json", "header"),
        help="what to print: text (the default), the token alone, the response as JSON, or a"
        " header for `curl -H @-`",
    )
    token.add_argument(
        "--for",
        dest="target",
        nargs=2,
        metavar=("METHOD", "URL"),
        help="with -o header: the headers for this one request, including its DPoP proof",
    )
    token.add_argument(
        "--check",
        nargs="?",
        const="/api/v1/users?limit=1",
        metavar="PATH",
        help="call the org with the token, and print the status instead of the token (default:"
        " /api/v1/users?limit=1)",
    )
    _add_request_options(parser)


def check_token_options(options: Namespace) -> None:
    """Raise UsageError if `-o`, `--for` and `--check` cannot be combined like this."""
    form, target, path = options.form, options.target, options.check
    if target and form != "header":
        raise UsageError("--for requires -o header")
    if path is not None and form:
        raise UsageError("--check cannot be combined with -o")
    if path is not None and not re.fullmatch(r"/(?!/)[!-\"$-\[\]-~]*", path):
        raise UsageError("--check needs a path of the org, such as /api/v1/users")
    if target and not re.fullmatch(r"[A-Za-z]+", target[0]):
        raise UsageError(f"--for needs a method such as GET, not {target[0]!r}")


def _add_request_options(parser: ArgumentParser) -> None:
    requests = parser.add_argument_group("requests to Okta")
    requests.add_argument(
        "--timeout",
        type=_seconds,
        default=30.0,
        metavar="SECONDS",
        help="how long to wait for Okta to respond (default: 30)",
    )
    what = "show each request and its status in a line on stderr"
    requests.add_argument("-v", "--verbose", action="store_true", help=what)
    what = "show each request and response in full on stderr: JWTs decoded, secrets masked"
    requests.add_argument("--explain", action="store_true", help=what)


def _app_name(text: str) -> str:
    """Return the name. Okta's texts allow at most three bytes of UTF-8 for each character
    (developer.okta.com/docs/reference/core-okta-api)."""
    if not text.strip():
        raise ArgumentTypeError("must not be empty")
    if re.search("[\x00-\x1f\x7f-\x9f\ud800-\udfff]", text):
        raise ArgumentTypeError("must not contain control characters or invalid text")
    if max(text) > "\uffff":
        raise ArgumentTypeError("must not contain characters beyond U+FFFF, such as emoji")
    return text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= 3600:
        raise ArgumentTypeError(f"must be a number of seconds above 0, at most 3600: {text}")
    return seconds
