"""Runs killed, interrupted or refused halfway: the files stay whole, the next run completes.

A script is stopped at the n-th line that runs in a module, or at the n-th event of Python's
auditing: that is deterministic, and needs nothing of the script.
"""

import shutil
import signal
import stat
import subprocess
import sys
from dataclasses import dataclass

import pytest
from conftest import CREATE_APP, GENERATE_KEYS, ROOT, SCOPES, EnvFile, Run, command, trusting
from cryptography.hazmat.primitives.asymmetric import rsa
from faults import Action, Fault, Sandbox, hang, patch, reset_after, reset_before, status
from scene import Scene

from pkj import keys
from pkj.sandbox.exchange import management_refusal

RUNNER = """
import os, runpy, signal, sys

place, number, name, script = sys.argv[1:5]
sys.argv = sys.argv[4:]
sys.path.insert(0, os.path.dirname(script))
count = 0

def step(event):
    global count
    if event in ("line", *place.split("+")):
        count += 1
        if count == int(number):
            signal.raise_signal(signal.Signals[name])  # here and now, unlike os.kill

def trace(frame, event, _):
    step(event)
    # CO_OPTIMIZED: lines of functions, not those of a module that is being imported.
    return trace if place in frame.f_code.co_filename and frame.f_code.co_flags & 1 else None

sys.settrace(trace) if "/" in place else sys.addaudithook(lambda event, _: step(event))
os._exit = sys.exit  # so that this can still count
try:
    runpy.run_path(script, run_name="__main__")
finally:
    sys.settrace(None)
    if number == "0":
        sys.stderr.write(f"counted {count}")
"""
EVENTS = "open+os.rename+os.remove+os.chmod+os.chown+socket.connect+fcntl.flock"
Ended = subprocess.CompletedProcess[str]
EVERY = ("generate", "force", "register")
KEY_NAMES = ("PRIVATE_KEY", "PUBLIC_KEY", "MODULUS", "KEY_ID")


