"""create_okta_service_app.py finds its app: by CLIENT_ID, or as the one that holds only our key."""

import pytest
from conftest import GET_TOKEN, SCOPES
from faults import Action, status
from scene import GONE, INVALID_CLIENT, Scene, changed, listed, refused

from pkj.app import find

CLIENTS = "GET /oauth2/v1/clients"
KEYS = "GET /api/v1/apps/{id}/credentials/jwks"
by_id_or_key = pytest.mark.parametrize("named", [True, False], ids=["CLIENT_ID", "search"])


@pytest.mark.parametrize(("page", "pages"), [(200, 1), (2, 3)])
@pytest.mark.parametrize("gone", [False, True], ids=["no-client-id", "other-app-deleted"])
def test_app_with_only_our_key_is_adopted(gone: bool, page: int, pages: int, scene: Scene) -> None:
    scene.sandbox.org.page_limit = page
    for _ in range(4):
        scene.plant(scene.others)
    app = scene.plant(scene.ours, granted=SCOPES)
    if gone:
        scene.env.write(CLIENT_ID=GONE)
    result = scene.ends(0)
    assert result.stdout == scene.printed("found", app, saved=True)
    assert (scene.changes(), scene.env["CLIENT_ID"]) == ([], app.id)
    assert f"{app.id} by its key" in result.stderr
    assert (GONE in result.stderr) == gone
    lists = [request for request in scene.sent() if "clients?" in request]
    assert (lists[0], len(lists)) == (f"{CLIENTS}?limit=200", pages)


def test_only_apps_that_can_be_ours_are_fetched_if_the_list_hides_keys(scene: Scene) -> None:
    scene.sandbox.org.list_shows_keys = False
    scene.plant(token_endpoint_auth_method="client_secret_basic")  # noqa: S106 - a method's name
    scene.plant(jwks_uri="https://keys.example")
    other, app = scene.plant(scene.others), scene.plant(scene.ours, granted=SCOPES)
    assert scene.ends(0).stdout == scene.printed("found", app, saved=True)
    assert scene.changes() == []
    fetched = [request for request in scene.sent() if request.startswith(f"{CLIENTS}/")]
    assert fetched == [f"{CLIENTS}/{path}" for path in (other.id, app.id, f"{app.id}/roles")]


@pytest.mark.parametrize("jwks", [None, {}, {"keys": None}, {"keys": [1]}, {"keys": 1}])
def test_app_is_fetched_if_the_list_shows_no_usable_keys(jwks: object, scene: Scene) -> None:
    app = scene.plant(scene.ours, granted=SCOPES)
    scene.fault(CLIENTS, listed(jwks=jwks))
    scene.ends(0)
    assert list(scene.sandbox.org.clients) == [app.id] == [scene.env["CLIENT_ID"]]


@pytest.mark.parametrize("action", [refused(404, "E0000007"), status(401, INVALID_CLIENT)])
def test_deleted_app_is_replaced(action: Action, scene: Scene) -> None:
    scene.fault(f"{CLIENTS}/{GONE}", action)
    scene.env.write(CLIENT_ID=GONE)
    result = scene.ends(0)
    (client,) = scene.sandbox.org.clients.values()
    assert result.stdout == scene.printed("created", client, saved=True)
    assert f"app {GONE} (CLIENT_ID) does not exist" in result.stderr
    assert scene.env["CLIENT_ID"] == client.id


def test_name_of_an_existing_app_is_not_changed(scene: Scene) -> None:
    app = scene.settled(name="Nightly report")
    renamed = scene.ends(0, "--name", "Daily report").stderr
    same = scene.ends(0, "--name", "Nightly report")
    assert f"the app {app.id} is called Nightly report and was not renamed" in renamed
    assert "renamed" not in same.stderr + scene.ends(0).stderr
    assert same.stdout == scene.printed("found", app, saved=False)


@pytest.mark.parametrize("member", ["n", "e", "kty"])
def test_app_with_our_kid_and_name_but_another_key_is_not_ours(member: str, scene: Scene) -> None:
    other = {"n": scene.others["n"], "e": "Aw", "kty": "EC"}[member]
    twin = scene.plant({**scene.ours, member: other}, name="Private Key JWT Service App")
    assert "Okta Service app created:" in scene.ends(0).stdout
    assert list(scene.sandbox.org.clients) == [twin.id, scene.env["CLIENT_ID"]]
    assert not twin.grants


@pytest.mark.parametrize(
    ("held", "in_list", "at_app", "why"),
    [
        (["ours others"], None, None, "trusts other keys too"),
        (["ours others"], "", None, "trusts other keys too"),
        (["ours"], "ours others", None, "trusts other keys too"),
        (["ours"], None, "others", "trusts other keys too"),
        (["ours"], None, "", "shows no keys"),
        (["ours", "ours"], None, None, "there are several"),
    ],
)
def test_user_chooses_in_case_of_doubt(
    held: list[str], in_list: str | None, at_app: str | None, why: str, scene: Scene
) -> None:
    scene.env.write(ADMIN_ROLES="READ_ONLY_ADMIN")
    apps = [scene.plant(*scene.keys(names), name="x\n  0oaForged  yours") for names in held]
    if in_list is not None:
        scene.fault(CLIENTS, listed(jwks={"keys": scene.keys(in_list)}), times=None)
    if at_app is not None:
        scene.fault(KEYS.format(id=apps[0].id), status(200, scene.keys(at_app)), times=2)
    scene.stops(1, "--dry-run")
    problem, _, hint = scene.stops(1).partition("what to do:")
    assert (why in problem, "set CLIENT_ID" in hint, scene.granted()) == (True, True, [])
    lines = [line for line in problem.splitlines() if line.startswith("  ")]
    assert lines == [f"  {app.id}  x 0oaForged yours" for app in apps]
    scene.env.write(CLIENT_ID=apps[-1].id)
    scene.ends(0)
    assert list(apps[-1].grants) == SCOPES.split()


