"""Key rotation: an old and a new key that both work, and a `.env` that works whatever happens."""

import contextlib
import resource
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from conftest import STEP_2, STEP_3, EnvFile, Run, clean_environment, command, plant, public_jwk
from cryptography.hazmat.primitives.asymmetric import rsa
from test_local_input import Ended, ran

from pkj import key_settings, keys
from pkj.app import rotate
from pkj.okta import retries
from pkj.sandbox.exchange import Answer, management_refusal, oauth_refusal
from pkj.sandbox.faults import Fault, hang, patch, reset_after, reset_before
from pkj.sandbox.server import Sandbox
from pkj.sandbox.state import APP_ADMIN, Client
from pkj.sandbox.wire import Action, Turn

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

    def ran(self, script: str, *options: str, **environ: str) -> Ended:
        trusted = {"REQUESTS_CA_BUNDLE": str(self.sandbox.ca_file), "NO_PROXY": "127.0.0.1"}
        return ran(script, self.env.path, *options, **trusted | environ)

    def rotated(self, **environ: str) -> Ended:
        return self.ran(STEP_2, "--rotate-key", **environ)

    def retired(self, *options: str, **environ: str) -> Ended:
        return self.ran(STEP_2, "--retire-old-keys", *options, **environ)

    def kids(self) -> list[str]:
        return [key["kid"] for key in self.app.keys]

    def changes(self) -> list[str]:
        seen = [f"{one.request.method} {one.request.path}" for one in self.sandbox.seen]
        return [line for line in seen if not line.startswith("GET")]

    def refuses(self, match: str, answer: Answer, times: int | None = 1) -> None:
        self.sandbox.faults.add(Fault(match, lambda turn: turn.send(answer), times=times))

    def goes_on(self) -> None:
        """The token still comes, the next rotation succeeds, and retiring leaves one key."""
        self.sandbox.faults.clear()
        assert self.ran(STEP_3).code == 0
        known = self.env["KEY_ID"]
        assert self.rotated().code == 0
        assert {known, self.env["KEY_ID"]} <= set(self.kids())
        for path in (self.env.path, self.env.path.with_name(".env.previous")):
            assert ran(STEP_3, path, REQUESTS_CA_BUNDLE=str(self.sandbox.ca_file)).code == 0
        assert self.retired("--yes").code == 0
        assert self.kids() == [self.env["KEY_ID"]] != [known]