@dataclass
class Step:
    """A run that is about to be stopped, in a folder that git looks at."""

    env: EnvFile
    sandbox: Sandbox
    told: tuple[str, ...]
    written: tuple[str, ...]  # the settings that it writes at once

    def __post_init__(self) -> None:
        self.folder = self.env.path.parent
        shutil.copy(ROOT / ".gitignore", self.folder)
        self.before, self.values = self.texts(), self.env.values()
        self.git("init", "-q")

    def git(self, *told: str) -> list[str]:
        git, given = ["git", "-C", self.folder, *told], {"text": True, "check": True}
        return subprocess.run(git, stdout=subprocess.PIPE, **given).stdout.splitlines()

    def texts(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.glob(".env*")}

    def stop_at(self, place: str, number: int, name: str = "SIGKILL") -> Ended:
        script, *rest = command(self.told[0], "--env-file", self.env.path, *self.told[1:])[1:]
        told = [sys.executable, "-c", RUNNER, place, str(number), name, script, *rest]
        environment, given = trusting(self.sandbox, None), {"capture_output": True, "text": True}
        return subprocess.run(told, env=environment, timeout=60, check=False, **given)

    def restore(self) -> None:
        for name in {*self.texts(), *self.before}:
            (self.folder / name).unlink(missing_ok=True)
        for name, text in self.before.items():
            (self.folder / name).write_bytes(text)
            (self.folder / name).chmod(0o600)
        self.sandbox.org.clients.clear()

    def points(self, place: str, most: int) -> range:
        """About `most` of those in a run that is not stopped, the first among them."""
        result = self.stop_at(place, 0)
        self.restore()
        assert result.returncode == 0, result.stderr
        total = int(result.stderr.rpartition("counted ")[2])
        assert total >= 4
        return range(1, total + 1, max(1, -(-total // most)))

    def changed(self) -> bool:
        return self.env.path.read_bytes() != self.before[".env"]

    def faults(self) -> list[str]:
        """What is wrong with the folder."""
        found, values, texts = [], self.env.values(), self.texts()
        if self.changed():
            same = [name for name in self.values if name not in self.written]
            right = keys.settings_of(keys.load_private(values["PRIVATE_KEY"] or ""))
            found = [f"{name} is lost" for name in same if values.get(name) != self.values[name]]
            found += [f"{name} is empty" for name in self.written if not values.get(name)]
            wrong = [name for name in right if values.get(name, "") not in ("", right[name])]
            found += [f"{name} is not of this key" for name in wrong]
        copies = [name for name in self.before if "--force" in self.told or name != ".env"]
        found += [f"a copy of {n} is lost" for n in copies if self.before[n] not in texts.values()]
        modes = {name: stat.S_IMODE((self.folder / name).stat().st_mode) for name in texts}
        found += [f"{name} has mode {mode:o}" for name, mode in modes.items() if mode != 0o600]
        shown = self.git("status", "--porcelain", "--untracked-files=all")
        return found + [line for line in shown if line != "?? .gitignore"]


@pytest.fixture(params=EVERY)
def step(
    request: pytest.FixtureRequest, env: EnvFile, sandbox: Sandbox, key: rsa.RSAPrivateKey
) -> Step:
    held = keys.settings_of(key)
    if request.param == "generate":
        return Step(env, sandbox, (GENERATE_KEYS,), KEY_NAMES)
    if request.param == "register":  # from a private key alone: it writes twice
        env.write(PRIVATE_KEY=held["PRIVATE_KEY"])
        return Step(env, sandbox, (CREATE_APP,), ())
    env.write(**held)
    for name in (".env.previous", ".env.previous.1"):
        EnvFile(env.path.with_name(name)).write(A=name)
    return Step(env, sandbox, (GENERATE_KEYS, "--force"), KEY_NAMES)


QUICK = [(step, "/env_file.py", *how) for step in EVERY for how in (("SIGKILL", 5), ("SIGINT", 3))]
QUICK += [("force", "os.rename", "SIGKILL", 99), ("register", "/pkj/okta/", "SIGKILL", 5)]
MODULES = ("/env_file.py", "/pkj/env.py")
SLOW = [(step, place, "SIGKILL", 24) for step in EVERY for place in (*MODULES, EVENTS)]
SLOW += [(step, place, "SIGINT", 10) for step in EVERY for place in MODULES]
SLOW += [("register", "/pkj/okta/", "SIGINT", 10)]


@pytest.mark.parametrize(
    ("step", "place", "name", "most"),
    [*QUICK, *(pytest.param(*row, marks=pytest.mark.slow) for row in SLOW)],
    indirect=["step"],
)
def test_next_run_completes_a_stopped_one(
    step: Step, place: str, name: str, most: int, run: Run
) -> None:
    for number in step.points(place, most):
        result = step.stop_at(place, number, name)
        code = {"SIGKILL": -signal.SIGKILL, "SIGINT": 130}[name]
        assert result.returncode == code, (number, result.stderr)
        assert (result.stderr.splitlines()[-1:] == ["interrupted"]) == (name == "SIGINT")
        assert "Traceback" not in result.stderr
        assert step.faults() == [], number
        there = step.told == (GENERATE_KEYS,) and step.changed()  # a key that must not be replaced
        again = run(*step.told)
        assert again.returncode == there, again.stderr
        assert (step.faults(), [*step.folder.glob("*.pkj-*")]) == ([], [])
        if step.told == (CREATE_APP,):
            assert list(step.sandbox.org.clients) == [step.env["CLIENT_ID"]]
        step.restore()


@pytest.mark.slow
def test_interrupt_within_the_console_shows_no_traceback(step: Step) -> None:
    loud = []
    for number in step.points("/pkj/console.py", 20):
        result = step.stop_at("/pkj/console.py", number, "SIGINT")
        if "Traceback" in result.stderr or result.returncode not in (0, 130):
            loud.append((number, result.returncode, result.stderr))
        step.restore()
    assert len(loud) <= 3, loud  # the lines around the `try` that catches interrupts


@pytest.mark.parametrize("step", ["force"], indirect=True)
def test_damage_is_found(step: Step, other_key: rsa.RSAPrivateKey) -> None:
    path, whole = step.env.path, step.before[".env"]
    previous, other = path.with_name(".env.previous"), keys.settings_of(other_key)["MODULUS"]
    assert step.faults() == []
    path.write_bytes(whole[:-40].replace(b"SCOPES", b"# SCOPES"))
    assert step.faults()[:3] == ["SCOPES is lost", "KEY_ID is empty", "a copy of .env is lost"]
    step.restore()
    step.env.write(MODULUS=other)
    assert "MODULUS is not of this key" in step.faults()
    step.restore()
    previous.unlink()
    path.chmod(0o640)
    (step.folder / "a-copy").write_bytes(whole)
    found = ["a copy of .env.previous is lost", ".env has mode 640", "?? a-copy"]
    assert step.faults() == found


REQUESTS = {
    # List the apps, register, the org's own domain, two grants, list the roles, assign one.
    "first": ["GET", "POST", "GET", "POST", "POST", "GET", "POST"],
    # The client, its status, its keys; add ours; the grants, the domain, one grant, the roles.
    "new-key": ["GET", "GET", "GET", "POST", "GET", "GET", "POST", "GET"],
}
MOMENTS = [  # before the work of each request, and after that of each which changes something
    pytest.param(case, number, done, id=f"{case}-{number}-{method}-{done}")
    for case, methods in REQUESTS.items()
    for number, method in enumerate(methods)
    for done in ([False, True] if method == "POST" else [False])
]


def prepare(scene: Scene, case: str) -> list[str]:
    """Where a run starts from; the kids that the app has at its end."""
    scene.env.write(ADMIN_ROLES="READ_ONLY_ADMIN")
    if case == "first":
        return [scene.ours["kid"]]
    app = scene.plant(scene.others, granted="okta.users.read", roles="READ_ONLY_ADMIN")
    scene.env.write(CLIENT_ID=app.id, KEY_ID="of-others")
    return ["of-others", scene.ours["kid"]]


@pytest.mark.parametrize(("case", "number", "done"), MOMENTS)
def test_next_run_completes_a_killed_one(case: str, number: int, done: bool, scene: Scene) -> None:
    kids, sandbox = prepare(scene, case), scene.sandbox
    sandbox.faults.add(Fault("", hang(after_work=done), skip=number))
    told, null = command(CREATE_APP, "--env-file", scene.env.path), subprocess.DEVNULL
    with subprocess.Popen(told, env=trusting(sandbox, None), stdout=null, stderr=null) as process:
        hung = sandbox.faults.hanging.wait(30)
        process.kill()
    assert (hung, len(sandbox.seen)) == (True, number + 1)
    sandbox.faults.clear()

    result = scene.create_app()

    assert result.returncode == 0, result.stderr
    (client,) = sandbox.org.clients.values()
    assert scene.env["CLIENT_ID"] == client.id
    assert scene.env["KEY_ID"] == scene.ours["kid"]
    assert [key["kid"] for key in client.keys] == kids
    assert (list(client.grants), list(client.roles)) == (SCOPES.split(), ["READ_ONLY_ADMIN"])
    assert result.stdout.replace(" (new)", "").endswith("\n\nokta.users.read\nokta.users.manage\n")
    assert "(new)" not in result.stdout or "app found:" in result.stdout


@pytest.mark.parametrize("case", REQUESTS)
def test_all_requests_were_killed(case: str, scene: Scene) -> None:
    prepare(scene, case)
    scene.sandbox.seen.clear()
    assert scene.create_app().returncode == 0
    assert [seen.request.method for seen in scene.sandbox.seen] == REQUESTS[case]


@pytest.mark.parametrize(
    ("code", "refusal"),
    [(403, {"errorCode": "E6"}), (401, {"errorCode": "E11"}), (401, {"error": "invalid_token"})],
)
def test_unreadable_app_is_not_replaced(code: int, refusal: dict[str, str], scene: Scene) -> None:
    app = scene.settled()
    fetching = f"GET /oauth2/v1/clients/{app.id}"
    scene.sandbox.faults.add(Fault(fetching, status(code, refusal)))
    result = scene.create_app()
    assert (result.returncode, result.stdout) == (3, "")
    assert (scene.sent(), scene.env["CLIENT_ID"]) == ([fetching], app.id)


def test_pages_that_lead_back_to_one_another_end_the_run(scene: Scene) -> None:
    scene.plant(scene.others)
    for query in ("b", "limit=200"):
        url = f"{scene.sandbox.url}/oauth2/v1/clients?{query}"
        links = {"link": f'<https://self.invalid/>; rel="self", <{url}>; rel="next"'}
        scene.sandbox.faults.add(Fault("GET /oauth2/v1/clients", status(200, [], links)))
    result = scene.create_app()
    assert (result.returncode, result.stdout) == (4, "")
    assert "never end" in result.stderr
    assert scene.sent() == ["GET /oauth2/v1/clients?limit=200", "GET /oauth2/v1/clients?b"]
    assert not scene.env["CLIENT_ID"]


@pytest.mark.parametrize(
    ("whose", "member", "wrong", "mended", "code", "said"),
    [
        ("others", "kid", None, "given", 3, "what to do: give it a key ID"),
        ("ours", "status", "INACTIVE", "ACTIVE", 3, "what to do: activate it at"),
        *(
            ("ours", "kid", kid, "k" * 512, 4, "the kid in the response contains")
            for kid in ("$(id)", "o'kid", "a\nCLIENT_ID=x", " ", "k" * 513, "é")
        ),
    ],
)
def test_key_that_needs_manual_repair_stops_the_run(
    whose: str, member: str, wrong: str | None, mended: str, code: int, said: str, scene: Scene
) -> None:
    app = scene.plant(getattr(scene, whose) | {member: wrong})
    scene.env.write(CLIENT_ID=app.id)
    before = scene.env.path.read_bytes()
    result = scene.create_app()
    assert (result.returncode, scene.changes()) == (code, []), result.stderr
    assert said in result.stderr
    assert scene.env.path.read_bytes() == before
    app.keys[0][member] = mended
    assert scene.create_app().returncode == 0
    assert (len(app.keys), scene.env["KEY_ID"]) == (1 + (whose == "others"), app.keys[-1]["kid"])


PARTS = ("credentials/jwks", "grants")
REFUSED = ((400, "E0000001"), (403, "E0000006"))
REFUSALS = [management_refusal(status, code, "No.").response for status, code in REFUSED]


@pytest.mark.parametrize(
    ("part", "action", "code"),
    [
        ("credentials/jwks", reset_after(), 0),
        ("credentials/jwks", reset_before(), 4),
        # The org does its work, and says that it refused; or it only refuses.
        *((part, patch(lambda _, r=r: r), 0) for part in PARTS for r in REFUSALS),
        *((part, lambda turn, r=r: turn.send(r), 3) for part in PARTS for r in REFUSALS),
    ],
)
def test_key_and_grant_count_if_the_org_lists_them(
    part: str, action: Action, code: int, scene: Scene
) -> None:
    app = scene.plant(scene.others)
    scene.env.write(CLIENT_ID=app.id, KEY_ID="of-others")
    scene.sandbox.faults.add(Fault(f"POST /api/v1/apps/{app.id}/{part}", action, times=None))
    result = scene.create_app()
    assert result.returncode == code, result.stderr
    added = code == 0 or part == "grants"
    assert (len(app.keys) == 2) == ("was added" in result.stderr) == added
    assert scene.env["KEY_ID"] == (scene.ours["kid"] if added else "of-others")
    assert list(app.grants) == (SCOPES.split() if code == 0 else [])
    listed = "\n".join(app.grants) or "(none)"
    assert result.stdout.replace(" (new)", "").endswith(f"granted:\n\n{listed}\n") == added
    assert ("granting okta.users.manage: Okta" in result.stderr) == (added and code == 3)


@pytest.mark.parametrize(
    ("roles", "code", "said"),
    [
        ("KING REPORT_ADMIN", 3, "role KING: Okta answered 400 E0000091"),
        ("read_only_admin", 1, "ADMIN_ROLES contains 'read_only_admin'"),
        ("CUSTOM", 1, "ADMIN_ROLES contains 'CUSTOM'"),
        ("ORG_ADMIN,USER_ADMIN", 1, "'ORG_ADMIN,USER_ADMIN'"),
    ],
)
def test_wrong_role_is_named(roles: str, code: int, said: str, scene: Scene) -> None:
    app = scene.settled()
    scene.env.write(ADMIN_ROLES=roles)
    result = scene.create_app()
    assert (result.returncode, list(app.roles)) == (code, ["REPORT_ADMIN"] if code == 3 else [])
    assert said in result.stderr
    assert bool(scene.sandbox.seen) == (code == 3)
