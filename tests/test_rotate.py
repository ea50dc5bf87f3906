"""--rotate-key and --retire-old-keys: whatever happens, the key in `.env` gets tokens."""

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from conftest import GET_TOKEN, EnvFile, plant, public_jwk
from cryptography.hazmat.primitives.asymmetric import rsa
from faults import Action, Turn, reset_after, reset_before, status
from scene import FORBIDDEN, INVALID_CLIENT, Scene, refused
from test_delete_app import terminal

from pkj import keys
from pkj.app import rotate
from pkj.okta import org
from pkj.sandbox.jose import shown_key
from pkj.sandbox.state import APP_ADMIN, Client

ROTATE, RETIRE = "--rotate-key", "--retire-old-keys"
RETIRED = "///////////////// Old keys retired:\n\nactive\ninactive\n"
TOKEN = "POST /oauth2/v1/token"  # noqa: S105 - a path


@dataclass
class Life(Scene):
    """A scene with an app that trusts the key in `.env` and can get tokens."""

    app: Client

    def kids(self) -> list[str]:
        return [key["kid"] for key in self.app.keys]

    def stops(self, code: int, *options: str, **more: Any) -> str:
        """Run; it must end with this code, and `.env` and the keys stay. Return what it says."""
        before, kids = self.env.path.read_bytes(), self.kids()
        result = self.ends(code, *options, **more)
        assert (result.stdout, self.env.path.read_bytes(), self.kids()) == ("", before, kids)
        return result.stderr

    def replaced_during_the_proof(self, key: rsa.RSAPrivateKey) -> None:
        """Let another run put this key into `.env`."""

        def replace() -> None:
            self.app.keys.append(shown_key(public_jwk(key)))
            self.env.write(**keys.settings_of(key))

        self.meanwhile(TOKEN, replace)

    def goes_on(self) -> None:
        """Tokens still come, the next rotation works, and retiring leaves one key."""
        self.sandbox.faults.clear()
        assert self.run(GET_TOKEN).returncode == 0
        known = self.env["KEY_ID"]
        self.ends(0, ROTATE)
        assert {known, self.env["KEY_ID"]} <= set(self.kids())
        for name in (".env", ".env.previous"):
            assert self.run(GET_TOKEN, env_file=self.env.path.with_name(name)).returncode == 0
        self.ends(0, RETIRE, "--yes")
        assert self.kids() == [self.env["KEY_ID"]] != [known]


