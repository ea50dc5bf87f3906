"""Run a step: its options, its two streams, its exit code.

stdout is what the step is for: the customer's blocks, or the token alone. stderr is
everything else a person reads. Nothing is imported here before the options are known, and
all of it where Ctrl-C is already looked after: `--help` and an interrupt wait for nothing.
"""

from __future__ import annotations

import gc
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol, TextIO

from pkj import __version__

if TYPE_CHECKING:
    from pkj.env import Env
    from pkj.errors import PkjError

    class Step(Protocol):
        """What a script does between its options and its exit code."""

        def __call__(self, env: Env, options: Namespace, out: Console) -> None: ...

    AddOptions = Callable[[ArgumentParser], object]

APP_NAME = "Private Key JWT Service App"
HEADING = "/////////////////"
INTERRUPTED = 130
PACKAGES = {"cryptography", "dotenv", "jwt", "requests"}
INSTALL = "activate the virtual environment, or `pip install -r requirements.txt` into it"


class Console:
    """The two streams. `secrets` gives what must never be shown at the time of asking."""

    def __init__(self) -> None:
        self.secrets: Callable[[], Iterable[str]] = tuple
        self.dry_run = False
        self.would_change = False
        self.failure = ""
        self._begun = False

    def would(self, change: str) -> bool:
        """In a dry run says what would be changed; whether it is one, so that nothing is."""
        if self.dry_run:
            self.would_change = True
            self._write(sys.stdout, self._safe(f"would {change}"))
        return self.dry_run

    def can_ask(self) -> bool:
        """Whether a person sits there to answer."""
        return sys.stdin is not None and sys.stdin.isatty()

    def ask(self, question: str) -> str:
        """The line that a person types in reply."""
        self.note(question)
        try:
            return sys.stdin.readline().strip()
        except UnicodeDecodeError:  # keys that are no letters of the terminal's encoding
            return ""

    def heading(self, text: str) -> None:
        """The head of a block of the customer's text, with the blank lines around it."""
        self.say(f"{chr(10) * self._begun}{HEADING} {text}\n")
        self._begun = True

    def say(self, text: str) -> None:
        """Progress or an answer, to stdout; nothing in a dry run, which has words of its own."""
        if not self.dry_run:
            self._write(sys.stdout, self._safe(text))

    def note(self, text: str) -> None:
        """Something to know, to stderr."""
        self._write(sys.stderr, self._safe(text))

    def emit(self, text: str) -> None:
        """A result exactly as it is, to stdout: a token, the one secret that goes out, or a JWK."""
        self._write(sys.stdout, text)

    def complain(self, error: PkjError, origin: str = "") -> None:
        self.note(f"error: {error}{origin}")
        if error.hint:
            self.note(f"what to do: {error.hint}")

    def flush(self) -> None:
        """What argparse printed may still be waiting; at exit it would fail with a traceback."""
        for stream in (sys.stdout, sys.stderr):
            self._write(stream, "", end="")

    def _safe(self, text: str) -> str:
        from pkj.masking import masked, visible

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


def run(step: Step, doc: str | None, add_options: AddOptions) -> NoReturn:
    """Parse the options, run the step, end the process with its exit code.

    `doc` is the script's docstring (None under `python -OO`) and its `--help`. An exception
    that is none of ours is a defect of this toolkit, and shows its traceback.
    """
    # A step lives for a fraction of a second, in which the collector would run dozens of times
    # over what the imports bring, and once over everything at exit: 10 % of the time of
    # get_access_token.py, and nothing gained. What a step needs most is bounded elsewhere.
    gc.disable()
    out, code = None, 0
    try:
        _interrupt_once()
        out = Console()
        code = _run(step, doc, add_options, out)
        out.flush()
        _ignore_interrupts()
    except KeyboardInterrupt:
        _ignore_interrupts()
        out = out or Console()
        out.note("interrupted")
        code = INTERRUPTED
    if out.failure and code == 0:
        from pkj.errors import LocalError

        out.complain(LocalError(out.failure, "the work is done; see where the output goes to"))
        code = LocalError.exit_code
    gc.freeze()  # the collection at exit then finds nothing to do
    sys.exit(code)


