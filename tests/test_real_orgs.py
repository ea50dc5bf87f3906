"""What real orgs do to create_okta_service_app.py: lists that lag behind, custom domains, clients
that are not apps, responses that claim more than the org holds, searches without an end."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from conftest import STEP_2, STEP_3
from faults import Action, Fault, html, patch, reset_after, status
from scene import Scene
from test_converge import GRANTED, assert_refused_untouched

from pkj.app import delete as app_deletion
from pkj.app import find as app_choice
from pkj.app import grants
from pkj.okta import org as okta
from pkj.sandbox.exchange import Response, management_refusal

CLIENTS = "/oauth2/v1/clients"
WELL_KNOWN = "/.well-known/okta-organization"
FORBIDDEN = management_refusal(403, "E0000006", "You do not have permission").answer.body
EVER = float("inf")


def changed(**members: object) -> Action:
    """The org's response with these members in its body; None takes one out."""

    def change(answer: Response) -> Response:
        assert isinstance(answer.body, dict)
        body = {k: v for k, v in (answer.body | members).items() if v is not None}
        return Response(answer.status, body, answer.headers)

    return patch(change)


def answering(body: object, code: int = 200) -> Action:
    """The org does its work, and this is the response."""
    return patch(lambda _: Response(code, body, {}))


def jwks(*keys: dict[str, Any]) -> dict[str, Any]:
    return {"keys": list(keys)}


def granted_to(scene: Scene) -> list[str]:
    clients = scene.sandbox.org.clients.values()
    return [scope for client in clients for scope in [*client.grants, *client.roles]]


# Registering


@pytest.mark.parametrize(("lag", "apps"), [(4, 1), (EVER, 2)])
def test_after_a_lost_response_the_app_is_waited_for_while_the_list_lags(
    lag: float, apps: int, scene: Scene
) -> None:
    scene.sandbox.org.list_lag = lag
    scene.sandbox.faults.add(Fault(f"POST {CLIENTS}", reset_after()))

    result = scene.step_2()

    assert result.returncode == 0, result.stderr
    assert len(scene.sandbox.org.clients) == apps
    assert scene.env["CLIENT_ID"] in scene.sandbox.org.clients
    waits = [line for line in result.stderr.splitlines() if line.startswith("waiting ")]
    assert len(waits) == 4
    assert all("to list an app with this key" in line for line in waits)


@pytest.mark.parametrize(
    ("pauses", "least", "most"),
    [(app_choice.LAG_PAUSES, 15, 30), (app_deletion.LAG_PAUSES, 20, 30)],
)
def test_pauses_grow_and_last_long_enough(
    pauses: tuple[float, ...], least: float, most: float
) -> None:
    assert list(pauses) == sorted(set(pauses))
    assert least <= sum(pauses) <= most


@pytest.mark.parametrize(
    ("response", "later", "code"),
    [
        pytest.param({"jwks": "others"}, {}, 4, id="another-key"),
        pytest.param({"jwks": "both"}, {}, 4, id="another-key-too"),
        pytest.param({"jwks": None}, {}, 0, id="no-key-but-the-app-has-it"),
        pytest.param({"jwks": None}, {"jwks": None}, 4, id="no-key-anywhere"),
        pytest.param({"jwks": None}, {"jwks": "others"}, 4, id="another-key-in-the-app"),
        pytest.param({"client_id": "0oa/../0oaOther"}, {}, 4, id="slash-in-the-id"),
    ],
)
def test_a_registration_counts_only_if_the_app_holds_the_key_that_was_sent(
    response: dict[str, Any], later: dict[str, Any], code: int, scene: Scene
) -> None:
    sets = {"others": jwks(scene.others), "both": jwks(scene.ours, scene.others)}
    for line, members in ((f"POST {CLIENTS}", response), (f"GET {CLIENTS}/", later)):
        if members:
            told = {name: sets.get(value, value) for name, value in members.items()}
            scene.sandbox.faults.add(Fault(line, changed(**told)))

    result = scene.step_2()

    assert result.returncode == code, result.stderr
    assert ("CLIENT_ID" in scene.env.values()) == (code == 0)
    assert bool(granted_to(scene)) == (code == 0)


# The app that was asked for


