"""What step 2 says and leaves when a part of its work is refused, or others are in the way."""

import json
from typing import Any

import pytest
from conftest import SCOPES
from faults import Action, Fault, patch, status
from scene import Scene

from pkj.sandbox.exchange import Response, management_refusal
from pkj.sandbox.state import APP_ADMIN

FORBIDDEN = management_refusal(403, "E0000006", "You do not have permission").answer.body
BROKEN = {"errorCode": "E0000009", "errorSummary": "Internal Server Error"}
STRANGE_ID = "my$app!1"


def each_listed(change: dict[str, Any]) -> Action:
    """The org's list of apps, each of them changed."""

    def changed(answer: Response) -> Response:
        assert isinstance(answer.body, list)
        return Response(answer.status, [app | change for app in answer.body], answer.headers)

    return patch(changed)


@pytest.mark.parametrize(
    ("whose", "shows_keys"), [("theirs", True), ("theirs", False), ("ours", True)]
)
def test_an_id_that_env_must_not_hold_is_in_the_way_only_of_the_app_that_has_our_key(
    whose: str, shows_keys: bool, scene: Scene
) -> None:
    org = scene.sandbox.org
    org.list_shows_keys = shows_keys
    client = scene.plant(scene.ours if whose == "ours" else scene.others)
    org.clients[STRANGE_ID] = org.clients.pop(client.id)
    client.id = STRANGE_ID

    result = scene.step_2()

    assert result.returncode == (4 if whose == "ours" else 0), result.stderr
    assert len(org.clients) == (1 if whose == "ours" else 2)
    assert ("CLIENT_ID" in scene.env.values()) == (whose == "theirs")
    assert ("must not hold" in result.stderr) == (whose == "ours")


@pytest.mark.parametrize("jwks", [None, {}, {"keys": None}, {"keys": []}])
def test_an_app_whose_keys_the_list_shows_as_nothing_is_fetched(jwks: Any, scene: Scene) -> None:
    app = scene.plant(scene.ours, granted=SCOPES)
    scene.sandbox.faults.add(Fault("GET /oauth2/v1/clients", each_listed({"jwks": jwks})))

    result = scene.step_2()

    assert result.returncode == 0, result.stderr
    assert list(scene.sandbox.org.clients) == [app.id] == [scene.env["CLIENT_ID"]]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        pytest.param("GET /api/v1/apps/{id}/grants", 403, id="no-second-look"),
        pytest.param("GET /oauth2/v1/clients/{id}/roles", 403, id="roles-hidden"),
        pytest.param("POST /oauth2/v1/clients/{id}/roles", 403, id="role-refused"),
        pytest.param("GET /api/v1/apps/{id}/grants", 500, id="second-look-broken"),
        pytest.param("GET /oauth2/v1/clients/{id}/roles", 500, id="roles-broken"),
        pytest.param("POST /oauth2/v1/clients/{id}/roles", 500, id="role-broken"),
        pytest.param("", 0, id="nothing-else"),
    ],
)
def test_a_refused_scope_is_listed_whatever_comes_after_it(
    line: str, code: int, scene: Scene
) -> None:
    app = scene.settled(granted="")
    scene.env.write(ADMIN_ROLES="READ_ONLY_ADMIN")
    refused = Fault(f"POST /api/v1/apps/{app.id}/grants", status(403, FORBIDDEN))
    scene.sandbox.faults.add(refused)
    if line:
        skip = 1 if "grants" in line else 0  # the first look is before the grants
        body = FORBIDDEN if code == 403 else BROKEN
        fault = Fault(line.format(id=app.id), status(code, body), skip=skip, times=None)
        scene.sandbox.faults.add(fault)

    result = scene.step_2()

    assert result.returncode == (4 if code == 500 else 3), result.stderr
    error, _, cure = result.stderr.partition("what to do: ")
    assert "granting okta.users.read: Okta answered 403 E0000006" in error
    assert "Super Admin" in cure
    assert list(app.grants) == ["okta.users.manage"]
    assert ("E0000009" in error) == (code == 500)
    assert "okta.users.read\n" not in result.stdout.partition("Scopes granted:")[2]


def test_a_scope_that_could_not_be_asked_for_leaves_the_refused_ones_in_the_list(
    scene: Scene,
) -> None:
    app = scene.settled(granted="")
    grants = f"POST /api/v1/apps/{app.id}/grants"
    scene.sandbox.faults.add(Fault(grants, status(403, FORBIDDEN)))
    scene.sandbox.faults.add(Fault(grants, status(500, BROKEN), times=None))

    result = scene.step_2()

    assert result.returncode == 4, result.stderr
    assert "granting okta.users.read: Okta answered 403" in result.stderr
    assert "granting okta.users.manage: Okta answered 500" in result.stderr
    assert app.grants == {}


def test_an_admin_who_may_not_grant_is_told_so_for_each_scope(scene: Scene) -> None:
    scene.sandbox.org.api_keys["00pretendAppAdmin"] = APP_ADMIN
    scene.env.write(API_KEY="00pretendAppAdmin")

    result = scene.step_2()

    assert result.returncode == 3, result.stderr
    assert [f"granting {scope}: " in result.stderr for scope in SCOPES.split()] == [True, True]
    assert result.stderr.count("what to do: ") == 1
    assert scene.env["CLIENT_ID"] in scene.sandbox.org.clients


@pytest.mark.parametrize(
    ("code", "held", "said"),
    [
        pytest.param("E0000090", "READ_ONLY_ADMIN", "has the role READ_ONLY_ADMIN", id="taken"),
        pytest.param("E0000090", "", "Okta answered 409 E0000090", id="taken-but-not-listed"),
        pytest.param("E0000999", "", "Okta answered 409 E0000999", id="something-else"),
    ],
)
def test_a_role_that_this_run_did_not_assign_is_not_said_to_be(
    code: str, held: str, said: str, scene: Scene
) -> None:
    app = scene.settled(roles=held)
    scene.sandbox.faults.add(Fault(f"GET /oauth2/v1/clients/{app.id}/roles", status(200, [])))
    scene.env.write(ADMIN_ROLES="READ_ONLY_ADMIN")
    refusal = {"errorCode": code, "errorSummary": "No."}
    assigning = f"POST /oauth2/v1/clients/{app.id}/roles"
    scene.sandbox.faults.add(Fault(assigning, status(409, refusal)))

    result = scene.step_2()

    assert result.returncode == (0 if held else 3), result.stderr
    assert said in result.stderr
    assert "was assigned" not in result.stderr


@pytest.mark.parametrize("exported", [True, False])
def test_a_refusal_says_which_of_the_settings_it_names_come_from_the_environment(
    exported: bool, scene: Scene
) -> None:
    wrong = {"API_KEY": "00wrong"}
    if not exported:
        scene.env.write(**wrong)

    result = scene.step_2(env=wrong | {"DPOP": "false"} if exported else {})

    assert result.returncode == 3, result.stderr
    assert "E0000011" in result.stderr
    said = f"(API_KEY comes from the environment, which wins over {scene.env.path})"
    assert (said in result.stderr) == exported


def test_the_app_is_shown_as_json_whatever_its_name(scene: Scene) -> None:
    name = 'Büro\u00a0\u202e"\ufeff'

    result = scene.step_2("--name", name)

    assert result.returncode == 0, result.stderr
    block = result.stdout.partition("created:\n\n")[2].partition("\n\n/////")[0]
    assert json.loads(block)["client_name"] == name
    assert block.replace("\n", "").isprintable()