def _interrupt_once() -> None:
    """Let Ctrl-C interrupt once: a second one could only add a traceback to the first."""
    import signal

    def interrupt(*_: object) -> None:
        _ignore_interrupts()
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not in a background job
        signal.signal(signal.SIGINT, interrupt)


def _ignore_interrupts() -> None:
    """What is left is the end of the process: an interrupt could only add a traceback."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run(step: Step, doc: str | None, add_options: AddOptions, out: Console) -> int:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # both are TextIOWrapper
    from pkj.errors import LocalError, PkjError

    env = None
    try:
        options = parse(doc or "", add_options)
        env = _env(options.env_file, out)
        step(env, options, out)
    except SystemExit as end:
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
    import re

    told = {getattr(error, "setting", ""), *re.findall(r"[A-Z_]+", f"{error} {error.hint}")}
    if env is None or not (names := sorted(told & env.from_environment)):
        return ""
    come = "comes" if len(names) == 1 else "come"
    return f" ({' and '.join(names)} {come} from the environment, which wins over {env.path})"


def _env(path: Path | None, out: Console) -> Env:
    from pkj.env import BESIDE_THE_SCRIPTS, Env

    env = Env(path or BESIDE_THE_SCRIPTS, os.environ, out.note, explicit=path is not None)
    out.secrets = env.secrets
    return env


def _silence(stream: TextIO) -> None:
    """Nobody reads this stream any more: the work goes on, the words go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def parse(doc: str | None, add_options: Callable[[ArgumentParser], object]) -> Namespace:
    """The options given to this process. `doc`: a line that says what the step does, the rest;
    None under `python -OO`.

    Ends the process (SystemExit) with 2 for wrong usage, with 0 after `--help`.
    """
    summary, _, details = (doc or "").partition("\n\n")
    parser = ArgumentParser(
        description=summary,
        epilog=details,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_options(parser)
    parser.add_argument(
        "--env-file",
        type=Path,
        metavar="PATH",
        help="the file that holds the settings, instead of the .env beside the scripts",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser.parse_args()


def add_app_options(parser: ArgumentParser) -> None:
    """What create_okta_service_app.py does with the app."""
    what = f"what a new app is called ({APP_NAME})"
    parser.add_argument("--name", type=_app_name, help=what)
    parser.add_argument("--dry-run", action="store_true", help="show changes without making them")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--delete", action="store_true", help="delete the app, clear CLIENT_ID")
    instead.add_argument(
        "--rotate-key",
        action="store_true",
        help="replace the key in .env with a new one; Okta still trusts the old one",
    )
    instead.add_argument(
        "--retire-old-keys",
        action="store_true",
        help="delete the signing keys of the app, except the one in use",
    )
    what = "with --delete or --retire-old-keys: do not ask"
    parser.add_argument("--yes", action="store_true", help=what)


def add_token_options(parser: ArgumentParser) -> None:
    """What get_access_token.py does with the token."""
    parser.add_argument(
        "-o",
        dest="form",
        choices=("text", "token", "json", "header"),
        help="what to print: text (the default), the token alone, the response as JSON, or a"
        " header for `curl -H @-`",
    )
    parser.add_argument(
        "--for",
        dest="target",
        nargs=2,
        metavar=("METHOD", "URL"),
        help="with -o header: the headers that this one request needs, its DPoP proof among them",
    )
    parser.add_argument(
        "--check",
        nargs="?",
        const="/api/v1/users?limit=1",
        metavar="PATH",
        help="call the org with the token and print the status (/api/v1/users?limit=1)",
    )


def add_network_options(parser: ArgumentParser) -> None:
    """The options of the steps that talk to Okta."""
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=30.0,
        metavar="SECONDS",
        help="how long to wait for Okta (30); a whole response may take four times that",
    )
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="show each request and response in a line on stderr",
    )
    parser.add_argument(
        "--explain",
        action="store_true",
        help="show each request and response in full on stderr: JWTs decoded, secrets masked",
    )


def _app_name(text: str) -> str:
    """Okta's texts hold at most three bytes of UTF-8 for a character (developer.okta.com/docs/
    reference/core-okta-api)."""
    if not text.strip():
        raise ArgumentTypeError("must not be blank")
    from unicodedata import category  # few runs need it

    if any(category(character) in ("Cc", "Cs") for character in text):
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
        raise ArgumentTypeError(f"not a number of seconds from above 0 to 3600: {text}")
    return seconds