UNUSABLE: dict[str, tuple[dict[str, str], str]] = {
    "web": ({"application_type": "web"}, "is not a service app"),
    "method": ({"token_endpoint_auth_method": "client_secret_jwt"}, "private_key_jwt"),
    "inactive": ({"status": "INACTIVE"}, "is deactivated"),
    "jwks-uri": ({"jwks_uri": "https://keys.example"}, "from a jwks_uri"),
}


@by_id_or_key
@pytest.mark.parametrize(("change", "why"), UNUSABLE.values(), ids=UNUSABLE)
def test_unusable_app_ends_run(change: dict[str, str], why: str, named: bool, scene: Scene) -> None:
    app = (scene.named if named else scene.plant)(scene.ours, **change)
    scene.stops(1, "--dry-run")
    problem, _, hint = scene.stops(1).partition("what to do:")
    assert (why in problem, app.id in problem) == (True, True)
    assert ("activate it at Applications > the app" in hint) == ("status" in change)
    assert "generate_keys.py --force" in hint
    assert ("CLIENT_ID" in hint) == named  # another ID helps only who named one


@by_id_or_key
def test_client_that_is_not_an_app_is_not_ours(named: bool, scene: Scene) -> None:
    agent = (scene.named if named else scene.plant)(scene.ours, prefix="wlp")
    result = scene.ends(1 if named else 0)
    assert ("is not an app" in result.stderr) == named
    assert len(scene.sandbox.org.clients) == (1 if named else 2)
    assert (agent.grants, agent.roles) == ({}, {})


@by_id_or_key
def test_key_that_is_added_while_an_app_is_adopted_stops_the_run(named: bool, scene: Scene) -> None:
    app = (scene.named if named else scene.plant)(scene.ours)
    both = [*app.keys, *scene.plant(scene.others).keys]
    scene.meanwhile(KEYS.format(id=app.id), lambda: setattr(app, "keys", both))
    if named:
        scene.ends(0)
    else:
        assert "trusts others too" in scene.stops(1)
    assert bool(scene.granted()) == named


@pytest.mark.parametrize("options", ["", "--delete --yes"])
def test_response_about_another_app_changes_and_deletes_nothing(options: str, scene: Scene) -> None:
    app, other = scene.settled(granted=""), scene.plant(scene.ours)
    scene.fault(f"{CLIENTS}/{app.id}", changed(client_id=other.id), times=None)
    assert f"another app than {app.id}" in scene.stops(4, *options.split())


@pytest.mark.parametrize(
    ("whose", "shown", "code"),
    [("others", True, 0), ("others", False, 0), ("ours", True, 4)],
)
def test_bad_id_matters_only_for_our_app(whose: str, shown: bool, code: int, scene: Scene) -> None:
    clients = scene.sandbox.org.clients
    scene.sandbox.org.list_shows_keys = shown
    client = scene.plant(*scene.keys(whose))
    clients["my$app!1"] = clients.pop(client.id)
    client.id = "my$app!1"
    result = scene.ends(code)
    assert ("must not hold" in result.stderr) == (code == 4)
    assert len(clients) == (1 if code else 2)
    assert ("CLIENT_ID" in scene.env.values()) == (code == 0)


def test_get_access_token_says_how_to_activate_the_app(scene: Scene) -> None:
    scene.settled(status="INACTIVE")
    result = scene.run(GET_TOKEN)
    assert (result.returncode, "activate it at Applications" in result.stderr) == (3, True)


@pytest.mark.parametrize(
    ("limit", "least", "said"),
    [
        ("MOST_PAGES", 3, "600 seconds, 2 pages and 1000 apps"),
        ("MOST_FETCHED", 4, "600 seconds, 500 pages and 3 apps"),
        ("LONGEST_SEARCH", 1, "0 seconds, 500 pages and 1000 apps"),
    ],
)
def test_search_is_limited_and_shows_its_progress(
    limit: str, least: int, said: str, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.sandbox.org.page_limit, scene.sandbox.org.list_shows_keys = 1, False
    for key in (scene.others, scene.others, scene.ours):  # three to fetch, and one to check
        scene.plant(key)
    monkeypatch.setattr(find, limit, least)
    assert " pages read, " not in scene.ends(0, "--dry-run").stderr
    monkeypatch.setattr(find, "PROGRESS_EVERY", 0.0)
    assert scene.ends(0, "--dry-run").stderr.count(" pages read, ") == 7
    monkeypatch.setattr(find, limit, least - 1)
    assert said in scene.ends(4, "--dry-run").stderr
