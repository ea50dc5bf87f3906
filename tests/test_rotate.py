"""Key rotation: an old and a new key that both work, and a `.env` that works whatever happens."""

import contextlib
import os
import resource
import signal
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import (
    STEP_2,
    STEP_3,
    EnvFile,
    Run,
    clean_environment,
    command,
    plant,
    public_jwk,
    run_here,
    trusting,
    with_env_file,
)
from cryptography.hazmat.primitives.asymmetric import rsa
from faults import Action, Fault, Sandbox, Turn, hang, patch, reset_after, reset_before

from pkj import keys
from pkj.app import rotate
from pkj.okta import org
from pkj.sandbox.exchange import Refusal, Response, management_refusal, oauth_refusal
from pkj.sandbox.jose import shown_key
from pkj.sandbox.state import APP_ADMIN, Client

ROTATED = "///////////////// Key rotated:\n\n{kid}\n"
TOKEN = "POST /oauth2/v1/token"  # noqa: S105 - a path
FORBIDDEN = management_refusal(403, "E0000006", "You do not have permission")
UNKNOWN_KID = oauth_refusal(401, "invalid_client", "The client_assertion JWT kid is invalid.")
BAD_PROOF = oauth_refusal(400, "invalid_dpop_proof", "The proof is invalid.")


@dataclass
class Life:
    """A `.env`, its app at an org, and ways to run the scripts on both."""

    env: EnvFile
    app: Client
    sandbox: Sandbox

    def ran(
        self, script: str, *options: str, name: str = ".env", **environ: str
    ) -> subprocess.CompletedProcess[str]:
        told = with_env_file(self.env.path.with_name(name), *options)
        environment = trusting(self.sandbox, environ)
        return run_here(script, *told, environment=environment, folder=self.env.path.parent)

    def kids(self) -> list[str]:
        return [key["kid"] for key in self.app.keys]

    def changes(self) -> list[str]:
        seen = [f"{one.request.method} {one.request.path}" for one in self.sandbox.seen]
        return [line for line in seen if not line.startswith("GET")]

    def refuses(self, match: str, refusal: Refusal, times: int | None = 1) -> None:
        self.sandbox.faults.add(Fault(match, lambda turn: turn.send(refusal.answer), times=times))

    def fails(self, code: int, said: str = "", option: str = "--rotate-key") -> None:
        """The rotation ends with this code, `.env` stays, and no key is added or removed."""
        before, kids = self.env.path.read_bytes(), self.kids()
        ended = self.ran(STEP_2, *option.split())
        assert (ended.returncode, ended.stdout) == (code, ""), ended.stderr
        assert said in ended.stderr
        assert (self.env.path.read_bytes(), self.kids()) == (before, kids)

    def goes_on(self) -> None:
        """The token still comes, the next rotation succeeds, and retiring leaves one key."""
        self.sandbox.faults.clear()
        assert self.ran(STEP_3).returncode == 0
        known = self.env["KEY_ID"]
        assert self.ran(STEP_2, "--rotate-key").returncode == 0
        assert {known, self.env["KEY_ID"]} <= set(self.kids())
        assert [self.ran(STEP_3, name=name).returncode for name in (".env", ".env.previous")] == [
            0,
            0,
        ]
        assert self.ran(STEP_2, "--retire-old-keys", "--yes").returncode == 0
        assert self.kids() == [self.env["KEY_ID"]] != [known]


