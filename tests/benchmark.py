"""`python -m tests.benchmark`: how long each script takes, beside the least it could take.

Each script is timed as a whole process, next to its floor: a process that imports the same
libraries to the same depth, sends the same requests over one TLS connection, byte for byte,
and does nothing else: it reads no `.env`, checks no key, signs nothing. The floor of
generate_keys.py makes a key; how long that takes is luck, which only many rounds even out.

The mock org has a process of its own, and counts requests and connections there. As a thread
in here it would wait for this interpreter whenever another of twenty processes is started.
"""

import argparse
import base64
import datetime
import importlib.metadata
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults import Org, Sandbox

ROOT = Path(__file__).resolve().parent.parent
GENERATE_KEYS, CREATE_APP, GET_TOKEN = (
    "generate_keys.py",
    "create_okta_service_app.py",
    "get_access_token.py",
)
PACKAGES = ("cryptography", "python-dotenv", "PyJWT", "requests")
KEPT = ("PATH", "HOME", "LANG", "SYSTEMROOT")
"""Of the environment: no settings, no proxy, nothing that makes Python slower."""

FEW = "okta.users.read okta.users.manage"
MANY = " ".join(f"okta.sample{n:02}.{right}" for n in range(85) for right in ("read", "manage"))
"""170 scopes, about as many as Okta has; the names are made up, and as long as real ones."""

KEYS = """
import gc
gc.disable()
import json, sys
import dotenv.parser
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
"""
SEND = """
import requests
with open(sys.argv[1]) as file, requests.Session() as session:
    for method, url, headers, body in json.load(file):
        session.request(method, url, headers=headers, data=body, timeout=30)
"""
END = "\nimport os; os._exit(0)"
"""Like the scripts: otherwise a plain process would be slower than they are."""

FLOORS = {
    GENERATE_KEYS: f"{KEYS}rsa.generate_private_key(65537, 2048){END}",
    CREATE_APP: f"{KEYS}{SEND}{END}",
    GET_TOKEN: f"{KEYS}import jwt{SEND}{END}",
}


@dataclass
class Row:
    """`at_once` processes of a script; `apps` are in the org already, `filler` bytes in `.env`."""

    name: str
    script: str
    settings: dict[str, str] = field(default_factory=dict)
    apps: int = 0
    filler: int = 0
    at_once: int = 1
    seconds: list[tuple[float, float]] = field(default_factory=list)
    counts: tuple[int, int] = (0, 0)

    def cells(self) -> list[str]:
        script, floor = map(statistics.median, zip(*self.seconds, strict=True))
        times = f"{script * 1000:.0f}", f"{floor * 1000:.0f}", f"{script / floor:.2f}"
        return [self.name, *times, *map(str, self.counts)]


ROWS = (
    Row("generate_keys.py", GENERATE_KEYS),
    Row("create_okta_service_app.py", CREATE_APP),
    Row("create_okta_service_app.py, 170 scopes", CREATE_APP, {"SCOPES": MANY}),
    Row("create_okta_service_app.py, an org of 5,000 clients", CREATE_APP, apps=5000),
    Row("get_access_token.py", GET_TOKEN),
    Row("get_access_token.py, DPoP from the first request", GET_TOKEN, {"DPOP": "true"}),
    Row("get_access_token.py, a .env of 1 MB", GET_TOKEN, filler=10**6),
    Row("get_access_token.py, twenty at once", GET_TOKEN, at_once=20),
)
HEAD = ["", "milliseconds", "floor", "ratio", "requests", "connections"]


