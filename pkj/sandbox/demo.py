"""The whole flow against the mock org, with the real scripts, in a temporary folder."""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import requests

from pkj.sandbox.org import Org
from pkj.sandbox.server import Sandbox

SCRIPTS = Path(__file__).parents[2]
# The user's own settings must not lead the demo to their real org.
SETTINGS = (
    "OKTA_URL",
    "API_KEY",
    "SCOPES",
    "PRIVATE_KEY",
    "PUBLIC_KEY",
    "MODULUS",
    "KEY_ID",
    "CLIENT_ID",
    "ADMIN_ROLES",
    "DPOP",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
)


BEGINNING = """\
A mock Okta org is running at {url}. Nothing in it is real.
The scripts use a temporary .env (--env-file) with ADMIN_ROLES=READ_ONLY_ADMIN: without an
admin role, Okta answers 403. Long values are cut (\u2026)."""

END = """
It works. For your own org, run the next line, set OKTA_URL and API_KEY in .env, and run the
three scripts:
cp -n .env.example .env && chmod 600 .env"""


class DemoError(Exception):
    """A part of the demo failed; the text says which."""


def demo(*, dpop: bool, explain: bool = False) -> int:
    """Run the demo and describe it on stdout. Return the exit code: 0 it worked, 1 it failed."""
    org = Org("https://127.0.0.1", require_dpop=dpop)
    try:
        with tempfile.TemporaryDirectory(prefix="pkj-") as folder, Sandbox(org) as sandbox:
            env_file = Path(folder, ".env")
            _write(env_file, _settings(sandbox, dpop=dpop))
            _tell(BEGINNING.format(url=sandbox.url))
            _flow(sandbox, env_file, dpop=dpop, explain=explain)
    except (DemoError, OSError) as error:
        print(f"The demo failed: {error}", file=sys.stderr)
        return 1
    _tell(END)
    return 0


def _flow(sandbox: Sandbox, env_file: Path, *, dpop: bool, explain: bool) -> None:
    url = f"{sandbox.url}/api/v1/users"
    environment = _environment(sandbox)
    shown = ("--explain",) * explain
    _run(environment, env_file, "generate_keys.py")
    _run(environment, env_file, "create_okta_service_app.py", *shown)
    printed = _run(environment, env_file, "get_access_token.py", *shown)
    headers = {"Authorization": f"Bearer {(printed.split() or [''])[-1]}"}
    if dpop:
        ready = ("-o", "header", "--for", "GET", url)
        headers = _headers(_run(environment, env_file, "get_access_token.py", *ready, *shown))
    _call(url, headers, sandbox.ca_file)


def _settings(sandbox: Sandbox, *, dpop: bool) -> str:
    lines = [
        f"OKTA_URL={sandbox.url}",
        f"API_KEY={sandbox.org.api_key}",
        "SCOPES='okta.users.read okta.users.manage'",
        "ADMIN_ROLES=READ_ONLY_ADMIN",
    ]
    return "\n".join([*lines, *["DPOP=true"] * dpop, ""])


def _write(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(text)


def _environment(sandbox: Sandbox) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    direct = "127.0.0.1,localhost"
    return environment | {
        "REQUESTS_CA_BUNDLE": sandbox.ca_file,
        "NO_PROXY": direct,
        "no_proxy": direct,
    }


def _run(environment: dict[str, str], env_file: Path, script: str, *arguments: str) -> str:
    """Show a command, run it, and show its output. Return its stdout. Raises DemoError."""
    command = shlex.join(["python", script, *arguments])
    _tell(f"\n$ {command}")
    ended = subprocess.run(  # noqa: S603 - our own scripts and our own arguments
        [sys.executable, script, "--env-file", str(env_file), *arguments],
        cwd=SCRIPTS,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        # Requests are explained before the result is shown.
        stderr=None if "--explain" in arguments else subprocess.PIPE,
        text=True,
        check=False,
    )
    if ended.stdout:
        _tell(_shortened(ended.stdout.strip("\n")))
    print(ended.stderr or "", end="", file=sys.stderr, flush=True)
    if ended.returncode:
        raise DemoError(f"`{command}` ended with exit code {ended.returncode}.")
    return ended.stdout


def _shortened(text: str) -> str:
    """Return the text with JWTs cut, and only the ID and name of the application object."""

    def known_by(match: re.Match[str]) -> str:
        app = json.loads(match[0])
        return json.dumps({name: app[name] for name in ("client_id", "client_name")})[:-1] + ", …}"

    text = re.sub(r"^\{\n.*?^\}$", known_by, text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"\b(eyJ[\w-]{37})[\w.-]+", r"\1…", text)


def _headers(lines: str) -> dict[str, str]:
    return dict(line.partition(": ")[::2] for line in lines.splitlines())


def _call(url: str, headers: dict[str, str], ca_file: str) -> None:
    with requests.Session() as session:
        session.trust_env = False  # no proxy, no ~/.netrc, no other CA
        try:
            response = session.get(
                url, headers=headers, verify=ca_file, timeout=30, allow_redirects=False
            )
            body = response.json()
        except requests.RequestException as error:
            raise DemoError(f"GET {url}: {error}") from error
    _tell(f"\nGET {url} with the token -> {response.status_code}")
    if response.status_code != requests.codes.ok:
        raise DemoError(f"GET {url} answered {response.status_code}.")
    _tell(", ".join(user["profile"]["login"] for user in body))


def _tell(text: str) -> None:
    """Print at once, so that the order relative to stderr is kept."""
    print(text, flush=True)