@pytest.mark.parametrize("options", [[], ["--delete", "--yes"]], ids=["", "delete"])
def test_a_response_about_another_app_changes_and_deletes_nothing(
    options: list[str], scene: Scene
) -> None:
    app = scene.settled(granted="")
    other = scene.plant(scene.ours)
    fault = Fault(f"GET {CLIENTS}/{app.id}", changed(client_id=other.id), times=None)
    scene.sandbox.faults.add(fault)
    before = scene.env.path.read_bytes()

    result = scene.step_2(*options)

    assert (result.returncode, result.stdout, scene.changes()) == (4, "", [])
    assert f"another app than {app.id}" in result.stderr
    assert scene.env.path.read_bytes() == before


@pytest.mark.parametrize("script", [STEP_2, STEP_3])
def test_a_client_id_with_a_slash_is_refused_before_anything_is_sent(
    script: str, scene: Scene
) -> None:
    scene.env.write(CLIENT_ID="0oaMine/../0oaOther")

    result = scene.run(script)

    assert (result.returncode, result.stdout, scene.sent()) == (1, "", [])
    assert "CLIENT_ID contains characters" in result.stderr
    assert "create_okta_service_app.py" in result.stderr


@pytest.mark.parametrize("named", [True, False], ids=["CLIENT_ID", "search"])
def test_a_client_that_is_not_an_app_is_not_ours(named: bool, scene: Scene) -> None:
    agent = scene.plant(scene.ours, prefix="wlp")
    if named:
        scene.env.write(CLIENT_ID=agent.id)

    result = scene.step_2()

    assert result.returncode == (1 if named else 0), result.stderr
    assert ("is not an app" in result.stderr) == named
    assert len(scene.sandbox.org.clients) == (1 if named else 2)
    assert not agent.grants
    assert not agent.roles


@pytest.mark.parametrize("shown", ["", "others", "ours others"], ids=["none", "other", "both"])
def test_an_app_is_adopted_only_if_both_lists_of_its_keys_show_ours_alone(
    shown: str, scene: Scene
) -> None:
    scene.env.write(ADMIN_ROLES="READ_ONLY_ADMIN")
    app = scene.plant(scene.ours)
    held = [{"ours": scene.ours, "others": scene.others}[name] for name in shown.split()]
    listing = Fault(f"GET /api/v1/apps/{app.id}/credentials/jwks", status(200, held), times=None)
    scene.sandbox.faults.add(listing)

    said = assert_refused_untouched(scene, scene.env.path.read_bytes())

    assert app.id in said
    assert "CLIENT_ID=" in said


def test_an_app_whose_own_list_shows_another_key_is_not_adopted(scene: Scene) -> None:
    app = scene.plant(scene.ours)

    def show_both(answer: Response) -> Response:
        assert isinstance(answer.body, list)
        shown = [client | {"jwks": jwks(scene.ours, scene.others)} for client in answer.body]
        return Response(answer.status, shown, answer.headers)

    scene.sandbox.faults.add(Fault(f"GET {CLIENTS}", patch(show_both)))

    assert app.id in assert_refused_untouched(scene, scene.env.path.read_bytes())


@pytest.mark.parametrize("named", [True, False], ids=["CLIENT_ID", "adopted"])
def test_a_key_that_is_added_while_an_app_is_adopted_stops_the_run(
    named: bool, scene: Scene
) -> None:
    app = scene.plant(scene.ours)
    others = scene.plant(scene.others)
    if named:
        scene.env.write(CLIENT_ID=app.id)
    before = scene.env.path.read_bytes()

    def add_afterwards(answer: Response) -> Response:
        held = Response(answer.status, list(app.keys), answer.headers)
        app.keys.extend(others.keys)
        return held

    reading = f"GET /api/v1/apps/{app.id}/credentials/jwks"
    scene.sandbox.faults.add(Fault(reading, patch(add_afterwards)))

    result = scene.step_2()

    assert result.returncode == (0 if named else 1), result.stderr
    assert bool(granted_to(scene)) == named
    if not named:
        assert "trusts others too" in result.stderr
        assert scene.env.path.read_bytes() == before