@pytest.fixture
def life(
    env_with_key: EnvFile, app: Client, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> Life:
    monkeypatch.setattr(org, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(rotate, "TRUST_PAUSES", (0.0, 0.0, 0.0))
    return Life(env_with_key, app, sandbox)


@pytest.mark.parametrize(
    ("bits", "bound", "dpop"), [(2048, False, ""), (3072, True, ""), (2048, True, "true")]
)
def test_rotation_saves_a_proven_key_and_leaves_the_old_one_trusted(
    bits: int, bound: bool, dpop: str, life: Life
) -> None:
    key = keys.generate(bits)
    life.env.write(**keys.of_new_key(key), DPOP=dpop)
    life.app = plant(life.sandbox, life.env, key, dpop_bound=bound)
    before, old = life.env.values(), life.kids()

    ended = life.ran(STEP_2, "--rotate-key")

    new = life.env["KEY_ID"] or ""
    assert (ended.returncode, ended.stdout) == (0, ROTATED.format(kid=new)), ended.stderr
    assert life.kids() == [*old, new]
    assert keys.load_private(life.env["PRIVATE_KEY"] or "").key_size == bits
    assert f"the old key {old[0]} is still trusted" in ended.stderr
    assert "create_okta_service_app.py --retire-old-keys" in ended.stderr
    changed = {"PRIVATE_KEY", "PUBLIC_KEY", "MODULUS", "KEY_ID"}
    assert dict(before.items() - life.env.values().items()).keys() == changed
    assert EnvFile(life.env.path.with_name(".env.previous")).values() == before
    assert life.changes()[0] == f"POST /api/v1/apps/{life.app.id}/credentials/jwks"
    life.goes_on()


def interrupt(*, after_work: bool) -> Action:
    def act(turn: Turn) -> None:
        if after_work:
            turn.work()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        turn.pause(None)

    return act


def refused(turn: Turn) -> None:
    turn.send((BAD_PROOF if turn.seen.request.path.endswith("/token") else FORBIDDEN).answer)


REQUESTS = ["client", "status", "keys", "add", "prove"]
ADD = REQUESTS.index("add")
FAULTS: dict[str, tuple[Action, int, int]] = {
    "refused": (refused, 1, 3),
    "lost-before": (reset_before(), 3, 4),
    "lost-after": (reset_after(), 3, 4),
    "ctrl-c-before": (interrupt(after_work=False), 1, 130),
    "ctrl-c-after": (interrupt(after_work=True), 1, 130),
}
"""What happens, for how many attempts of one request, and the exit code."""


@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "from-then-on"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("number", range(len(REQUESTS)), ids=REQUESTS)
def test_a_rotation_stopped_at_any_request_changes_nothing(
    number: int, fault: str, for_ever: bool, life: Life
) -> None:
    action, times, code = FAULTS[fault]
    life.sandbox.faults.add(Fault("", action, skip=number, times=None if for_ever else times))
    if (number, fault, for_ever) == (ADD, "lost-after", False):
        assert life.ran(STEP_2, "--rotate-key").returncode == 0  # looked up, and found
    elif number >= ADD and for_ever and (number, fault) != (ADD, "refused"):
        before = life.env.path.read_bytes()
        ended = life.ran(STEP_2, "--rotate-key", "--timeout", "1")
        assert (ended.returncode, life.env.path.read_bytes()) == (code, before)
        assert f"may still be at the app {life.app.id}" in ended.stderr
        assert all(f"the key {kid} may" in ended.stderr for kid in life.kids()[1:])
        assert "--retire-old-keys" in ended.stderr
    else:
        life.fails(code)
    life.goes_on()


@pytest.mark.parametrize(
    ("number", "done"), [*((n, False) for n in range(len(REQUESTS))), (ADD, True), (ADD + 1, True)]
)
def test_a_rotation_killed_at_any_request_changes_nothing(
    number: int, done: bool, life: Life
) -> None:
    life.sandbox.faults.add(Fault("", hang(after_work=done), skip=number))
    before = life.env.path.read_bytes()
    full = command(STEP_2, "--env-file", life.env.path, "--rotate-key")
    environment = clean_environment(REQUESTS_CA_BUNDLE=str(life.sandbox.ca_file))
    with subprocess.Popen(full, env=environment) as process:
        hung = life.sandbox.faults.hanging.wait(30)
        process.kill()
    assert (hung, life.env.path.read_bytes()) == (True, before)
    assert len(life.kids()) == (2 if (number, done) >= (ADD, True) else 1)
    life.goes_on()


@pytest.mark.parametrize("late", [False, True], ids=["from-the-start", "after-the-proof"])
def test_an_env_file_that_cannot_be_written_stays(late: bool, life: Life) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)  # for root too, unlike a mode

    def fill(answer: Response) -> Response:
        resource.setrlimit(resource.RLIMIT_FSIZE, (16, limits[1]))
        return answer

    life.sandbox.faults.add(Fault(TOKEN, patch(fill)))
    if not late:
        fill(Response(200))
    try:
        life.fails(1, "cannot be written")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert bool(life.sandbox.seen) == late
    life.goes_on()


@pytest.mark.parametrize("number", [1, 2, 3], ids=["trial", "copy", "save"])
@pytest.mark.parametrize("done", [False, True])
def test_an_interrupt_while_saving_leaves_a_key_that_works(
    number: int, done: bool, life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, calls = os.replace, []

    def interrupted(*names: Path) -> None:
        calls.append(names)
        if len(calls) != number or done:
            replace(*names)
        if len(calls) == number:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", interrupted)
        assert life.ran(STEP_2, "--rotate-key").returncode == 130
    assert life.kids()[-1] == life.env["KEY_ID"]
    assert len(life.kids()) == (2 if (number, done) == (3, True) else 1)
    life.goes_on()


def test_a_new_key_is_saved_as_soon_as_okta_trusts_it_and_not_before(life: Life) -> None:
    life.refuses(TOKEN, UNKNOWN_KID, times=4)
    life.fails(3, "run this again in a few minutes")
    life.refuses(TOKEN, UNKNOWN_KID, times=3)
    assert life.ran(STEP_2, "--rotate-key").returncode == 0
    life.app.grants.clear()
    ended = life.ran(STEP_2, "--rotate-key")
    assert ended.returncode == 0, ended.stderr
    assert "accepted the new key but issued no token" in ended.stderr
    assert life.kids()[-1] == life.env["KEY_ID"]


def test_a_key_that_was_replaced_meanwhile_stays(life: Life, other_key: rsa.RSAPrivateKey) -> None:
    def replace(answer: Response) -> Response:
        life.app.keys.append(shown_key(public_jwk(other_key)))
        life.env.write(**keys.of_new_key(other_key))
        return answer

    life.sandbox.faults.add(Fault(TOKEN, patch(replace)))
    ended = life.ran(STEP_2, "--rotate-key")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "PRIVATE_KEY and MODULUS were changed while this ran" in ended.stderr
    assert (len(life.kids()), life.kids()[-1]) == (2, life.env["KEY_ID"])
    life.goes_on()


def test_two_rotations_at_once_leave_a_key_that_works(life: Life, process: Run) -> None:
    both = threading.Barrier(2)

    def together(answer: Response) -> Response:
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(2)
        return answer

    life.sandbox.faults.add(Fault(TOKEN, patch(together), times=None))
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: process(STEP_2, "--rotate-key"), range(2)))
    codes = sorted(result.returncode for result in results)
    assert codes in ([0, 1], [0, 0]), [result.stderr for result in results]
    assert len(life.kids()) == 1 + codes.count(0)
    life.goes_on()


