"""create_okta_service_app.py registers an app: requests, settings, responses, dry runs."""

import json
from collections.abc import Callable

import pytest
from conftest import SCOPES
from faults import Action, empty, html, redirect, reset_after, reset_before, status
from scene import Scene, changed

CLIENTS = "POST /oauth2/v1/clients"


def test_requests_are_those_of_the_contract(scene: Scene) -> None:
    before, saved = scene.env.values(), list[str | None]()
    scene.meanwhile("POST /api/v1/apps/", lambda: saved.append(scene.env["CLIENT_ID"]), None)
    result = scene.ends(0)

    (client,) = scene.sandbox.org.clients.values()
    assert result.stdout == scene.printed("created", client, saved=True)
    registration = {
        "client_name": "Private Key JWT Service App",
        "application_type": "service",
        "grant_types": ["client_credentials"],
        "response_types": ["token"],
        "token_endpoint_auth_method": "private_key_jwt",
        "jwks": {"keys": [scene.ours]},
    }
    grants = [{"issuer": scene.sandbox.url, "scopeId": scope} for scope in SCOPES.split()]
    assert scene.bodies() == [registration, *grants]
    assert scene.changes() == [CLIENTS, *[f"POST /api/v1/apps/{client.id}/grants"] * 2]
    for request in [seen.request for seen in scene.sandbox.seen]:
        token = None if "/.well-known/" in request.path else f"SSWS {scene.sandbox.org.api_key}"
        assert request.headers.get("authorization") == token
        assert request.headers["accept"] == "application/json"
        assert request.method == "GET" or request.headers["content-type"] == "application/json"
    assert (saved, scene.sandbox.connections) == ([client.id] * 2, 1)
    assert scene.env.values() == before | {"CLIENT_ID": client.id}


@pytest.mark.parametrize("exported", [True, False])
def test_wrong_api_token_is_refused_and_its_origin_named(exported: bool, scene: Scene) -> None:
    wrong = {"API_KEY": "00thisTokenWasRevoked"}
    scene.env.write(**{} if exported else wrong)
    said = scene.stops(3, env=wrong | {"DPOP": "false"} if exported else {})
    problem, _, hint = said.partition("what to do:")
    assert ("E0000011: Invalid token provided" in problem, "API_KEY" in hint) == (True, True)
    origin = f"(API_KEY comes from the environment, which overrides {scene.env.path})"
    assert (origin in problem, wrong["API_KEY"] in said) == (exported, False)


def test_app_is_shown_as_json_without_a_client_secret(scene: Scene) -> None:
    name, secret = 'Büro\u00a0\u202e"\ufeff', "pretend-secret-that-nobody-needs"
    scene.fault(CLIENTS, changed(client_secret=secret))
    result = scene.ends(0, "--name", name)
    block = result.stdout.split("\n\n")[1]
    assert ("Büro" in block, block.replace("\n", "").isprintable()) == (True, True)
    app = json.loads(block)
    assert (app["client_name"], app["client_id"]) == (name, scene.env["CLIENT_ID"])
    assert "client_secret" in app
    assert secret not in result.stdout + result.stderr + scene.env.path.read_text("utf-8")


BAD_RESPONSES = {
    "dollar": changed(client_id="0oa$(id)"),
    "semicolon": changed(client_id="0oa;id"),
    "slash": changed(client_id="0oa/../0oaOther"),
    "line": changed(client_id="0oa'id\nAPI_KEY=x"),
    "long": changed(client_id="x" * 513),
    "empty-id": changed(client_id=""),
    "number": changed(client_id=17),
    "no-id": status(201, {"client_name": "no id"}),
    "proxy": html(200),
    "redirect": redirect("https://127.0.0.1:1/elsewhere"),
    "empty": empty(),
    "list": status(201, ["client_id"]),
}


