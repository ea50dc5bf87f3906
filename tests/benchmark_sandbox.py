"""The benchmark's sandbox, a process of its own: `python -m tests.benchmark_sandbox APPS`.

It begins with a line of JSON that says where it is. Each line that it is sent asks for what
was sent to it since the last one, and over how many connections, and names what it is to
forget: "apps" (those registered meanwhile), "grants" (of those), or nothing but which
assertions and proofs were used, so that all of it can be sent once more.
"""

import base64
import json
import os
import sys

from faults import Sandbox

from pkj.sandbox.org import Org


def plant(org: Org, apps: int) -> None:
    """That many apps, each with a key that nobody has."""
    for number in range(apps):
        n = base64.urlsafe_b64encode(b"\xff" + os.urandom(255)).decode().rstrip("=")
        org.add_client(f"App {number}", [{"kty": "RSA", "e": "AQAB", "n": n, "kid": str(number)}])


def make_ready(org: Org, made: set[str], forget: str) -> None:
    org.used_assertions.clear()
    org.used_proofs.clear()
    for client in made:
        if forget == "apps":
            del org.clients[client]
        elif forget == "grants":
            org.clients[client].grants.clear()


def main(apps: int) -> None:
    org = Org("https://127.0.0.1")
    plant(org, apps)
    planted, before = set(org.clients), 0
    with Sandbox(org) as sandbox:
        print(json.dumps([sandbox.url, sandbox.ca_file, org.api_key]), flush=True)
        for line in sys.stdin:
            seen = [s.request for s in sandbox.seen]
            sent = [(s.method, org.url + s.target, {**s.headers}, s.body.decode()) for s in seen]
            print(json.dumps([sent, sandbox.connections - before]), flush=True)
            before = sandbox.connections
            sandbox.seen.clear()
            make_ready(org, set(org.clients) - planted, line.strip())


if __name__ == "__main__":
    main(int(sys.argv[1]))
