"""The options of step 2: `--delete` with `--yes` or at a terminal, and `--dry-run` of all of it."""

import contextlib
import os
import pty
import subprocess
from collections.abc import Callable, Iterator

import pytest
from faults import Action, Fault, close_after, empty, html, patch, status
from scene import Scene
from test_converge import GONE, NO_CLIENT

from pkj.sandbox.exchange import Response, management_refusal
from pkj.sandbox.state import APP_ADMIN, Client

DELETED = "///////////////// Okta Service app deleted:\n\n{id}\n"
PROBE = "GET /.well-known/okta-organization"
Result = subprocess.CompletedProcess[str]


def delete(scene: Scene, *options: str, **more: object) -> Result:
    return scene.step_2("--delete", *options, **more)


def assert_kept(scene: Scene, app: Client, before: bytes) -> None:
    assert scene.changes() == []
    assert scene.env.path.read_bytes() == before
    assert scene.sandbox.org.clients[app.id].status == "ACTIVE"


# The deletion


def test_delete_leaves_nothing_at_okta_and_keeps_the_keys(scene: Scene) -> None:
    app = scene.settled(roles="READ_ONLY_ADMIN")
    before = scene.env.values()

    result = delete(scene, "--yes")

    assert (result.returncode, result.stdout) == (0, DELETED.format(id=app.id)), result.stderr
    assert scene.sandbox.org.clients == {}
    assert scene.env.values() == before | {"CLIENT_ID": ""}
    path = f"/api/v1/apps/{app.id}"
    assert scene.changes() == [f"POST {path}/lifecycle/deactivate", f"DELETE {path}"]
    assert scene.sandbox.connections == 1
    assert "other keys" not in result.stderr


def test_an_app_that_is_inactive_already_is_deleted(scene: Scene) -> None:
    app = scene.settled(status="INACTIVE")

    result = delete(scene, "--yes")

    assert (result.returncode, result.stdout) == (0, DELETED.format(id=app.id)), result.stderr
    assert scene.sandbox.org.clients == {}
    assert scene.env["CLIENT_ID"] == ""


@pytest.mark.parametrize(
    ("kid", "named"), [("of-others", "of-others"), (None, "key ID")], ids=["kid", "no-kid"]
)
def test_other_keys_that_will_work_no_more_are_named(
    kid: str | None, named: str, scene: Scene
) -> None:
    scene.settled({**scene.others, "kid": kid})

    result = delete(scene, "--yes")

    assert result.returncode == 0, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if "other keys" in line]
    assert named in line
    assert scene.sandbox.org.clients == {}


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        pytest.param("application_type", "web", "is not a service app", id="web"),
        pytest.param(
            "token_endpoint_auth_method", "client_secret_jwt", "private_key_jwt", id="method"
        ),
        pytest.param("key", "", "does not hold the key in .env", id="not-our-key"),
    ],
)
def test_an_app_that_is_not_ours_is_not_deleted(
    name: str, value: str, reason: str, scene: Scene
) -> None:
    theirs = {**scene.ours, "n": scene.others["n"]}
    app = scene.plant(theirs) if name == "key" else scene.settled(**{name: value})
    scene.env.write(CLIENT_ID=app.id)
    before = scene.env.path.read_bytes()

    result = delete(scene, "--yes")

    assert (result.returncode, result.stdout) == (1, "")
    assert reason in result.stderr
    assert_kept(scene, app, before)


def test_a_client_id_of_the_environment_is_ignored(scene: Scene) -> None:
    other = scene.plant(scene.ours)
    app = scene.settled()

    deleted = delete(scene, "--yes", env={"CLIENT_ID": other.id})

    assert (deleted.returncode, deleted.stdout) == (0, DELETED.format(id=app.id)), deleted.stderr
    assert list(scene.sandbox.org.clients) == [other.id]
    assert not any(other.id in request for request in scene.sent())
    scene.sandbox.seen.clear()
    refused = delete(scene, "--yes", env={"CLIENT_ID": other.id})
    assert (refused.returncode, refused.stdout, scene.sandbox.seen) == (1, "", [])
    assert "there is no CLIENT_ID in" in refused.stderr
    assert list(scene.sandbox.org.clients) == [other.id]