HINDRANCES: dict[str, Callable[[Life], object]] = {
    "PRIVATE_KEY is not in": lambda life: life.env.write(PRIVATE_KEY=""),
    "CLIENT_ID: written by": lambda life: life.env.write(CLIENT_ID=""),
    "does not exist at": lambda life: life.sandbox.org.clients.clear(),
    "is deactivated": lambda life: setattr(life.app, "status", "INACTIVE"),
    "not a service app": lambda life: life.app.metadata.update(application_type="web"),
    "not trust the key": lambda life: life.app.keys[0].update(status="INACTIVE"),
    "trust the key in .env": lambda life: life.app.keys[0].update(n=life.app.keys[0]["n"][::-1]),
}


@pytest.mark.parametrize("option", ["--rotate-key", "--retire-old-keys --yes"])
@pytest.mark.parametrize("said", HINDRANCES)
def test_an_app_that_is_not_ours_stays_as_it_is(said: str, option: str, life: Life) -> None:
    HINDRANCES[said](life)
    life.fails(1, said, option)
    assert life.changes() == []


@pytest.mark.parametrize("name", ["PRIVATE_KEY", "MODULUS", "KEY_ID"])
def test_a_key_from_the_environment_is_not_rotated(name: str, life: Life) -> None:
    ended = life.ran(STEP_2, "--rotate-key", **{name: life.env[name] or ""})
    assert (ended.returncode, ended.stdout, life.sandbox.connections) == (1, "", 0)
    assert f"{name} set in the environment" in ended.stderr


@pytest.mark.parametrize(
    ("number", "admin", "said"),
    [(1, APP_ADMIN, "only a Super Admin may change"), (50, "SUPER_ADMIN", "--retire-old-keys`")],
)
def test_what_okta_refuses_comes_with_a_hint(
    number: int, admin: str, said: str, life: Life
) -> None:
    first = life.app.keys[0]
    life.app.keys += [first | {"kid": str(n), "id": f"pks{n}", "n": "Aw"} for n in range(1, number)]
    life.sandbox.org.api_keys[life.sandbox.org.api_key] = admin
    life.fails(3, said)


def test_a_dry_run_says_what_a_rotation_would_do(life: Life) -> None:
    before = life.env.path.stat()
    ended = life.ran(STEP_2, "--rotate-key", "--dry-run")
    assert (ended.returncode, life.changes(), life.env.path.stat()) == (0, [], before), ended.stderr
    add, save = ended.stdout.splitlines()
    assert add.startswith(f"would add a new key of 2048 bits to the app {life.app.id}")
    assert save.startswith(f"would save it in {life.env.path}")


@pytest.mark.parametrize(
    "options",
    ["--rotate-key --retire-old-keys", "--delete --rotate-key", "--rotate-key --yes"],
)
def test_options_that_do_not_go_together_send_nothing(options: str, life: Life) -> None:
    life.fails(2, option=options)
    assert life.sandbox.connections == 0