@pytest.fixture
def life(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Life:
    monkeypatch.setattr(rotate, "time", org.time)  # the one that does not wait
    return Life(**vars(scene), app=scene.settled(roles="READ_ONLY_ADMIN"))


@pytest.fixture
def old(life: Life, other_key: rsa.RSAPrivateKey) -> list[str]:
    """The app gets two keys to retire and one for encryption; the requests to retire them."""
    for kid, use in (("active", "sig"), ("inactive", None), ("encrypts", "enc")):
        changes = {"kid": kid, "use": use, "status": "ACTIVE" if use else "INACTIVE"}
        life.app.keys.append(shown_key(public_jwk(other_key) | changes))
    path = f"/api/v1/apps/{life.app.id}/credentials/jwks/"
    first, second = (path + life.app.keys[number]["id"] for number in (1, 2))
    return [TOKEN, f"POST {first}/lifecycle/deactivate", f"DELETE {first}", f"DELETE {second}"]


@pytest.mark.parametrize(
    ("bits", "bound", "dpop"), [(2048, False, ""), (3072, True, ""), (2048, True, "true")]
)
def test_rotation_leaves_the_old_key_trusted(bits: int, bound: bool, dpop: str, life: Life) -> None:
    key = keys.generate(bits)
    life.env.write(**keys.settings_of(key), DPOP=dpop)
    life.app = plant(life.sandbox, life.env, key, dpop_bound=bound)
    before, old, written = life.env.values(), life.kids()[0], life.env.path.stat()
    add, save = life.ends(0, ROTATE, "--dry-run").stdout.splitlines()
    assert add.startswith(f"would add a new key of {bits} bits to the app {life.app.id}")
    assert save.startswith(f"would save it in {life.env.path}")
    assert (life.changes(), life.env.path.stat()) == ([], written)
    result = life.ends(0, ROTATE)
    new = life.env["KEY_ID"]
    assert result.stdout == f"///////////////// Key rotated:\n\n{new}\n"
    assert life.kids() == [old, new]
    assert keys.load_private(life.env["PRIVATE_KEY"] or "").key_size == bits
    assert f"the old key {old} is still trusted" in result.stderr
    assert "create_okta_service_app.py --retire-old-keys" in result.stderr
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


FAULTS: dict[str, tuple[Action, int, int]] = {
    "refused": (FORBIDDEN, 1, 3),
    "lost-before": (reset_before(), 3, 4),
    "lost-after": (reset_after(), 3, 4),
    "ctrl-c-before": (interrupt(after_work=False), 1, 130),
    "ctrl-c-after": (interrupt(after_work=True), 1, 130),
}
"""What happens, for how many attempts of one request, and the exit code."""

FAULTY = [
    pytest.param(
        *(fault, times),
        marks=[pytest.mark.slow] if fault.endswith("before") else [],
        id=f"{fault}-{'once' if times else 'from-then-on'}",
    )
    for fault in FAULTS
    for times in (1, None)
]
faulty = pytest.mark.parametrize(("fault", "times"), FAULTY)

ROTATION = ["client", "status", "keys", "add", "prove"]
ADD = ROTATION.index("add")
RETIREMENT = ["client", "status", "keys", "prove", "deactivate", "delete", "delete-inactive"]


@faulty
@pytest.mark.parametrize("number", range(len(ROTATION)), ids=ROTATION)
def test_rotation_survives_interruption_at_every_request(
    number: int, fault: str, times: int | None, life: Life
) -> None:
    action, attempts, code = FAULTS[fault]
    life.fault("", action, number, times and attempts)
    if (number, fault, times) == (ADD, "lost-after", 1):
        life.ends(0, ROTATE)  # looked up, and found
    elif number >= ADD and not times and (number, fault) != (ADD, "refused"):
        before = life.env.path.read_bytes()
        said = life.ends(code, ROTATE, "--timeout", "1").stderr
        assert life.env.path.read_bytes() == before
        assert f"may still be at the app {life.app.id}" in said
        assert all(f"the key {kid} may" in said for kid in life.kids()[1:])
        assert "--retire-old-keys" in said
    else:
        life.stops(code, ROTATE)
    life.goes_on()


@pytest.mark.parametrize("number", [1, 2, 3], ids=["trial", "copy", "save"])
@pytest.mark.parametrize(
    ("error", "done", "code"),
    [(KeyboardInterrupt(), False, 130), (KeyboardInterrupt(), True, 130), (OSError(28), False, 1)],
)
def test_stop_while_saving_leaves_a_key_that_works(
    error: BaseException, done: bool, code: int, number: int, life: Life
) -> None:
    replace, calls = os.replace, []

    def stopped(*names: Path) -> None:
        calls.append(names)
        if len(calls) != number or done:
            replace(*names)
        if len(calls) == number:
            raise error

    with mock.patch.object(os, "replace", stopped):
        life.ends(code, ROTATE)
    saved = (number, done) == (3, True)
    assert (life.kids()[-1], len(life.kids())) == (life.env["KEY_ID"], 2 if saved else 1)
    assert (life.sandbox.connections == 0) == (number == 1)
    life.goes_on()


def test_new_key_is_saved_only_once_okta_trusts_it(life: Life, pauses: list[float]) -> None:
    unknown = {"error_description": "kid is invalid"}
    life.fault(TOKEN, status(401, INVALID_CLIENT | unknown), times=4)
    assert "run this again in a few minutes" in life.stops(3, ROTATE)
    wrong = {"error_description": "signature is invalid"}
    life.fault(TOKEN, status(401, INVALID_CLIENT | wrong), times=3)
    life.ends(0, ROTATE)
    assert (pauses, len(life.kids())) == ([1, 2, 4] * 2, 2)
    life.app.grants.clear()
    assert "accepted the new key but issued no token" in life.ends(0, ROTATE).stderr
    assert life.kids()[2:] == [life.env["KEY_ID"]]


def test_key_that_was_replaced_meanwhile_stays(life: Life, other_key: rsa.RSAPrivateKey) -> None:
    life.replaced_during_the_proof(other_key)
    result = life.ends(1, ROTATE)
    assert "PRIVATE_KEY and MODULUS were changed during this run" in result.stderr
    assert (result.stdout, life.kids()[1:]) == ("", [life.env["KEY_ID"]])
    life.goes_on()


@pytest.mark.parametrize("options", ["--rotate-key", "--rotate-key --dry-run"])
def test_broken_line_is_refused_before_a_key_is_added(options: str, life: Life) -> None:
    text = life.env.path.read_text(encoding="utf-8") + "a broken line\n"
    life.env.path.write_text(text, encoding="utf-8")
    assert "a closing quote is probably missing" in life.stops(1, *options.split())
    assert life.sandbox.connections == 0
    assert life.env.path.read_text(encoding="utf-8") == text


UNUSABLE: dict[str, Callable[[Life], object]] = {
    "PRIVATE_KEY is not in": lambda life: life.env.write(PRIVATE_KEY=""),
    "CLIENT_ID: written by": lambda life: life.env.write(CLIENT_ID=""),
    "does not exist at": lambda life: life.sandbox.org.clients.clear(),
    "is deactivated": lambda life: setattr(life.app, "status", "INACTIVE"),
    "not a service app": lambda life: life.app.metadata.update(application_type="web"),
    "not trust the key": lambda life: life.app.keys[0].update(status="INACTIVE"),
    "trust the key in .env": lambda life: life.app.keys[0].update(n=life.app.keys[0]["n"][::-1]),
}


@pytest.mark.parametrize("options", ["--rotate-key", "--retire-old-keys --yes"])
@pytest.mark.parametrize(("said", "arrange"), UNUSABLE.items(), ids=UNUSABLE)
def test_app_that_is_not_ours_is_left_alone(
    said: str, arrange: Callable[[Life], object], options: str, life: Life
) -> None:
    arrange(life)
    assert said in life.stops(1, *options.split())
    assert life.changes() == []


@pytest.mark.parametrize(
    ("number", "said"), [(49, "only a Super Admin can change"), (50, "--retire-old-keys` first")]
)
def test_refused_key_comes_with_a_hint(number: int, said: str, life: Life) -> None:
    first = life.app.keys[0]
    life.app.keys += [first | {"kid": str(n), "id": f"pks{n}", "n": "Aw"} for n in range(1, number)]
    if number < 50:
        life.sandbox.org.api_keys[life.sandbox.org.api_key] = APP_ADMIN
    assert said in life.stops(3, ROTATE)


@pytest.mark.parametrize(
    ("options", "exported", "code", "said"),
    [
        ("--rotate-key", "PRIVATE_KEY", 1, "PRIVATE_KEY is set in the environment"),
        ("--rotate-key", "MODULUS", 1, "MODULUS is set in the environment"),
        ("--rotate-key", "KEY_ID", 1, "KEY_ID is set in the environment"),
        ("--rotate-key --retire-old-keys", "", 2, "not allowed with"),
        ("--delete --rotate-key", "", 2, "not allowed with"),
        ("--rotate-key --yes", "", 2, "--yes requires"),
        ("--retire-old-keys", "", 2, "add --yes"),
    ],
)
def test_nothing_is_sent(options: str, exported: str, code: int, said: str, life: Life) -> None:
    environment = {exported: life.env[exported]} if exported else {}
    assert said in life.stops(code, *options.split(), env=environment)
    assert life.sandbox.connections == 0


def test_every_other_signing_key_is_deleted_after_a_proof(life: Life, old: list[str]) -> None:
    dry = life.ends(0, RETIRE, "--dry-run").stdout
    would = f"would delete the key {{}} of the app {life.app.id}\n"
    assert (dry, life.changes()) == (would.format("active") + would.format("inactive"), [])
    life.sandbox.seen.clear()
    assert life.ends(0, RETIRE, "--yes").stdout == RETIRED
    assert (life.changes(), len(life.sandbox.seen)) == (old, len(RETIREMENT))
    assert "nothing to retire" in life.stops(0, RETIRE, "--yes")
    assert (life.changes(), life.kids()) == (old, [life.env["KEY_ID"], "encrypts"])


@faulty
@pytest.mark.parametrize("number", range(len(RETIREMENT)), ids=RETIREMENT)
@pytest.mark.usefixtures("old")
def test_retirement_survives_interruption_at_every_request(
    number: int, fault: str, times: int | None, life: Life
) -> None:
    action, attempts, code = FAULTS[fault]
    life.fault("", action, number, times and attempts)
    result = life.ends(code, RETIRE, "--yes")
    changing = number > RETIREMENT.index("prove")
    assert changing or life.kids()[1:] == ["active", "inactive", "encrypts"]
    assert ("only a Super Admin can change the keys" in result.stderr) == (
        fault == "refused" and changing
    )
    life.sandbox.faults.clear()
    assert life.run(GET_TOKEN).returncode == 0
    life.ends(0, RETIRE, "--yes")
    assert life.kids() == [life.env["KEY_ID"], "encrypts"]


@pytest.mark.parametrize(
    ("number", "action", "code", "retired"),
    [
        (1, refused(404, "E0000007"), 0, "active\ninactive\n"),
        (2, refused(404, "E0000007"), 0, "active\ninactive\n"),
        (2, status(200), 4, ""),
        (3, status(200), 4, "active\n"),
    ],
)
def test_only_404_and_204_count_as_deleted(
    number: int, action: Action, code: int, retired: str, life: Life, old: list[str]
) -> None:
    life.fault(old[number], action)
    assert life.ends(code, RETIRE, "--yes").stdout.partition("\n\n")[2] == retired


@pytest.mark.parametrize("why", ["refused", "not-granted", "wrong-kid", "replaced"])
@pytest.mark.usefixtures("old")
def test_unproven_key_retires_nothing(why: str, life: Life, other_key: rsa.RSAPrivateKey) -> None:
    if why == "refused":
        life.fault(TOKEN, FORBIDDEN)
    elif why == "not-granted":
        life.app.grants.clear()
    elif why == "wrong-kid":
        life.env.write(KEY_ID="active")
    else:
        life.replaced_during_the_proof(other_key)
    result = life.ends(1 if why == "replaced" else 3, RETIRE, "--yes")
    assert (result.stdout, life.changes()) == ("", [TOKEN])


@pytest.mark.parametrize(("in_file", "code", "left"), [(True, 1, 4), (False, 0, 2)])
@pytest.mark.usefixtures("old")
def test_key_of_the_environment_does_not_retire_the_one_in_the_file(
    in_file: bool, code: int, left: int, life: Life, other_key: rsa.RSAPrivateKey
) -> None:
    environment = {"PRIVATE_KEY": life.env["PRIVATE_KEY"], "KEY_ID": life.kids()[0]}
    life.env.write(MODULUS="", PRIVATE_KEY=keys.private_pem(other_key) if in_file else "")
    life.ends(code, RETIRE, "--yes", env=environment)
    assert len(life.kids()) == left


@pytest.mark.parametrize(("typed", "code"), [("{id}", 0), ("yes", 1)])
def test_client_id_typed_confirms(typed: str, code: int, life: Life, old: list[str]) -> None:
    with terminal(typed.format(id=life.app.id) + "\n") as stdin:
        result = life.ends(code, RETIRE, stdin=stdin)
    assert "\n  active\n  inactive\n" in result.stderr
    assert ("nothing was deleted" in result.stderr) == (code == 1)
    assert (result.stdout, life.changes()) == (("", old[:1]) if code else (RETIRED, old))
