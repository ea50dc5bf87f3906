"""The command line of a step: options that steps share, and how all of them are read."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable
from pathlib import Path
from unicodedata import category

from pkj import __version__

APP_NAME = "Private Key JWT Service App"


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