def test_a_name_for_an_app_that_exists_is_said_not_to_be_used(scene: Scene) -> None:
    app = scene.settled(name="Nightly report")

    renamed, same = scene.step_2("--name", "Daily report"), scene.step_2("--name", "Nightly report")

    assert (renamed.returncode, same.returncode) == (0, 0)
    assert f"the app {app.id} is called Nightly report and was not renamed" in renamed.stderr
    assert "renamed" not in same.stderr + scene.step_2().stderr


@pytest.mark.parametrize(("script", "code"), [(STEP_2, 1), (STEP_3, 3)])
def test_a_deactivated_app_is_to_be_activated(script: str, code: int, scene: Scene) -> None:
    scene.settled(status="INACTIVE")

    result = scene.run(script)

    assert result.returncode == code
    assert "activate it at Applications > the app" in result.stderr.partition("what to do:")[2]


# What the org holds


@pytest.mark.parametrize("done", [True, False], ids=["done", "not-done"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param("/api/v1/apps/{id}/grants", {"scopeId": "okta.logs.read"}, id="scope"),
        pytest.param("/api/v1/apps/{id}/grants", {}, id="no-scope"),
        pytest.param("/api/v1/apps/{id}/grants", None, id="empty-grant"),
        pytest.param("/oauth2/v1/clients/{id}/roles", {"type": "ORG_ADMIN"}, id="role"),
        pytest.param("/oauth2/v1/clients/{id}/roles", None, id="empty-role"),
        pytest.param("/api/v1/apps/{id}/credentials/jwks", {"kty": "RSA"}, id="key"),
    ],
)
def test_a_2xx_about_something_else_is_looked_up(
    path: str, body: object, done: bool, scene: Scene
) -> None:
    scene.env.write(ADMIN_ROLES="READ_ONLY_ADMIN", SCOPES="okta.users.read")
    app = scene.plant(scene.others)
    scene.env.write(CLIENT_ID=app.id)
    action = answering(body) if done else status(200, body)
    scene.sandbox.faults.add(Fault("POST " + path.format(id=app.id), action))

    result = scene.step_2()

    assert result.returncode == (0 if done else 4), result.stderr
    assert "Traceback" not in result.stderr
    if done:
        assert result.stdout.splitlines()[-1].startswith("okta.users.read")
        assert granted_to(scene) == ["okta.users.read", "READ_ONLY_ADMIN"]
    elif "grants" in path:
        assert result.stdout.endswith("granted:\n\n(none)\n")
    assert "was assigned" not in result.stderr or app.roles


def test_grants_that_only_a_super_admin_may_read_are_explained(scene: Scene) -> None:
    app = scene.settled()
    scene.sandbox.faults.add(Fault(f"GET /api/v1/apps/{app.id}/grants", status(403, FORBIDDEN)))

    result = scene.step_2()

    assert result.returncode == 3
    assert "Super Admin to read the grants" in result.stderr.partition("what to do:")[2]
    assert "Scopes granted" not in result.stdout


# A custom domain

OWN = "https://pretend.okta.com"


@pytest.mark.parametrize(
    ("document", "code"),
    [
        pytest.param(None, 0, id="as-it-is"),
        pytest.param({"_links": {"organization": {"href": OWN + "/"}}}, 0, id="slash"),
        pytest.param({"_links": {"organization": {"href": "javascript:x"}}}, 3, id="no-url"),
        pytest.param({"_links": []}, 3, id="no-links"),
    ],
)
def test_grants_name_the_org_s_own_domain(document: object, code: int, scene: Scene) -> None:
    scene.sandbox.org.okta_domain = OWN
    if document:
        scene.sandbox.faults.add(Fault(f"GET {WELL_KNOWN}", status(200, document)))

    result = scene.step_2()

    assert result.returncode == code, result.stderr
    assert [sent.get("issuer") for sent in scene.bodies()[1:]] == [
        scene.sandbox.url if code else OWN
    ] * 2
    assert scene.sent().count(f"GET {WELL_KNOWN}") == 1
    scene.sandbox.seen.clear()
    if not code:
        assert scene.step_2().stdout.endswith(GRANTED)
        assert f"GET {WELL_KNOWN}" not in scene.sent()


