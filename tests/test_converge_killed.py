"""Step 2 stopped half-way: killed, refused or without an answer, and what the next run does."""

import subprocess
from typing import Any

import pytest
from conftest import SCOPES, STEP_2, clean_environment, command
from faults import Action, Fault, Sandbox, hang, patch, reset_after, reset_before, status
from scene import Scene
from test_converge import GRANTED

from pkj.sandbox.exchange import Refusal, Response, management_refusal
from pkj.sandbox.org import Org

FIRST_RUN = ["GET", "POST", "GET", "POST", "POST", "GET", "POST"]
"""List the apps, register, the org's own domain, two grants, list the roles, assign one."""

NEW_KEY = ["GET", "GET", "GET", "POST", "GET", "GET", "POST", "GET"]
"""Read the client, its status, its keys; add ours; list the grants, the org's own domain,
grant one; the roles."""

INVALID = management_refusal(400, "E0000001", "Api validation failed: scopeId")
FORBIDDEN = management_refusal(403, "E0000006", "You do not have permission")


def after_work(refusal: Refusal) -> Action:
    """The org does its work, and its answer says that it refused."""
    return patch(lambda _: refusal.answer)


def instead(refusal: Refusal) -> Action:
    return lambda turn: turn.send(refusal.answer)


def methods(scene: Scene) -> list[str]:
    return [seen.request.method for seen in scene.sandbox.seen]


