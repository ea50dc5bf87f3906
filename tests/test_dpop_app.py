"""create_okta_service_app.py and DPOP: one flag of the app is changed, and nothing else of it."""

import copy
from collections.abc import Callable

import pytest
from conftest import GET_TOKEN
from dpop_requests import Body, of_the_app
from faults import Action, reset_after, status
from scene import FORBIDDEN, Jwk, Scene

from pkj.sandbox.state import Client

FLAG = "dpop_bound_access_tokens"


@pytest.fixture
def app(scene: Scene) -> Client:
    """An app of ours without grants, with settings and an INACTIVE key of other people."""
    spare = {**scene.others, "kid": "retired", "status": "INACTIVE"}
    client = scene.settled(spare, granted="")
    client.sections["settings"]["notes"] = {"admin": "keep", "enduser": "ümläut \u2028 <&>"}
    client.sections["oauth_settings"]["something_new"] = {"deep": [1, 2.5, None, True, {"x": ""}]}
    client.sections["oauth_credentials"]["pkce_required"] = True
    client.sections["visibility"]["autoLaunch"] = True
    return client


@pytest.mark.parametrize(
    ("flag", "lost", "would", "said"),
    [
        (True, 0, "would require DPoP of the app", "now requires DPoP"),
        (True, 1, "would require DPoP of the app", "now requires DPoP"),
        (False, 0, "would lift the DPoP requirement of the app", "no longer requires DPoP"),
    ],
)
def test_flag_is_set_and_the_rest_of_the_app_goes_back_as_it_was_read(
    flag: bool, lost: int, would: str, said: str, scene: Scene, app: Client
) -> None:
    app.dpop_bound = not flag
    scene.env.write(DPOP=str(flag).lower())
    path, shown = f"/api/v1/apps/{app.id}", list[Body]()
    scene.fault(f"PUT {path}", reset_after(), times=lost)
    record = of_the_app(lambda body: shown.append(copy.deepcopy(body)))
    scene.fault(f"GET {path}", record, times=None)
    before = copy.deepcopy((app.sections, app.keys, app.metadata))
    dry = [line for line in scene.ends(0, "--dry-run").stdout.splitlines() if "DPoP" in line]
    assert (dry, scene.changes(), app.dpop_bound) == ([f"{would} {app.id}"], [], not flag)

    result = scene.ends(0)

    assert said in result.stderr
    assert app.dpop_bound is flag
    assert (app.sections, app.keys, app.metadata) == before
    client = shown[-1]["settings"]["oauthClient"]
    client[FLAG] = flag
    assert scene.bodies(method="PUT") == [shown[-1]] * (1 + lost)
    place = scene.sent().index(f"PUT {path}")
    assert f"GET {path}" in scene.sent()[place - 2 : place]
    assert scene.changes() == [f"PUT {path}"] * (1 + lost) + [f"POST {path}/grants"] * 2
    scene.sandbox.seen.clear()
    scene.ends(0)
    assert scene.changes() == []


@pytest.mark.parametrize("dry", [False, True])
@pytest.mark.parametrize(
    ("word", "flag"), [("", False), ("", True), ("true", True), ("false", False)]
)
def test_app_is_not_sent_back(word: str, flag: bool, dry: bool, scene: Scene, app: Client) -> None:
    app.dpop_bound = flag
    scene.env.write(DPOP=word)
    result = scene.ends(0, *["--dry-run"] * dry)
    assert (scene.bodies(method="PUT"), app.dpop_bound, len(app.grants)) == (
        [],
        flag,
        0 if dry else 2,
    )
    assert "DPoP" not in result.stderr + result.stdout.replace(FLAG, "")


@pytest.mark.parametrize("flag", [True, False])
def test_new_app_gets_the_flag_before_its_grants(flag: bool, scene: Scene) -> None:
    scene.env.write(DPOP=str(flag).lower())
    dry = scene.ends(0, "--dry-run").stdout
    assert ("would require DPoP of the new app\n" in dry, "DPoP" in dry) == (flag, flag)
    scene.ends(0)
    (client,) = scene.sandbox.org.clients.values()
    path = f"/api/v1/apps/{client.id}"
    put, grants = [f"PUT {path}"] * flag, [f"POST {path}/grants"] * 2
    assert scene.changes() == ["POST /oauth2/v1/clients", *put, *grants]
    assert (FLAG in scene.bodies()[0], client.dpop_bound) == (False, flag)


def test_dpop_false_at_an_org_that_requires_dpop_is_explained(scene: Scene, app: Client) -> None:
    scene.sandbox.org.require_dpop = True
    scene.env.write(DPOP="false")
    scene.ends(0)
    refusal = scene.run(GET_TOKEN)
    assert (refusal.returncode, app.dpop_bound) == (3, False)
    hint = refusal.stderr.partition("what to do: ")[2]
    assert "set DPOP=true in .env" in hint
    assert "If only the app requires it, and not the whole org" in hint