@pytest.mark.parametrize("refusal", [None, status(401, NO_CLIENT)], ids=["404", "invalid-client"])
def test_an_app_that_is_gone_counts_as_deleted_at_an_okta_org(
    refusal: Action | None, scene: Scene
) -> None:
    if refusal:
        scene.sandbox.faults.add(Fault("GET /oauth2/v1/clients/", refusal))
    scene.env.write(CLIENT_ID=GONE)
    before = scene.env.values()

    result = delete(scene, "--yes")

    assert (result.returncode, result.stdout) == (0, DELETED.format(id=GONE)), result.stderr
    assert f"app {GONE} no longer exists at" in result.stderr
    assert scene.env.values() == before | {"CLIENT_ID": ""}
    assert scene.sent() == [f"GET /oauth2/v1/clients/{GONE}", PROBE]
    assert "authorization" not in scene.sandbox.seen[-1].request.headers


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(html(200), id="page"),
        pytest.param(html(404), id="page-404"),
        pytest.param(status(404), id="bare-404"),
        pytest.param(status(200, {"cell": "x"}), id="other-json"),
        pytest.param(empty(), id="empty"),
    ],
)
def test_an_app_that_is_gone_from_a_host_that_is_no_org_is_not_deleted(
    answer: Action, scene: Scene
) -> None:
    scene.sandbox.faults.add(Fault(PROBE, answer, times=None))
    scene.env.write(CLIENT_ID=GONE)

    result = delete(scene, "--yes")

    assert (result.returncode, result.stdout) == (4, "")
    assert "is an Okta org" in result.stderr
    assert scene.env["CLIENT_ID"] == GONE


def test_what_only_a_super_admin_may_delete_keeps_its_client_id(scene: Scene) -> None:
    scene.sandbox.org.api_keys["00pretendAppAdmin"] = APP_ADMIN
    app = scene.settled(roles="READ_ONLY_ADMIN")
    scene.env.write(API_KEY="00pretendAppAdmin")

    result = delete(scene, "--yes")

    assert (result.returncode, result.stdout) == (3, "")
    assert f"deactivating the app {app.id}: Okta answered 403 E0000006" in result.stderr
    assert scene.env["CLIENT_ID"] == app.id
    assert list(scene.sandbox.org.clients) == [app.id]


def test_a_deletion_that_had_no_answer_is_completed_by_the_next_run(scene: Scene) -> None:
    app = scene.settled()
    scene.sandbox.faults.add(Fault("DELETE ", close_after(), times=None))

    lost = delete(scene, "--yes")

    assert scene.sandbox.org.clients == {}
    assert scene.env["CLIENT_ID"] == (app.id if lost.returncode else "")
    if lost.returncode:
        assert lost.returncode == 4
        assert delete(scene, "--yes").returncode == 0
        assert scene.env["CLIENT_ID"] == ""


@pytest.mark.parametrize(("code", "ends"), [(404, 0), (403, 3)], ids=["404", "403"])
def test_somebody_who_deletes_it_at_the_same_time_is_as_good(
    code: int, ends: int, scene: Scene
) -> None:
    app = scene.settled()
    refusal = management_refusal(code, "E0000007", "Not found").answer
    scene.sandbox.faults.add(Fault("DELETE ", patch(lambda _: refusal)))

    result = delete(scene, "--yes")

    assert result.returncode == ends, result.stderr
    assert scene.env["CLIENT_ID"] == (app.id if ends else "")


def test_a_client_id_that_was_changed_meanwhile_stays(scene: Scene) -> None:
    scene.settled()

    def change(answer: Response) -> Response:
        scene.env.write(CLIENT_ID="0oaAnother")
        return answer

    scene.sandbox.faults.add(Fault("DELETE ", patch(change)))

    result = delete(scene, "--yes")

    assert (result.returncode, result.stdout) == (1, "")
    assert "CLIENT_ID was changed while this ran" in result.stderr
    assert "is deleted; look at the new one\n" in result.stderr
    assert scene.env["CLIENT_ID"] == "0oaAnother"


# The question


@contextlib.contextmanager
def terminal(typed: str) -> Iterator[int]:
    """The end of a pseudo terminal that a process reads, with this typed at the other."""
    person, program = pty.openpty()
    try:
        os.write(person, typed.encode())
        yield program
    finally:
        os.close(program)
        os.close(person)


def test_the_client_id_typed_at_a_terminal_confirms_the_deletion(scene: Scene) -> None:
    app = scene.settled(name="Nightly report")

    with terminal(f"{app.id}\n") as stdin:
        result = delete(scene, stdin=stdin)

    assert (result.returncode, result.stdout) == (0, DELETED.format(id=app.id)), result.stderr
    assert scene.sandbox.org.clients == {}
    (question,) = [line for line in result.stderr.splitlines() if "type its client id" in line]
    host = scene.sandbox.url.removeprefix("https://")
    assert all(named in question for named in ("Nightly report", host, app.id))