@pytest.mark.parametrize("action", BAD_RESPONSES.values(), ids=BAD_RESPONSES)
def test_bad_response_saves_nothing(action: Action, scene: Scene) -> None:
    scene.fault(CLIENTS, action, times=None)
    before = scene.env.path.read_bytes()
    result = scene.ends(4)
    assert "registering the app: " in result.stderr
    assert (result.stdout, scene.env.path.read_bytes()) == ("", before)
    assert scene.changes() == [CLIENTS]


@pytest.mark.parametrize(
    ("first", "later", "code"),
    [("others", "", 4), ("ours others", "", 4), ("", "ours", 0), ("", "", 4), ("", "others", 4)],
)
def test_app_must_hold_the_key_sent(first: str, later: str, code: int, scene: Scene) -> None:
    for line, names in ((CLIENTS, first), ("GET /oauth2/v1/clients/", later)):
        scene.fault(line, changed(jwks={"keys": scene.keys(names)} if names else None))
    scene.ends(code)
    assert ("CLIENT_ID" in scene.env.values()) == (code == 0)
    assert bool(scene.granted()) == (code == 0)


@pytest.mark.parametrize(
    ("lag", "action", "times", "waits", "apps"),
    [
        (0, reset_after(), 1, 0, 1),
        (1, reset_after(), 1, 1, 1),
        (4, reset_after(), 1, 4, 1),
        (9, reset_after(), 1, 4, 2),
        (99, reset_after(), 2, 8, 2),
        (0, reset_before(), 1, 4, 1),
        (0, reset_before(), 2, 8, 0),
    ],
)
def test_registration_without_a_response_is_looked_up_and_repeated_once(
    lag: int, action: Action, times: int, waits: int, apps: int, scene: Scene, pauses: list[float]
) -> None:
    scene.sandbox.org.list_lag = lag
    scene.fault(CLIENTS, action, times=times)
    result = scene.ends(0 if times == 1 else 4)
    assert pauses == [1, 2, 5, 8, 1, 2, 5, 8][:waits]
    assert result.stderr.count("to list an app with this key") == waits
    clients = list(scene.sandbox.org.clients)
    assert len(clients) == apps
    assert scene.env["CLIENT_ID"] == (clients[-1] if times == 1 else None)


def nothing_to_do(scene: Scene) -> str:
    scene.settled()
    return "change nothing"


def no_app(scene: Scene) -> str:
    scene.env.write(ADMIN_ROLES="REPORT_ADMIN")
    return """register the app 'Private Key JWT Service App', set CLIENT_ID in .env,
        grant okta.users.read, grant okta.users.manage, assign the role REPORT_ADMIN"""


def app_to_adopt(scene: Scene) -> str:
    scene.plant({**scene.ours, "kid": "O4O"}, granted="okta.users.manage")
    return "set CLIENT_ID in .env, set KEY_ID in .env, grant okta.users.read"


def key_to_add(scene: Scene) -> str:
    app = scene.named(scene.others, granted="okta.users.read", roles="REPORT_ADMIN")
    scene.env.write(KEY_ID="old", ADMIN_ROLES="REPORT_ADMIN ORG_ADMIN")
    return f"""add the key {scene.ours["kid"]} to the app {app.id}, set KEY_ID in .env,
        grant okta.users.manage, assign the role ORG_ADMIN"""


@pytest.mark.parametrize("make", [nothing_to_do, no_app, app_to_adopt, key_to_add])
def test_dry_run_shows_what_a_real_run_does(make: Callable[[Scene], str], scene: Scene) -> None:
    would = [f"would {' '.join(change.split())}" for change in make(scene).split(",")]
    would = ["nothing to change"] if "would change nothing" in would else would
    before = scene.env.path.read_bytes()
    dry = scene.ends(0, "--dry-run")
    assert dry.stdout.splitlines() == would
    assert (bool(scene.sent()), scene.changes()) == (True, [])
    assert scene.env.path.read_bytes() == before
    assert not any(text in dry.stderr for text in ("was added", "was assigned"))
    scene.ends(0)
    saves = [line for line in would if "in .env" in line]
    assert len(scene.changes()) == len(would) - len(saves) - (make is nothing_to_do)
    assert (scene.env.path.read_bytes() != before) == bool(saves)
