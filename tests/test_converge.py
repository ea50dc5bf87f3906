"""Step 2 on an org that has seen it before: the app, the key, the scopes, the admin roles."""

from typing import Any

import jwt
import pytest
from conftest import SCOPES, STEP_1, STEP_3, EnvFile
from faults import Fault, patch, status
from joserfc.jwk import RSAKey
from scene import Scene

from pkj.sandbox.exchange import Response

FOUND = "///////////////// Okta Service app found:\n\n{app}\n\n"
SETTING = "///////////////// Setting CLIENT_ID in .env:\n\n{id}\n\n"
GRANTED = "///////////////// Scopes granted:\n\nokta.users.read\nokta.users.manage\n"
GONE = "0oaGoneForAWhileAlready"
NO_CLIENT = {"error": "invalid_client", "error_description": "Invalid client."}
Jwk = dict[str, Any]


# The app


def test_a_second_run_finds_the_app_and_sends_only_gets(registered: EnvFile, scene: Scene) -> None:
    before, first = registered.path.read_bytes(), scene.sandbox.connections
    scene.sandbox.seen.clear()

    result = scene.step_2()

    assert result.returncode == 0, result.stderr
    (client,) = scene.sandbox.org.clients.values()
    assert result.stdout == FOUND.format(app=scene.shown(client)) + GRANTED
    assert scene.sent()
    assert scene.changes() == []
    assert scene.sandbox.connections == first + 1
    assert registered.path.read_bytes() == before


@pytest.mark.parametrize(("page", "pages"), [(200, 1), (2, 3)], ids=["one-page", "three-pages"])
@pytest.mark.parametrize("gone", [False, True], ids=["line-deleted", "other-app-deleted"])
def test_the_app_that_holds_only_our_key_is_adopted(
    gone: bool, page: int, pages: int, scene: Scene
) -> None:
    scene.sandbox.org.page_limit = page
    for _ in range(4):
        scene.plant(scene.others)
    app = scene.plant(scene.ours, granted=SCOPES)
    if gone:
        scene.env.write(CLIENT_ID=GONE)
    assert ("CLIENT_ID" in scene.env.values()) == gone

    result = scene.step_2()

    assert result.returncode == 0, result.stderr
    found = FOUND.format(app=scene.shown(app)) + SETTING.format(id=app.id)
    assert result.stdout == found + GRANTED
    assert f"{app.id} holds this key" in result.stderr
    assert (GONE in result.stderr) == gone
    assert scene.env["CLIENT_ID"] == app.id
    assert scene.changes() == []
    lists = [request for request in scene.sent() if "clients?" in request]
    assert lists[0] == "GET /oauth2/v1/clients?limit=200"
    assert len(lists) == pages


def test_where_the_list_hides_keys_only_apps_that_can_be_ours_are_fetched(scene: Scene) -> None:
    scene.sandbox.org.list_shows_keys = False
    scene.plant(application_type="web", token_endpoint_auth_method="client_secret_basic")  # noqa: S106 - the name of a method
    scene.plant(jwks_uri="https://keys.example")
    candidates = [scene.plant(scene.others), scene.plant(scene.ours, granted=SCOPES)]

    result = scene.step_2()

    assert result.returncode == 0, result.stderr
    app = candidates[1]
    found = FOUND.format(app=scene.shown(app)) + SETTING.format(id=app.id)
    assert result.stdout == found + GRANTED
    assert scene.env["CLIENT_ID"] == app.id
    assert scene.changes() == []
    fetched = [request for request in scene.sent() if request.startswith("GET /oauth2/v1/clients/")]
    assert fetched[:-1] == [f"GET /oauth2/v1/clients/{client.id}" for client in candidates]
    assert fetched[-1].endswith("/roles")


def assert_refused_untouched(scene: Scene, before: bytes) -> str:
    """Runs step 2, which must end with 1 and change nothing; what it says."""
    result = scene.step_2()
    assert (result.returncode, result.stdout) == (1, ""), result.stderr
    assert scene.changes() == []
    assert scene.env.path.read_bytes() == before
    assert not any(client.grants or client.roles for client in scene.sandbox.org.clients.values())
    return result.stderr


@pytest.mark.parametrize("shows_keys", [True, False], ids=["keys-in-list", "keys-hidden"])
def test_an_app_planted_with_our_key_and_another_gets_nothing(
    shows_keys: bool, scene: Scene
) -> None:
    scene.sandbox.org.list_shows_keys = shows_keys
    scene.env.write(ADMIN_ROLES="READ_ONLY_ADMIN")
    planted = scene.plant(scene.ours, scene.others, name="Nightly report")

    said = assert_refused_untouched(scene, scene.env.path.read_bytes())

    assert "trusts other keys too" in said
    assert f"  {planted.id}  Nightly report\n" in said
    assert "CLIENT_ID=" in said