class Bench:
    """A row's own mock org, and a folder with its `.env`, which is the same before each run."""

    def __init__(self, row: Row, folder: Path, org: Any) -> None:
        self._row, self._folder, self._org, self._env = row, folder, org, folder / ".env"
        url, ca_file, api_token = json.loads(org.stdout.readline())
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        self._environ = kept | {"REQUESTS_CA_BUNDLE": ca_file}
        values = {"OKTA_URL": url, "API_KEY": api_token, "SCOPES": FEW} | row.settings
        self._env.write_text("".join(f"{name}='{text}'\n" for name, text in values.items()))
        for script in {
            GENERATE_KEYS: (),
            CREATE_APP: (GENERATE_KEYS,),
            GET_TOKEN: (GENERATE_KEYS, CREATE_APP),
        }[row.script]:
            self._run([self._script(script)])
        line = "# a line of somebody else's\nEXAMPLE_{:06}='a value of theirs, of 40 characters'\n"
        lines = range(row.filler // len(line.format(0)))
        self._start = self._env.read_text() + "".join(map(line.format, lines))

    def measure(self) -> tuple[float, float]:
        """The seconds that the script and its floor take; the row gets the counts."""
        row, creates_app = self._row, self._row.script == CREATE_APP
        self._env.write_text(self._start)
        self._ask("apps" if creates_app else "")
        script = self._run([self._script(row.script)] * row.at_once)
        sent, connections = self._ask("grants" if creates_app else "")
        row.counts = len(sent), connections
        floor = self._run([self._floor(sent[n :: row.at_once], n) for n in range(row.at_once)])
        if len(self._ask("")[0]) != len(sent):
            sys.exit(f"{row.name}: the floor sent something else than the script")
        return script, floor

    def _ask(self, forget: str) -> Any:
        print(forget, file=self._org.stdin, flush=True)
        return json.loads(self._org.stdout.readline())

    def _script(self, script: str) -> list[str]:
        return [str(ROOT / script), "--env-file", str(self._env)]

    def _floor(self, sent: list[Any], number: int) -> list[str]:
        requests = self._folder / f"{number}.json"
        requests.write_text(json.dumps(sent))
        return ["-c", FLOORS[self._row.script], str(requests)]

    def _run(self, commands: list[list[str]]) -> float:
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        began = time.perf_counter()
        lines = ([sys.executable, *command] for command in commands)
        processes = [subprocess.Popen(line, env=self._environ, **streams) for line in lines]
        errors = [process.communicate()[1] for process in processes]
        took = time.perf_counter() - began
        if any(process.returncode for process in processes):
            sys.exit(f"{self._row.name}: {max(errors)}")
        return took


@contextmanager
def bench(row: Row) -> Iterator[Bench]:
    """The row's mock org, running; it ends with the block, when nobody asks any more."""
    command = [sys.executable, "-m", "tests.benchmark", "--org", str(row.apps)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        tempfile.TemporaryDirectory(prefix="pkj-") as folder,
        subprocess.Popen(command, cwd=ROOT, **pipes) as org,
    ):
        yield Bench(row, Path(folder), org)


def serve(apps: int) -> None:
    """Be the mock org of a row: say where it is, then answer each line on stdin.

    The response is what was sent since the last one, and over how many connections. Then it
    forgets what the line names, so that all can be sent once more: "apps" (those registered
    meanwhile), "grants" (of those), or nothing but which assertions and proofs were used.
    """
    org, before = Org("https://127.0.0.1"), 0
    for number in range(apps):
        n = base64.urlsafe_b64encode(b"\xff" + os.urandom(255)).decode().rstrip("=")
        org.add_client(f"App {number}", [{"kty": "RSA", "e": "AQAB", "n": n, "kid": str(number)}])
    planted = set(org.clients)
    with Sandbox(org) as sandbox:
        print(json.dumps([sandbox.url, sandbox.ca_file, org.api_key]), flush=True)
        for line in sys.stdin:
            seen = [s.request for s in sandbox.seen]
            sent = [(s.method, org.url + s.target, {**s.headers}, s.body.decode()) for s in seen]
            print(json.dumps([sent, sandbox.connections - before]), flush=True)
            before = sandbox.connections
            for used in (sandbox.seen, org.used_assertions, org.used_proofs):
                used.clear()
            for client in set(org.clients) - planted:
                if line.strip() == "apps":
                    del org.clients[client]
                elif line.strip() == "grants":
                    org.clients[client].grants.clear()


def where() -> str:
    """What it ran on: a machine's figures say nothing about another's."""
    models = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.+)", models.read_text()) if models.exists() else None
    processor = model[1] if model else platform.processor() or platform.machine()
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    today = datetime.datetime.now(datetime.timezone.utc).date()
    python = f"Python {platform.python_version()}"
    return f"{today}, {os.cpu_count()} cores ({processor}), {python}, {versions}"


def table(rows: list[list[str]]) -> str:
    """Markdown, in columns that a terminal shows as such."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rules = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [
        [row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]
        for row in (rows[0], rules, *rows[1:])
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def measure(rounds: int, markdown: Path | None) -> None:
    with ExitStack() as stack:
        benches = [(row, stack.enter_context(bench(row))) for row in ROWS]
        for number in range(rounds + 1):
            for row, ready in benches:
                seconds = ready.measure()
                if number:  # the first round is for the caches of the disk and of Python
                    row.seconds.append(seconds)
    text = table([HEAD, *(row.cells() for row in ROWS)])
    text += f"\nMedians of {rounds} rounds; {where()}.\n"
    print(text, end="")
    if markdown:
        markdown.write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark")
    parser.add_argument("--rounds", type=int, default=11, help="runs of each (default: 11)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table to it")
    parser.add_argument("--org", type=int, metavar="APPS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.org is None:
        measure(options.rounds, options.markdown)
    else:
        serve(options.org)


if __name__ == "__main__":
    main()