@pytest.fixture
def life(
    env_with_key: EnvFile, app: Client, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> Life:
    monkeypatch.setattr(retries, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(rotate, "TRUST_PAUSES", (0.0, 0.0, 0.0))
    return Life(env_with_key, app, sandbox)


@pytest.mark.parametrize(("bound", "dpop"), [(False, ""), (True, ""), (True, "true")])
def test_rotation_saves_a_proven_key_and_leaves_the_old_one_trusted(
    bound: bool, dpop: str, life: Life
) -> None:
    life.app.dpop_bound = bound
    life.env.write(DPOP=dpop)
    before, old = life.env.values(), life.kids()

    ended = life.rotated()

    new = life.env["KEY_ID"] or ""
    assert (ended.code, ended.stdout) == (0, ROTATED.format(kid=new)), ended.stderr
    assert life.kids() == [*old, new]
    assert f"the old key {old[0]} is still trusted" in ended.stderr
    assert "create_okta_service_app.py --retire-old-keys" in ended.stderr
    kept = before.keys() - {"PRIVATE_KEY", "PUBLIC_KEY", "MODULUS", "KEY_ID"}
    assert {name: life.env[name] for name in kept} == {name: before[name] for name in kept}
    assert EnvFile(life.env.path.with_name(".env.previous")).values() == before
    life.goes_on()


def test_the_new_key_has_the_size_of_the_old_one(life: Life) -> None:
    long = keys.generate(3072)
    life.env.write(**key_settings.of_new_key(long))
    life.app = plant(life.sandbox, life.env, long)
    assert life.rotated().code == 0
    assert keys.load_private(life.env["PRIVATE_KEY"] or "").key_size == 3072


# Stopped or refused at every request: these five (test_these_are_all_the_requests)

REQUESTS = ["client", "status", "keys", "add", "prove"]
ADD = REQUESTS.index("add")


def interrupt(*, after_work: bool) -> Action:
    def act(turn: Turn) -> None:
        if after_work:
            turn.work()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        turn.pause(None)

    return act


def refused(turn: Turn) -> None:
    turn.send(
        (BAD_PROOF if turn.seen.request.path.startswith("/oauth2/v1/to") else FORBIDDEN).answer
    )


FAULTS: dict[str, tuple[Callable[[], Action], int, int]] = {
    "refused": (lambda: refused, 1, 3),
    "lost-before": (reset_before, 3, 4),
    "lost-after": (reset_after, 3, 4),
    "ctrl-c-before": (lambda: interrupt(after_work=False), 1, 130),
    "ctrl-c-after": (lambda: interrupt(after_work=True), 1, 130),
}
"""What happens, for how many attempts of one request, and the exit code."""


@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "from-then-on"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("number", range(len(REQUESTS)), ids=REQUESTS)
def test_a_rotation_that_fails_changes_nothing(
    number: int, fault: str, for_ever: bool, life: Life
) -> None:
    make, times, code = FAULTS[fault]
    life.sandbox.faults.add(Fault("", make(), skip=number, times=None if for_ever else times))
    before, old = life.env.path.read_bytes(), life.kids()

    ended = life.rotated()

    if (number, fault, for_ever) == (ADD, "lost-after", False):
        assert ended.code == 0  # looked up, and found
    else:
        assert (ended.code, ended.stdout) == (code, ""), ended.stderr
        assert life.env.path.read_bytes() == before
        left = [kid for kid in life.kids() if kid not in old]
        if left:
            assert for_ever
            assert f"the key {left[0]} may still be at the app {life.app.id}" in ended.stderr
            assert "--retire-old-keys" in ended.stderr
    life.goes_on()


def test_these_are_all_the_requests(life: Life) -> None:
    assert life.rotated().code == 0
    assert len(life.sandbox.seen) == len(REQUESTS)
    assert life.changes() == [f"POST /api/v1/apps/{life.app.id}/credentials/jwks", TOKEN]


@pytest.mark.parametrize(
    ("number", "done"),
    [*((number, False) for number in range(len(REQUESTS))), (ADD, True), (ADD + 1, True)],
)
def test_a_rotation_that_is_killed_changes_nothing(number: int, done: bool, life: Life) -> None:
    life.sandbox.faults.add(Fault("", hang(after_work=done), skip=number))
    before = life.env.path.read_bytes()
    full = command(STEP_2, "--env-file", life.env.path, "--rotate-key")
    environment = clean_environment(REQUESTS_CA_BUNDLE=str(life.sandbox.ca_file))
    silent = subprocess.DEVNULL
    with subprocess.Popen(full, env=environment, stdout=silent, stderr=silent) as process:
        hung = life.sandbox.faults.hanging.wait(30)
        process.kill()

    assert hung
    assert life.env.path.read_bytes() == before
    assert len(life.kids()) == (2 if (number, done) >= (ADD, True) else 1)
    life.goes_on()


@contextlib.contextmanager
def no_room() -> Iterator[Callable[[], None]]:
    """A call after which no file can be written, also by root."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (16, limits[1]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("late", [False, True], ids=["from-the-start", "after-the-proof"])
def test_an_env_file_that_cannot_be_written_is_noticed_early_or_nothing_stays(
    late: bool, life: Life
) -> None:
    before, old = life.env.path.read_bytes(), life.kids()
    with no_room() as fill:

        def filled(answer: Answer) -> Answer:
            fill()
            return answer

        if late:
            life.sandbox.faults.add(Fault(TOKEN, patch(filled)))
        else:
            fill()
        ended = life.rotated()

    assert (ended.code, ended.stdout) == (1, "")
    assert "cannot be written" in ended.stderr
    assert (life.env.path.read_bytes(), life.kids()) == (before, old)
    assert bool(life.sandbox.seen) == late
    life.goes_on()


def test_a_key_that_okta_is_slow_to_trust_is_tried_again(life: Life) -> None:
    life.refuses(TOKEN, UNKNOWN_KID.answer, times=3)
    assert life.rotated().code == 0
    life.goes_on()


def test_a_key_that_okta_never_trusts_is_not_saved(life: Life) -> None:
    life.refuses(TOKEN, UNKNOWN_KID.answer, times=None)
    before, old = life.env.path.read_bytes(), life.kids()
    ended = life.rotated()
    assert (ended.code, life.kids()) == (3, old)
    assert life.env.path.read_bytes() == before
    assert "run this again in a few minutes" in ended.stderr
    life.goes_on()


def test_scopes_that_are_not_granted_do_not_speak_against_the_key(life: Life) -> None:
    life.app.grants.clear()
    ended = life.rotated()
    assert ended.code == 0, ended.stderr
    assert "accepted the new key, but grants no token" in ended.stderr


# Two at once


def test_a_key_that_was_replaced_meanwhile_stays(life: Life, other_key: rsa.RSAPrivateKey) -> None:
    def replace(answer: Answer) -> Answer:
        life.app.keys.append(
            {**public_jwk(other_key), "id": "pks1", "status": "ACTIVE", "use": "sig"}
        )
        life.env.write(**key_settings.of_new_key(other_key))
        return answer

    life.sandbox.faults.add(Fault(TOKEN, patch(replace)))
    ended = life.rotated()
    assert (ended.code, ended.stdout) == (1, "")
    assert "was changed while this ran" in ended.stderr
    assert life.env["KEY_ID"] == public_jwk(other_key)["kid"] == life.kids()[-1]
    assert len(life.kids()) == 2
    life.goes_on()


def test_two_rotations_at_once_leave_a_key_that_works(life: Life, run: Run) -> None:
    both = threading.Barrier(2)

    def together(answer: Answer) -> Answer:
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(2)
        return answer

    life.sandbox.faults.add(Fault(TOKEN, patch(together), times=None))
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: run(STEP_2, "--rotate-key"), range(2)))

    codes = sorted(result.returncode for result in results)
    assert codes in ([0, 1], [0, 0]), [result.stderr for result in results]
    assert len(life.kids()) == 1 + codes.count(0)
    life.goes_on()


# What stands in the way


def only_modulus(life: Life) -> None:
    life.env.write(PRIVATE_KEY="")


def no_client_id(life: Life) -> None:
    life.env.write(CLIENT_ID="")


def gone(life: Life) -> None:
    life.sandbox.org.clients.clear()


def deactivated(life: Life) -> None:
    life.app.status = "INACTIVE"


def another_kind(life: Life) -> None:
    life.app.metadata["application_type"] = "web"


def key_inactive(life: Life) -> None:
    life.app.keys[0]["status"] = "INACTIVE"


def key_unknown(life: Life) -> None:
    life.app.keys[0]["n"] = keys.to_base64url(keys.modulus(keys.generate(2048)))


HINDRANCES = {
    only_modulus: "PRIVATE_KEY is not in",
    no_client_id: "CLIENT_ID",
    gone: "does not exist at",
    deactivated: "is deactivated",
    another_kind: "is not a service app",
    key_inactive: "does not trust the key in .env",
    key_unknown: "does not trust the key in .env",
}


@pytest.mark.parametrize("option", ["--rotate-key", "--retire-old-keys --yes"])
@pytest.mark.parametrize("hinder", HINDRANCES, ids=lambda hinder: hinder.__name__)
def test_an_app_that_is_not_ours_stays_as_it_is(
    hinder: Callable[[Life], None], option: str, life: Life
) -> None:
    hinder(life)
    before = life.env.path.read_bytes()
    ended = life.ran(STEP_2, *option.split())
    assert (ended.code, ended.stdout) == (1, ""), ended.stderr
    assert HINDRANCES[hinder] in ended.stderr
    assert (life.changes(), life.env.path.read_bytes()) == ([], before)


@pytest.mark.parametrize("name", ["PRIVATE_KEY", "MODULUS", "KEY_ID"])
def test_a_key_from_the_environment_is_not_rotated(name: str, life: Life) -> None:
    ended = life.rotated(**{name: life.env[name] or ""})
    assert (ended.code, ended.stdout, life.sandbox.connections) == (1, "", 0)
    assert f"{name} set in the environment" in ended.stderr


@pytest.mark.parametrize(
    ("number", "admin", "said"),
    [(1, APP_ADMIN, "only a Super Admin may change"), (50, "SUPER_ADMIN", "--retire-old-keys`")],
)
def test_what_okta_refuses_comes_with_a_hint(
    number: int, admin: str, said: str, life: Life
) -> None:
    first = life.app.keys[0]
    others = [first | {"kid": str(n), "id": f"pks{n}", "n": "AQAB"} for n in range(1, number)]
    life.app.keys.extend(others)
    life.sandbox.org.api_keys[life.sandbox.org.api_key] = admin
    ended = life.rotated()
    assert (ended.code, len(life.kids())) == (3, number)
    assert said in ended.stderr


def test_a_dry_run_says_what_a_rotation_would_do(life: Life) -> None:
    before = life.env.path.stat()
    ended = life.ran(STEP_2, "--rotate-key", "--dry-run")
    assert ended.code == 0, ended.stderr
    assert [line.partition(",")[0] for line in ended.stdout.splitlines()] == [
        f"would add a new key of 2048 bits to the app {life.app.id}",
        f"would save it in {life.env.path}",
    ]
    assert (life.changes(), life.env.path.stat()) == ([], before)


@pytest.mark.parametrize(
    "options",
    [
        "--rotate-key --retire-old-keys",
        "--rotate-key --delete",
        "--delete --retire-old-keys --yes",
        "--rotate-key --yes",
        "--retire-old-keys",
    ],
)
def test_options_that_do_not_go_together_send_nothing(options: str, life: Life) -> None:
    ended = life.ran(STEP_2, *options.split())
    assert (ended.code, ended.stdout, life.sandbox.connections) == (2, "", 0)