def test_of_two_apps_that_hold_our_key_the_user_has_to_choose_one(scene: Scene) -> None:
    one, two = scene.plant(scene.ours, name="one"), scene.plant(scene.ours, name="two")

    said = assert_refused_untouched(scene, scene.env.path.read_bytes())

    assert f"  {one.id}  one\n  {two.id}  two\n" in said
    scene.env.write(CLIENT_ID=two.id)
    chosen = scene.step_2()
    assert chosen.returncode == 0, chosen.stderr
    assert (list(one.grants), list(two.grants)) == ([], SCOPES.split())


def test_the_name_of_a_candidate_cannot_pretend_to_be_another_one(scene: Scene) -> None:
    planted = scene.plant(scene.ours, scene.others, name="x\n  0oaForged  yours")

    said = assert_refused_untouched(scene, scene.env.path.read_bytes())

    listed = [line.split()[0] for line in said.splitlines() if line.startswith("  ")]
    assert listed == [planted.id]


@pytest.mark.parametrize("named", [True, False], ids=["CLIENT_ID", "search"])
@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        pytest.param("application_type", "web", "is not a service app", id="web"),
        pytest.param(
            "token_endpoint_auth_method", "client_secret_jwt", "private_key_jwt", id="method"
        ),
        pytest.param("status", "INACTIVE", "is deactivated", id="deactivated"),
        pytest.param("jwks_uri", "https://keys.example", "from a jwks_uri", id="jwks-uri"),
    ],
)
def test_an_app_that_this_flow_cannot_use_is_left_alone(
    name: str, value: str, reason: str, named: bool, scene: Scene
) -> None:
    make = scene.settled if named else scene.plant
    unfit = make(*([] if named else [scene.ours]), granted="", **{name: value})

    said = assert_refused_untouched(scene, scene.env.path.read_bytes())

    assert reason in said
    assert unfit.id in said
    assert "generate_keys.py --force" in said
    assert ("CLIENT_ID" in said) == named  # another id helps only who named one


@pytest.mark.parametrize("member", ["n", "e"], ids=["another-modulus", "another-exponent"])
def test_an_app_with_our_kid_and_name_and_another_key_is_not_ours(
    member: str, scene: Scene
) -> None:
    another = {"n": scene.others["n"], "e": "Aw"}[member]
    twin = scene.plant({**scene.ours, member: another}, name="Private Key JWT Service App")

    result = scene.step_2()

    assert result.returncode == 0, result.stderr
    assert list(scene.sandbox.org.clients) == [twin.id, scene.env["CLIENT_ID"]]
    assert result.stdout.startswith("///////////////// Okta Service app created:")
    assert not twin.grants


@pytest.mark.parametrize("answer", [None, status(401, NO_CLIENT)], ids=["404", "invalid-client"])
def test_an_app_that_was_deleted_at_okta_is_replaced_by_a_new_one(
    answer: Any, scene: Scene
) -> None:
    if answer:
        scene.sandbox.faults.add(Fault(f"GET /oauth2/v1/clients/{GONE}", answer))
    scene.env.write(CLIENT_ID=GONE)

    result = scene.step_2()

    assert result.returncode == 0, result.stderr
    (client,) = scene.sandbox.org.clients.values()
    assert scene.env["CLIENT_ID"] == client.id
    assert f"app {GONE} (CLIENT_ID) no longer exists" in result.stderr
    assert result.stdout.startswith("///////////////// Okta Service app created:\n\n{")
    assert result.stdout.endswith(SETTING.format(id=client.id) + GRANTED)


# The key


def kid_of_last_assertion(scene: Scene) -> str | None:
    form = scene.sandbox.seen[-1].request.body.decode()
    assertion = form.partition("client_assertion=")[2].partition("&")[0]
    return jwt.get_unverified_header(assertion).get("kid")


def test_a_new_key_is_added_beside_the_old_one_and_step_3_works_with_it(scene: Scene) -> None:
    app = scene.settled(spare := {**scene.others, "status": "INACTIVE"})
    assert scene.run(STEP_1, "--force").returncode == 0
    assert scene.run(STEP_3).returncode == 3
    scene.sandbox.seen.clear()

    result = scene.step_2()

    assert result.returncode == 0, result.stderr
    assert scene.changes() == [f"POST /api/v1/apps/{app.id}/credentials/jwks"]
    (sent,) = scene.bodies()
    assert sent["n"] == scene.env["MODULUS"]
    assert sent["kid"] == RSAKey.import_key(sent).thumbprint() == scene.env["KEY_ID"]
    assert [key["kid"] for key in app.keys] == [scene.ours["kid"], spare["kid"], sent["kid"]]
    assert [key["status"] for key in app.keys] == ["ACTIVE", "INACTIVE", "ACTIVE"]
    assert f"the key {sent['kid']} was added" in result.stderr
    assert f"trusts other keys too: {scene.ours['kid']}; remove one that leaked" in result.stderr
    assert scene.run(STEP_3).returncode == 0
    assert kid_of_last_assertion(scene) == sent["kid"]