def kill_at(scene: Scene, number: int, *, done: bool) -> None:
    """Start step 2 and kill it while it waits for the answer to this request, from 0."""
    scene.sandbox.faults.add(Fault("", hang(after_work=done), skip=number))
    with subprocess.Popen(
        command(STEP_2, "--env-file", scene.env.path),
        env=clean_environment(REQUESTS_CA_BUNDLE=scene.sandbox.ca_file),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        hung = scene.sandbox.faults.hanging.wait(30)
        process.kill()
    assert hung
    assert len(scene.sandbox.seen) == number + 1
    scene.sandbox.faults.clear()


def moments(requests: list[str]) -> list[Any]:
    """Before the work of each request, and after that of each which changes something."""
    return [
        pytest.param(number, done, id=f"{number}-{method}-{'done' if done else 'not-done'}")
        for number, method in enumerate(requests)
        for done in ([False, True] if method == "POST" else [False])
    ]


@pytest.mark.parametrize(("number", "done"), moments(FIRST_RUN))
def test_a_first_run_killed_anywhere_is_completed_by_the_next(
    number: int, done: bool, scene: Scene
) -> None:
    scene.env.write(ADMIN_ROLES="READ_ONLY_ADMIN")
    kill_at(scene, number, done=done)

    result = scene.step_2()

    assert result.returncode == 0, result.stderr
    (client,) = scene.sandbox.org.clients.values()
    assert scene.env["CLIENT_ID"] == client.id
    assert list(client.grants) == SCOPES.split()
    assert list(client.roles) == ["READ_ONLY_ADMIN"]
    assert [key["kid"] for key in client.keys] == [scene.ours["kid"]]
    assert result.stdout.replace(" (new)", "").endswith(GRANTED)
    assert "(new)" not in result.stdout or "app found:" in result.stdout


@pytest.mark.parametrize(("number", "done"), moments(NEW_KEY))
def test_a_run_with_a_new_key_killed_anywhere_is_completed_by_the_next(
    number: int, done: bool, scene: Scene
) -> None:
    app = scene.plant(scene.others, granted="okta.users.read", roles="READ_ONLY_ADMIN")
    scene.env.write(CLIENT_ID=app.id, KEY_ID="of-others")
    kill_at(scene, number, done=done)

    result = scene.step_2()

    assert result.returncode == 0, result.stderr
    assert list(scene.sandbox.org.clients) == [scene.env["CLIENT_ID"]]
    assert [key["kid"] for key in app.keys] == ["of-others", scene.ours["kid"]]
    assert scene.env["KEY_ID"] == scene.ours["kid"]
    assert list(app.grants) == SCOPES.split()


def test_these_are_all_the_requests_of_the_runs_that_were_killed(scene: Scene) -> None:
    scene.env.write(ADMIN_ROLES="READ_ONLY_ADMIN")
    assert scene.step_2().returncode == 0
    assert methods(scene) == FIRST_RUN
    scene.sandbox.seen.clear()
    app = scene.plant(scene.others, granted="okta.users.read", roles="READ_ONLY_ADMIN")
    scene.env.write(CLIENT_ID=app.id, ADMIN_ROLES="")
    assert scene.step_2().returncode == 0
    assert methods(scene) == NEW_KEY


# The app


@pytest.mark.parametrize(
    ("loss", "apps"), [(reset_after(), 1), (reset_before(), 0)], ids=["done", "not-done"]
)
def test_an_app_whose_registration_had_no_answer_is_found_again(
    loss: Action, apps: int, scene: Scene
) -> None:
    scene.sandbox.faults.add(Fault("POST /oauth2/v1/clients", loss, times=None))
    scene.step_2()
    assert len(scene.sandbox.org.clients) == apps
    scene.sandbox.faults.clear()

    result = scene.step_2()

    assert result.returncode == 0, result.stderr
    assert list(scene.sandbox.org.clients) == [scene.env["CLIENT_ID"]]


@pytest.mark.parametrize(
    ("code", "refusal"),
    [
        pytest.param(403, {"errorCode": "E0000006", "errorSummary": "No."}, id="forbidden"),
        pytest.param(401, {"errorCode": "E0000011", "errorSummary": "No."}, id="api-token"),
        pytest.param(401, {"error": "invalid_token"}, id="other-oauth-error"),
    ],
)
def test_an_app_that_may_not_be_read_does_not_count_as_deleted(
    code: int, refusal: dict[str, str], scene: Scene
) -> None:
    app = scene.settled()
    fetching = f"GET /oauth2/v1/clients/{app.id}"
    scene.sandbox.faults.add(Fault(fetching, status(code, refusal)))

    result = scene.step_2()

    assert (result.returncode, result.stdout) == (3, "")
    assert scene.sent() == [fetching]
    assert scene.env["CLIENT_ID"] == app.id


def next_page(url: str) -> Action:
    """The org's list, with its `Link: rel="next"` changed to this one."""

    def change(answer: Response) -> Response:
        links = f'<https://self.invalid/>; rel="self", <{url}>; rel="next"'
        return Response(answer.status, answer.body, answer.headers | {"link": links})

    return patch(change)


def test_the_api_token_does_not_follow_a_link_to_another_host(scene: Scene) -> None:
    scene.sandbox.org.page_limit = 1
    scene.plant(scene.others)
    app = scene.plant(scene.ours, granted=SCOPES)
    with Sandbox(Org("https://127.0.0.1")) as elsewhere:
        change = patch(
            lambda answer: Response(
                answer.status,
                answer.body,
                {"link": answer.headers["link"].replace(scene.sandbox.url, elsewhere.url)},
            )
        )
        scene.sandbox.faults.add(Fault("GET /oauth2/v1/clients", change))

        result = scene.step_2()

        assert (elsewhere.seen, elsewhere.connections) == ([], 0)
    assert result.returncode == 0, result.stderr
    assert scene.env["CLIENT_ID"] == app.id
    assert scene.sent()[1].startswith("GET /oauth2/v1/clients?limit=200&after=")


def test_pages_that_lead_back_to_one_another_end_the_run(scene: Scene) -> None:
    scene.plant(scene.others)
    for start in ("limit=200", "b"):
        follows = "b" if start == "limit=200" else "limit=200"
        loop = next_page(f"{scene.sandbox.url}/oauth2/v1/clients?{follows}")
        scene.sandbox.faults.add(Fault("GET /oauth2/v1/clients", loop, times=1))
    before = scene.env.path.read_bytes()

    result = scene.step_2()

    assert (result.returncode, result.stdout) == (4, "")
    assert "lead back to one another" in result.stderr
    assert scene.sent() == ["GET /oauth2/v1/clients?limit=200", "GET /oauth2/v1/clients?b"]
    assert scene.env.path.read_bytes() == before


# The key


def test_a_foreign_key_without_a_kid_stands_in_the_way_of_ours(scene: Scene) -> None:
    app = scene.plant({**scene.others, "kid": None})
    scene.env.write(CLIENT_ID=app.id)

    result = scene.step_2()

    assert result.returncode == 3
    assert scene.changes() == []
    assert "has a key without a key ID" in result.stderr
    assert "what to do: give it a key ID or remove it at Applications" in result.stderr
    app.keys[0]["kid"] = "given"
    assert scene.step_2().returncode == 0
    assert [key["kid"] for key in app.keys] == ["given", scene.ours["kid"]]


def test_our_key_inactive_at_the_app_is_for_a_person_to_activate(scene: Scene) -> None:
    app = scene.settled(scene.others, granted="")
    app.keys[0]["status"] = "INACTIVE"

    result = scene.step_2()

    assert result.returncode == 3
    assert scene.changes() == []
    assert f"is INACTIVE at the app {app.id}" in result.stderr
    assert "what to do: activate it at Applications" in result.stderr
    app.keys[0]["status"] = "ACTIVE"
    assert scene.step_2().returncode == 0
    assert len(app.keys) == 2


@pytest.mark.parametrize(
    "kid", ["$(id)", "o'kid", "a\nCLIENT_ID=x", " ", "k" * 513, "é"], ids=ascii
)
def test_a_kid_that_env_must_not_hold_is_not_saved(kid: str, scene: Scene) -> None:
    app = scene.plant({**scene.ours, "kid": kid})
    scene.env.write(CLIENT_ID=app.id)
    before = scene.env.path.read_bytes()

    result = scene.step_2()

    assert result.returncode == 4
    assert "the kid in the response contains characters" in result.stderr
    assert scene.changes() == []
    assert scene.env.path.read_bytes() == before


@pytest.mark.parametrize(
    ("action", "code", "held"),
    [
        pytest.param(reset_after(), 0, 2, id="lost-and-done"),
        pytest.param(after_work(INVALID), 0, 2, id="refused-and-done"),
        pytest.param(reset_before(), 4, 1, id="lost"),
        pytest.param(instead(INVALID), 3, 1, id="refused"),
    ],
)
def test_a_key_counts_as_added_only_if_the_app_holds_it(
    action: Action, code: int, held: int, scene: Scene
) -> None:
    app = scene.plant(scene.others, granted=SCOPES)
    scene.env.write(CLIENT_ID=app.id, KEY_ID="of-others")
    adding = f"POST /api/v1/apps/{app.id}/credentials/jwks"
    scene.sandbox.faults.add(Fault(adding, action, times=None))

    result = scene.step_2()

    assert result.returncode == code, result.stderr
    assert len(app.keys) == held
    assert ("was added" in result.stderr) == (held == 2)
    assert scene.env["KEY_ID"] == ("of-others" if code else scene.ours["kid"])


# Scopes and roles


def test_a_refused_scope_is_granted_by_the_next_run_once_it_is_allowed(scene: Scene) -> None:
    app = scene.settled(granted="")
    scene.sandbox.org.refused_scopes.add("okta.users.read")

    refused = scene.step_2()

    assert refused.returncode == 3
    assert list(app.grants) == ["okta.users.manage"]
    assert "granting okta.users.read: Okta answered 403 E0000006" in refused.stderr
    assert "what to do: only a Super Admin may grant scopes" in refused.stderr
    assert "granting okta.users.manage" not in refused.stderr
    assert refused.stdout.endswith("granted:\n\nokta.users.manage (new)\n")
    scene.sandbox.org.refused_scopes.clear()
    scene.sandbox.seen.clear()
    completed = scene.step_2()
    assert completed.returncode == 0, completed.stderr
    assert scene.changes() == [f"POST /api/v1/apps/{app.id}/grants"]
    assert completed.stdout.endswith(GRANTED.replace("read", "read (new)"))


@pytest.mark.parametrize(
    ("action", "code"),
    [
        pytest.param(after_work(INVALID), 0, id="400-and-done"),
        pytest.param(after_work(FORBIDDEN), 0, id="403-and-done"),
        pytest.param(instead(INVALID), 3, id="400"),
        pytest.param(instead(FORBIDDEN), 3, id="403"),
    ],
)
def test_a_refusal_of_a_grant_counts_unless_the_org_lists_the_grant(
    action: Action, code: int, scene: Scene
) -> None:
    app = scene.settled(granted="okta.users.read")
    grants = f"/api/v1/apps/{app.id}/grants"
    scene.sandbox.faults.add(Fault(f"POST {grants}", action, times=None))

    result = scene.step_2()

    assert result.returncode == code, result.stderr
    assert scene.sent().count(f"GET {grants}") == 2
    granted = [line.removesuffix(" (new)") for line in result.stdout.splitlines()]
    assert ("okta.users.manage" in granted) == (code == 0)
    assert ("granting okta.users.manage: Okta answered" in result.stderr) == (code == 3)


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "never-listed"])
@pytest.mark.parametrize("duplicate", [200, 400, 409])
def test_a_grant_and_a_role_that_somebody_else_just_made_count_if_the_org_lists_them(
    duplicate: int, listed: bool, scene: Scene
) -> None:
    app = scene.settled(roles="READ_ONLY_ADMIN")
    scene.sandbox.org.duplicate_grant_status = duplicate
    scene.env.write(ADMIN_ROLES="READ_ONLY_ADMIN")
    lists = f"/api/v1/apps/{app.id}/grants", f"/oauth2/v1/clients/{app.id}/roles"
    for listing in lists:
        empty = Fault(f"GET {listing}", status(200, []), times=1 if listed else None)
        scene.sandbox.faults.add(empty)

    result = scene.step_2()

    assert result.returncode == (0 if listed else 3), result.stderr
    answers = [s.answer_status for s in scene.sandbox.seen if s.request.method == "POST"]
    assert answers == [duplicate, duplicate, 409]
    refused = not listed and duplicate != 200
    assert ("granting okta.users.manage: " in result.stderr) == refused
    assert ("(none)" in result.stdout) == refused


@pytest.mark.parametrize(
    ("roles", "said"),
    [
        pytest.param("KING REPORT_ADMIN", "role KING: Okta answered 400 E0000091", id="unknown"),
        pytest.param("read_only_admin", "ADMIN_ROLES contains 'read_only_admin'", id="lower"),
        pytest.param("CUSTOM", "ADMIN_ROLES contains 'CUSTOM'", id="custom"),
        pytest.param("ORG_ADMIN,USER_ADMIN", "'ORG_ADMIN,USER_ADMIN'", id="comma"),
    ],
)
def test_a_role_that_cannot_be_is_named(roles: str, said: str, scene: Scene) -> None:
    app = scene.settled()
    scene.env.write(ADMIN_ROLES=roles)

    result = scene.step_2()

    refused_by_okta = "Okta answered" in said
    assert result.returncode == (3 if refused_by_okta else 1)
    assert said in result.stderr
    assert list(app.roles) == (["REPORT_ADMIN"] if refused_by_okta else [])
    assert bool(scene.sandbox.seen) == refused_by_okta