REVIVED, WIPED = "INACTIVE key retired", "show other keys"
SHOWN: dict[str, tuple[Callable[[list[Jwk]], list[Jwk]], str]] = {
    "no-status": (lambda keys: [{**key, "status": None} for key in keys], REVIVED),
    "no-second-key": (lambda keys: keys[:1], REVIVED),
    "no-keys": (lambda keys: keys[:0], REVIVED),
    "second-active": (lambda keys: [keys[0], {**keys[1], "status": "ACTIVE"}], REVIVED),
    "no-first-key": (lambda keys: keys[1:], WIPED),
    "no-kid": (lambda keys: [{**keys[0], "kid": None}, keys[1]], WIPED),
    "other-modulus": (lambda keys: [{**keys[0], "n": "AQAB"}, keys[1]], WIPED),
    "other-exponent": (lambda keys: [{**keys[0], "e": "Aw"}, keys[1]], WIPED),
    "key-twice": (lambda keys: [keys[0], *keys], WIPED),
}
"""Keys that an app shows in place of its own: sending it back would wipe or revive one."""


def with_keys(change: Callable[[list[Jwk]], list[Jwk]]) -> Action:
    def act(body: Body) -> None:
        jwks = body["settings"]["oauthClient"]["jwks"]
        jwks["keys"] = change(jwks["keys"])

    return of_the_app(act)


@pytest.mark.parametrize("required", [False, True], ids=["change", "no-change"])
@pytest.mark.parametrize(("change", "said"), SHOWN.values(), ids=SHOWN)
def test_change_that_would_replace_a_key_is_refused(
    change: Callable[[list[Jwk]], list[Jwk]], said: str, required: bool, scene: Scene, app: Client
) -> None:
    app.dpop_bound = required
    scene.env.write(DPOP="true")
    scene.fault(f"GET /api/v1/apps/{app.id}", with_keys(change), times=None)
    keys = copy.deepcopy(app.keys)
    result = scene.ends(0 if required else 3)
    for text in (said, "Require Demonstrating Proof of Possession"):
        assert (text in result.stderr) == (not required)
    assert len(scene.changes()) == (2 if required else 0)
    assert (app.dpop_bound, app.keys) == (required, keys)


@pytest.mark.parametrize(("shown", "held", "code"), [(1, "ours", 0), (1, "others", 3), (0, "", 3)])
def test_keys_are_read_again(shown: int, held: str, code: int, scene: Scene, app: Client) -> None:
    scene.env.write(DPOP="true")
    path = f"GET /api/v1/apps/{app.id}"
    scene.fault(f"{path}/credentials/jwks", status(200, scene.keys(held)), skip=1)
    scene.fault(path, with_keys(lambda keys: keys[:shown]), times=None)
    assert (WIPED in scene.ends(code).stderr) == (code == 3)
    assert app.dpop_bound is (code == 0)


UNSET = of_the_app(lambda body: body["settings"]["oauthClient"].update({FLAG: False}))
NO_FLAG = of_the_app(lambda body: body["settings"]["oauthClient"].pop(FLAG))
NO_CLIENT = of_the_app(lambda body: body["settings"].update(oauthClient=None))
NO_SETTINGS = of_the_app(lambda body: body.pop("settings"))
REFUSALS: dict[str, tuple[str, Action, int, str]] = {
    "E0000006": ("PUT", FORBIDDEN, 3, "Super Admin"),
    "empty": ("PUT", status(200), 4, "expected JSON"),
    "unset": ("PUT", UNSET, 4, "did not change it"),
    "no-flag": ("PUT", NO_FLAG, 4, "did not change it"),
    "no-settings": ("PUT", NO_SETTINGS, 4, "settings.oauthClient"),
    "get-no-settings": ("GET", NO_SETTINGS, 4, "settings.oauthClient"),
    "get-no-client": ("GET", NO_CLIENT, 4, "settings.oauthClient"),
}


@pytest.mark.parametrize(("method", "action", "code", "said"), REFUSALS.values(), ids=REFUSALS)
def test_failed_change_ends_the_run_before_grants_and_the_next_goes_on(
    method: str, action: Action, code: int, said: str, scene: Scene
) -> None:
    scene.fault(f"{method} /api/v1/apps/", action, times=None)
    scene.env.write(DPOP="true")
    assert said in scene.ends(code).stderr
    (client,) = scene.sandbox.org.clients.values()
    assert (scene.env["CLIENT_ID"], client.grants) == (client.id, {})
    assert len(scene.bodies(method="PUT")) == (method == "PUT")
    scene.sandbox.faults.clear()
    scene.ends(0)
    assert list(scene.sandbox.org.clients) == [client.id]
    assert (len(client.grants), client.dpop_bound) == (2, True)
