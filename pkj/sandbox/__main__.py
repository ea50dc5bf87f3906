"""`python -m pkj.sandbox`: serve the mock org, or show the whole flow against it."""

import argparse
import re
import shlex
import signal
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from pkj.sandbox import __doc__ as about

if TYPE_CHECKING:
    from pkj.sandbox.server import Sandbox, Seen

ABOUT_TO_SERVE = (
    "This is a mock Okta org: nothing in it is real, and it forgets everything at Ctrl-C."
)
PACKAGES = {"cryptography", "jwt", "requests"}
INSTALL = "activate the virtual environment, or run `pip install -r requirements.txt` in it"

# The rest of the sandbox is imported where it is used, so that Ctrl-C during these imports,
# which take a moment, prints no traceback either.


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 0 done, 1 failed, 2 usage (by argparse), 130 interrupted."""
    options = _options().parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminated)
    try:
        return _serve(options) if options.command == "serve" else _demo(options)
    except KeyboardInterrupt:
        return 130
    except ModuleNotFoundError as error:
        if error.name not in PACKAGES:
            raise
        print(f"The package {error.name} is not installed: {INSTALL}.", file=sys.stderr)
        return 1


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pkj.sandbox", description=about)
    commands = parser.add_subparsers(dest="command", required=True, metavar="serve|demo")
    serve = commands.add_parser("serve", help="run the mock org until Ctrl-C")
    serve.add_argument("--port", type=_port, default=0, help="default: a free one")
    serve.add_argument("--api-key", type=_api_token, metavar="TOKEN", help="default: a random one")
    serve.add_argument(
        "--no-role-needed",
        action="store_true",
        help="accept API calls without an admin role",
    )
    serve.add_argument(
        "--require-dpop", action="store_true", help="every token request must carry a DPoP proof"
    )
    demo = commands.add_parser("demo", help="run the three scripts against the mock org")
    demo.add_argument("--dpop", action="store_true", help="use a DPoP-bound token")
    demo.add_argument(
        "--explain", action="store_true", help="show each request and response in full"
    )
    return parser


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 to 65535")
    return int(text)


def _api_token(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,200}", text):
        raise argparse.ArgumentTypeError("an API token has letters, digits, - and _ only")
    return text


def _serve(options: argparse.Namespace) -> int:
    from pkj.sandbox.org import Org
    from pkj.sandbox.server import Sandbox

    org = Org(
        "https://127.0.0.1",
        role_needed=not options.no_role_needed,
        require_dpop=options.require_dpop,
        api_key=options.api_key or "",
    )
    try:
        with Sandbox(org, options.port, on_response=_narrate) as sandbox:
            print(ABOUT_TO_SERVE, file=sys.stderr, flush=True)
            print(_lines_to_paste(sandbox), flush=True)
            while True:
                time.sleep(3600)
    except OSError as error:
        where = f"127.0.0.1:{options.port}"
        print(f"The mock org cannot run on {where}: {error.strerror}.", file=sys.stderr)
        return 1


def _lines_to_paste(sandbox: "Sandbox") -> str:
    return f"""\
# lines for .env
OKTA_URL={sandbox.url}
API_KEY={sandbox.org.api_key}
# in the shell where the scripts run
export REQUESTS_CA_BUNDLE={shlex.quote(sandbox.ca_file)}
export CURL_CA_BUNDLE={shlex.quote(sandbox.ca_file)}
export NO_PROXY=127.0.0.1"""


def _narrate(seen: "Seen") -> None:
    """Log method, path and status; query, headers and body contain secrets."""
    path = "".join(char if char.isprintable() else "?" for char in seen.request.path)
    print(seen.request.method, path, seen.response_status or "-", file=sys.stderr, flush=True)


def _demo(options: argparse.Namespace) -> int:
    from pkj.sandbox.demo import demo

    return demo(dpop=options.dpop, explain=options.explain)


def _terminated(*_: object) -> NoReturn:
    """On SIGTERM, exit through the `with` blocks, which clean up."""
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