@pytest.mark.parametrize(
    "typed", ["yes\n", "\n", "\x04", f"{GONE}\n"], ids=["yes", "nothing", "end", "another"]
)
def test_anything_else_typed_at_a_terminal_deletes_nothing(typed: str, scene: Scene) -> None:
    app = scene.settled()
    before = scene.env.path.read_bytes()

    with terminal(typed) as stdin:
        result = delete(scene, stdin=stdin)

    assert (result.returncode, result.stdout) == (1, "")
    assert "nothing was deleted" in result.stderr
    assert_kept(scene, app, before)


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        pytest.param(["--delete"], "add --yes", id="no-terminal"),
        pytest.param(["--yes"], "--yes requires --delete", id="yes-alone"),
        pytest.param(["--yes", "--dry-run"], "--yes requires --delete", id="yes-and-dry-run"),
    ],
)
def test_options_that_do_not_do_send_nothing(options: list[str], hint: str, scene: Scene) -> None:
    app = scene.settled()
    before = scene.env.path.read_bytes()

    result = scene.step_2(*options)

    assert (result.returncode, result.stdout) == (2, "")
    assert hint in result.stderr
    assert (scene.sandbox.seen, scene.sandbox.connections) == ([], 0)
    assert_kept(scene, app, before)


# Dry runs


def nothing_to_do(scene: Scene) -> list[str]:
    scene.settled()
    return ["would change nothing"]


def no_app(scene: Scene) -> list[str]:
    scene.env.write(ADMIN_ROLES="REPORT_ADMIN")
    app = ["would register the app 'Private Key JWT Service App'", "would set CLIENT_ID in .env"]
    scopes = ["would grant okta.users.read", "would grant okta.users.manage"]
    return [*app, *scopes, "would assign the role REPORT_ADMIN"]


def app_gone(scene: Scene) -> list[str]:
    scene.env.write(CLIENT_ID=GONE)
    return no_app(scene)


def app_to_adopt(scene: Scene) -> list[str]:
    scene.plant({**scene.ours, "kid": "O4O"}, granted="okta.users.manage")
    settings = ["would set CLIENT_ID in .env", "would set KEY_ID in .env"]
    return [*settings, "would grant okta.users.read"]


def key_to_add(scene: Scene) -> list[str]:
    app = scene.plant(scene.others, granted="okta.users.read", roles="REPORT_ADMIN")
    scene.env.write(CLIENT_ID=app.id, KEY_ID="old", ADMIN_ROLES="REPORT_ADMIN ORG_ADMIN")
    key = [f"would add the key old to the app {app.id}", "would set KEY_ID in .env"]
    key[0] = key[0].replace("old", scene.ours["kid"])
    return [*key, "would grant okta.users.manage", "would assign the role ORG_ADMIN"]


def planted(scene: Scene) -> list[str]:
    scene.plant(scene.ours, scene.others)
    return []


def another_kind(scene: Scene) -> list[str]:
    scene.settled(application_type="web")
    return []


def foreign_key_without_kid(scene: Scene) -> list[str]:
    scene.env.write(CLIENT_ID=scene.plant({**scene.others, "kid": None}).id)
    return []


CASES: list[tuple[Callable[[Scene], list[str]], int]] = [
    (nothing_to_do, 0),
    (no_app, 0),
    (app_gone, 0),
    (app_to_adopt, 0),
    (key_to_add, 0),
    (planted, 1),
    (another_kind, 1),
    (foreign_key_without_kid, 3),
]


@pytest.mark.parametrize(("make", "code"), [pytest.param(m, c, id=m.__name__) for m, c in CASES])
def test_a_dry_run_says_what_the_real_run_does_and_changes_nothing(
    make: Callable[[Scene], list[str]], code: int, scene: Scene
) -> None:
    would = make(scene)
    before = scene.env.path.read_bytes()

    dry = scene.step_2("--dry-run")

    assert dry.returncode == code, dry.stderr
    assert dry.stdout.splitlines() == would
    assert scene.sent()
    assert scene.changes() == []
    assert scene.env.path.read_bytes() == before
    assert "was added" not in dry.stderr
    assert "was assigned" not in dry.stderr
    real = scene.step_2()
    assert real.returncode == code, real.stderr
    saves = [line for line in would if "in .env" in line]
    sends = [line for line in would if line not in ("would change nothing", *saves)]
    assert len(scene.changes()) == len(sends)
    assert (scene.env.path.read_bytes() != before) == bool(saves)


@pytest.mark.parametrize(
    ("name", "code"), [("status", 0), ("application_type", 1)], ids=["ours", "another-kind"]
)
def test_a_dry_run_of_a_deletion_asks_nobody_and_deletes_nothing(
    name: str, code: int, scene: Scene
) -> None:
    app = scene.settled(**{name: "ACTIVE"})
    before = scene.env.path.read_bytes()

    result = delete(scene, "--dry-run")

    assert result.returncode == code, result.stderr
    steps = [f"would deactivate and delete the app {app.id}", "would clear CLIENT_ID in .env"]
    assert result.stdout.splitlines() == ([] if code else steps)
    assert_kept(scene, app, before)
