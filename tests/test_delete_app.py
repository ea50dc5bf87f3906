"""create_okta_service_app.py --delete: which app, confirmation, retries, and what stays."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import pytest
from faults import Action, close_after, empty, html, status
from scene import FORBIDDEN, GONE, INVALID_CLIENT, Scene, instead, refused

PROBE = "GET /.well-known/okta-organization"
DEACTIVATE, DELETE = "POST /api/v1/apps/{id}/lifecycle/deactivate", "DELETE /api/v1/apps/{id}"
WEB, METHOD = {"application_type": "web"}, {"token_endpoint_auth_method": "client_secret_jwt"}


def deletes(scene: Scene, client_id: str | None, *options: str, **more: Any) -> str:
    """Delete the app, which must work and keep the other settings; return what is said."""
    before = scene.env.values()
    result = scene.ends(0, "--delete", *options, **more)
    assert result.stdout == f"///////////////// Okta Service app deleted:\n\n{client_id}\n"
    assert scene.env.values() == before | {"CLIENT_ID": ""}
    assert client_id not in scene.sandbox.org.clients
    return result.stderr


def test_delete_deactivates_and_deletes_the_app(scene: Scene) -> None:
    app = scene.settled(roles="READ_ONLY_ADMIN")
    would = [f"would deactivate and delete the app {app.id}", "would clear CLIENT_ID in .env"]
    assert scene.ends(0, "--delete", "--dry-run").stdout.splitlines() == would
    assert (scene.changes(), scene.env["CLIENT_ID"]) == ([], app.id)
    said = deletes(scene, app.id, "--yes")
    assert scene.changes() == [line.format(id=app.id) for line in (DEACTIVATE, DELETE)]
    assert (scene.sandbox.connections, "other keys" in said) == (2, False)


@pytest.mark.parametrize(("kid", "named"), [("of-others", "of-others"), (None, "key ID")])
def test_other_keys_that_stop_working_are_named(kid: str | None, named: str, scene: Scene) -> None:
    app = scene.settled({**scene.others, "kid": kid}, status="INACTIVE")
    (line,) = [line for line in deletes(scene, app.id, "--yes").splitlines() if "other" in line]
    assert named in line


def test_client_id_of_the_environment_is_ignored(scene: Scene) -> None:
    other, app = scene.plant(scene.ours), scene.settled()
    environment = {"CLIENT_ID": other.id}
    deletes(scene, app.id, "--yes", env=environment)
    assert not any(other.id in request for request in scene.sent())
    scene.sandbox.seen.clear()
    assert "there is no CLIENT_ID in" in scene.stops(1, "--delete", "--yes", env=environment)
    assert (list(scene.sandbox.org.clients), scene.sandbox.seen) == ([other.id], [])


@pytest.mark.parametrize("action", [refused(404, "E0000007"), status(401, INVALID_CLIENT)])
def test_app_that_no_longer_exists_counts_as_deleted(action: Action, scene: Scene) -> None:
    scene.fault("GET /oauth2/v1/clients/", action)
    scene.env.write(CLIENT_ID=GONE)
    assert f"app {GONE} does not exist at" in deletes(scene, GONE, "--yes")
    assert scene.sent() == [f"GET /oauth2/v1/clients/{GONE}", PROBE]
    assert "authorization" not in scene.sandbox.seen[-1].request.headers


@pytest.mark.parametrize(
    "probe", [html(200), html(404), status(404), status(200, {"cell": "x"}), empty()]
)
def test_404_from_another_host_is_not_a_deletion(probe: Action, scene: Scene) -> None:
    scene.fault(PROBE, probe, times=None)
    scene.env.write(CLIENT_ID=GONE)
    assert "is an Okta org" in scene.stops(4, "--delete", "--yes")


@pytest.mark.parametrize(
    ("holds", "change", "options", "code", "said"),
    [
        ("ours", WEB, "--delete --yes", 1, "is not a service app"),
        ("ours", WEB, "--delete --dry-run", 1, "is not a service app"),
        ("ours", METHOD, "--delete --yes", 1, "private_key_jwt"),
        ("others", {}, "--delete --yes", 1, "does not have the key in .env"),
        ("ours", {}, "--delete", 2, "add --yes"),
        ("ours", {}, "--yes", 2, "--yes requires --delete"),
        ("ours", {}, "--yes --dry-run", 2, "--yes requires --delete"),
    ],
)
def test_nothing_is_deleted(
    holds: str, change: dict[str, str], options: str, code: int, said: str, scene: Scene
) -> None:
    scene.named(*scene.keys(holds), **change)
    assert said in scene.stops(code, *options.split())
    assert (scene.sandbox.connections == 0) == (code == 2)


@contextlib.contextmanager
def terminal(typed: str) -> Iterator[int]:
    """The end of a pseudo terminal that a process reads, with this typed at the other."""
    person, program = os.openpty()
    os.write(person, typed.encode())
    yield program
    os.close(program)
    os.close(person)


@pytest.mark.parametrize("typed", ["{id}\n", "yes\n", "\n", "\x04", f"{GONE}\n"])
def test_only_the_client_id_typed_at_a_terminal_confirms(typed: str, scene: Scene) -> None:
    app = scene.settled(name="Nightly report")
    with terminal(typed.format(id=app.id)) as stdin:
        if typed == "{id}\n":
            said = deletes(scene, app.id, stdin=stdin)
        else:
            said = scene.stops(1, "--delete", stdin=stdin)
            assert "nothing was deleted" in said
    (question,) = [line for line in said.splitlines() if "type the app's client ID" in line]
    host = scene.sandbox.url.removeprefix("https://")
    assert all(named in question for named in ("Nightly report", host, app.id))


@pytest.mark.parametrize(
    ("line", "action", "times", "code", "left"),
    [
        *((DEACTIVATE, instead(*sent), 1, 0, 0) for sent in ((200,), (202, b"ok"), (200, []))),
        (DEACTIVATE, FORBIDDEN, 1, 3, 1),
        (DELETE, close_after(), 1, 0, 0),
        (DELETE, close_after(), None, 4, 0),
        (DELETE, refused(404, "E0000007"), 1, 0, 1),
        (DELETE, refused(404, "E0000056"), 1, 0, 1),
        (DELETE, FORBIDDEN, 1, 3, 1),
        (DELETE, status(200), 1, 4, 1),
    ],
)
def test_deletion_counts_only_if_okta_says_so(
    line: str, action: Action, times: int | None, code: int, left: int, scene: Scene
) -> None:
    app = scene.settled(roles="READ_ONLY_ADMIN")
    scene.fault(line.format(id=app.id), action, times=times)
    result = scene.ends(code, "--delete", "--yes")
    assert ("what to do: " in result.stderr) == bool(code)
    assert len(scene.sandbox.org.clients) == left
    assert scene.env["CLIENT_ID"] == (app.id if code else "")
    if code:
        deletes(scene, app.id, "--yes")


@pytest.mark.parametrize(("lag", "code"), [(1, 0), (5, 0), (6, 3)])
def test_deletion_is_repeated(lag: int, code: int, scene: Scene, pauses: list[float]) -> None:
    app = scene.settled()
    scene.sandbox.org.deactivation_lag = lag
    result = scene.ends(code, "--delete", "--yes")
    assert pauses == [1, 2, 4, 8, 10][:lag]
    assert result.stderr.count("still considers the app active") == len(pauses)
    assert scene.env["CLIENT_ID"] == (app.id if code else "")
    assert list(scene.sandbox.org.clients) == ([app.id] if code else [])
    assert ("--delete` again in a minute" in result.stderr) == bool(code)


def test_client_id_that_was_changed_meanwhile_stays(scene: Scene) -> None:
    scene.settled()
    scene.meanwhile("DELETE ", lambda: scene.env.write(CLIENT_ID="0oaAnother"))
    result = scene.ends(1, "--delete", "--yes")
    assert (result.stdout, scene.env["CLIENT_ID"]) == ("", "0oaAnother")
    assert "CLIENT_ID was changed during this run" in result.stderr
    assert "is deleted; check the new CLIENT_ID\n" in result.stderr