@pytest.mark.parametrize("kid", ["O4O", None], ids=["O4O", "no-kid"])
def test_key_id_becomes_the_kid_by_which_the_app_knows_our_key(
    kid: str | None, scene: Scene
) -> None:
    app = scene.plant({**scene.ours, "kid": kid}, granted=SCOPES)

    result = scene.step_2()

    assert result.returncode == 0, result.stderr
    assert scene.env["CLIENT_ID"] == app.id
    assert scene.env["KEY_ID"] == (kid or "")
    assert scene.changes() == []
    assert scene.run(STEP_3).returncode == 0
    assert kid_of_last_assertion(scene) == kid


# Scopes


def test_a_scope_that_was_added_takes_one_post_and_is_marked_as_new(scene: Scene) -> None:
    app = scene.settled()
    scene.env.write(SCOPES=f"okta.groups.read {SCOPES}")

    result = scene.step_2()

    assert result.returncode == 0, result.stderr
    assert scene.changes() == [f"POST /api/v1/apps/{app.id}/grants"]
    assert scene.bodies() == [{"issuer": scene.sandbox.url, "scopeId": "okta.groups.read"}]
    assert result.stdout.endswith(GRANTED.replace("okta", "okta.groups.read (new)\nokta", 1))
    assert list(app.grants) == [*SCOPES.split(), "okta.groups.read"]


def test_grants_beyond_scopes_are_named_and_stay(scene: Scene) -> None:
    app = scene.settled()
    scene.env.write(SCOPES="okta.users.read")

    result = scene.step_2()

    assert result.returncode == 0, result.stderr
    assert scene.changes() == []
    assert list(app.grants) == SCOPES.split()
    (line,) = [line for line in result.stderr.splitlines() if "not in SCOPES" in line]
    assert line.endswith(" okta.users.manage")
    assert result.stdout.endswith("granted:\n\nokta.users.read\n")


# Admin roles


@pytest.mark.parametrize("code", [201, 200])
def test_a_role_is_assigned_once_over_two_runs_and_others_stay(code: int, scene: Scene) -> None:
    app = scene.settled(roles="REPORT_ADMIN")
    scene.env.write(ADMIN_ROLES="READ_ONLY_ADMIN SUPER_ADMIN REPORT_ADMIN")
    path = f"/oauth2/v1/clients/{app.id}/roles"
    answer = patch(lambda answer: Response(code, answer.body, answer.headers))
    scene.sandbox.faults.add(Fault(f"POST {path}", answer, times=None))

    first = scene.step_2()

    assert first.returncode == 0, first.stderr
    assert scene.changes() == [f"POST {path}"] * 2
    assert scene.bodies() == [{"type": "READ_ONLY_ADMIN"}, {"type": "SUPER_ADMIN"}]
    assert f"the role READ_ONLY_ADMIN was assigned to the app {app.id}\n" in first.stderr
    assert "SUPER_ADMIN lets whoever" in first.stderr
    assert "not in ADMIN_ROLES" not in first.stderr
    scene.sandbox.seen.clear()
    scene.env.write(ADMIN_ROLES="READ_ONLY_ADMIN")
    second = scene.step_2()
    assert (second.returncode, scene.changes()) == (0, [])
    assert "assigned" not in second.stderr
    assert "SUPER_ADMIN lets whoever" not in second.stderr
    (line,) = [line for line in second.stderr.splitlines() if "not in ADMIN_ROLES" in line]
    assert line.endswith(" REPORT_ADMIN SUPER_ADMIN")
    assert len(app.roles) == 3


@pytest.mark.parametrize("roles", ["", "REPORT_ADMIN"], ids=["no-role", "role"])
def test_an_app_without_a_role_is_pointed_out_once_and_only_the_file_gives_roles(
    roles: str, scene: Scene
) -> None:
    app = scene.settled(roles=roles)

    result = scene.step_2(env={"ADMIN_ROLES": "SUPER_ADMIN no/role"})

    assert result.returncode == 0, result.stderr
    assert scene.changes() == []
    assert list(app.roles) == roles.split()
    hints = [line for line in result.stderr.splitlines() if "403" in line]
    assert len(hints) == (0 if roles else 1)
    assert all("ADMIN_ROLES=READ_ONLY_ADMIN" in line for line in hints)
    assert "SUPER_ADMIN" not in result.stderr