@pytest.mark.parametrize(
    ("action", "code"),
    [(html(404), 0), (status(404, {"errorCode": "E0000008"}), 0), (html(200), 4)],
    ids=["page-404", "E0000008", "page-200"],
)
def test_without_such_a_document_okta_url_is_the_issuer(
    action: Action, code: int, scene: Scene
) -> None:
    scene.sandbox.faults.add(Fault(f"GET {WELL_KNOWN}", action))

    result = scene.step_2()

    assert result.returncode == code, result.stderr
    assert len(granted_to(scene)) == (0 if code else 2)


def test_an_org_at_a_domain_of_okta_is_not_asked() -> None:
    for url in ("https://example.okta.com", "https://example.oktapreview.com:8443"):
        org = okta.Org(url, timeout=1, note=print)
        assert grants._issuer(org) == url


# Deleting


@pytest.mark.parametrize(("lag", "code"), [(5, 0), (6, 3)])
def test_a_deletion_is_tried_again_until_the_app_counts_as_inactive(
    lag: int, code: int, scene: Scene
) -> None:
    app = scene.settled()
    scene.sandbox.org.deactivation_lag = lag

    result = scene.step_2("--delete", "--yes")

    assert result.returncode == code, result.stderr
    assert result.stderr.count("still takes the app for active; trying again in") == 5
    assert scene.env["CLIENT_ID"] == (app.id if code else "")
    assert list(scene.sandbox.org.clients) == ([app.id] if code else [])
    assert ("--delete` again in a minute" in result.stderr) == bool(code)


@pytest.mark.parametrize(
    ("code", "body"), [(200, None), (202, b"ok"), (204, None), (200, [])], ids=str
)
def test_any_2xx_deactivates(code: int, body: object, scene: Scene) -> None:
    app = scene.settled()
    action = answering(body, code)
    scene.sandbox.faults.add(Fault(f"POST /api/v1/apps/{app.id}/lifecycle", action))

    result = scene.step_2("--delete", "--yes")

    assert (result.returncode, scene.sandbox.org.clients) == (0, {}), result.stderr


# Searching


def many_without_keys(scene: Scene) -> None:
    apps = [{"client_id": f"0oa{number}"} for number in range(100_000)]
    scene.sandbox.faults.add(Fault(f"GET {CLIENTS}", status(200, apps)))


def many_with_our_key(scene: Scene) -> None:
    apps = [{"client_id": f"0oa{n}", "jwks": jwks(scene.ours)} for n in range(1000)]
    scene.sandbox.faults.add(Fault(f"GET {CLIENTS}", status(200, apps)))


def endless(scene: Scene) -> None:
    numbers = itertools.count()

    def next_page(_: Response) -> Response:
        url = f"{scene.sandbox.url}{CLIENTS}?after={next(numbers)}"
        return Response(200, [], {"link": f'<{url}>; rel="next"'})

    scene.sandbox.faults.add(Fault(f"GET {CLIENTS}", patch(next_page), times=None))


@pytest.mark.parametrize(
    ("make", "limit", "said"),
    [
        pytest.param(many_without_keys, "MOST_FETCHED", "20 apps", id="apps"),
        pytest.param(many_with_our_key, "MOST_FETCHED", "20 apps", id="apps-with-our-key"),
        pytest.param(endless, "MOST_PAGES", "20 pages", id="pages"),
        pytest.param(endless, "LONGEST_SEARCH", "0 seconds", id="seconds"),
    ],
)
def test_a_search_without_an_end_is_ended(
    make: Callable[[Scene], None],
    limit: str,
    said: str,
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make(scene)
    monkeypatch.setattr(app_choice, limit, 0.3 if limit == "LONGEST_SEARCH" else 20)

    result = scene.step_2()

    assert (result.returncode, result.stdout, scene.changes()) == (4, "", [])
    assert said in result.stderr.partition("the limits are")[2]
    if limit != "LONGEST_SEARCH":
        assert len(scene.sent()) <= 22


@pytest.mark.parametrize(("every", "lines"), [(0.0, 3), (60.0, 0)])
def test_a_long_search_says_how_far_it_is(
    every: float, lines: int, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.sandbox.org.page_limit = 1
    for _ in range(3):
        scene.plant(scene.others)
    monkeypatch.setattr(app_choice, "PROGRESS_EVERY", every)

    result = scene.step_2("--dry-run")

    assert result.returncode == 0, result.stderr
    assert len([line for line in result.stderr.splitlines() if " pages read" in line]) == lines
