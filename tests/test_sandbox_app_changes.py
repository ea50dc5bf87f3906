"""Apps in the pretend org: its keys, one by one, and the app sent back as a whole."""

import base64
from typing import Any

import pytest
from sandbox_requests import (
    app_with,
    call,
    code,
    jwk_of,
    new_org,
    reason,
    rsa_key,
)

from pkj.sandbox.org import Org
from pkj.sandbox.state import Client

CLIENTS = "/oauth2/v1/clients"
MOMENT = "2027-01-15T08:00:00.000Z"


@pytest.fixture
def org() -> Org:
    return new_org()


def at(client: Client, rest: str = "") -> str:
    return f"/api/v1/apps/{client.id}{rest}"


# Keys

SECOND = jwk_of(rsa_key("second"), kid="two", use="sig", alg="RS256")


def test_a_second_key_is_added_and_listed_with_an_id(org: Org) -> None:
    app = app_with(org)
    answer = call(org, "POST", at(app, "/credentials/jwks"), SECOND)
    assert answer.status == 201
    assert isinstance(answer.body, dict)
    assert answer.body == SECOND | {"id": app.keys[1]["id"], "status": "ACTIVE"}
    assert answer.body["id"].startswith("pks")
    assert call(org, "GET", at(app, "/credentials/jwks")).body == app.keys
    assert len(app.keys) == 2


NAMELESS = {name: value for name, value in SECOND.items() if name != "kid"}


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        pytest.param({"kid": "one"}, NAMELESS, "A 'kid' is required", id="no-kid"),
        pytest.param({"kid": None}, SECOND, "A 'kid' is required", id="first-has-no-kid"),
        pytest.param({"kid": "two"}, SECOND, "All keys in the 'jwks' must", id="duplicate"),
        pytest.param(
            {"kid": "two", "status": "INACTIVE"}, SECOND, "All keys in", id="inactive-duplicate"
        ),
        pytest.param(
            {"kid": "one"}, {"kid": "two", "kty": "RSA", "use": "sig"}, "RSA key length", id="short"
        ),
        pytest.param({"kid": "one"}, SECOND | {"d": "AQAB"}, "The key must not", id="private"),
    ],
)
def test_a_second_key_that_okta_would_not_take_is_refused(
    org: Org, first: dict[str, Any], second: dict[str, Any], why: str
) -> None:
    app = app_with(org, keys=[jwk_of(rsa_key(), **first)])
    answer = call(org, "POST", at(app, "/credentials/jwks"), second)
    assert (answer.status, code(answer)) == (400, "E0000001")
    assert reason(answer).startswith("Api validation failed: JsonWebKey | " + why)
    assert len(app.keys) == 1


def test_the_51st_key_is_refused(org: Org) -> None:
    app = app_with(org, keys=[SECOND | {"kid": str(number)} for number in range(49)])
    assert call(org, "POST", at(app, "/credentials/jwks"), SECOND).status == 201
    answer = call(org, "POST", at(app, "/credentials/jwks"), SECOND | {"kid": "51"})
    assert reason(answer).endswith("The 'jwks' can't have more than 50 keys.")


def test_keys_elsewhere_cannot_be_added_to(org: Org) -> None:
    app = app_with(org, keys=[], jwks_uri="https://keys.example")
    answer = call(org, "POST", at(app, "/credentials/jwks"), SECOND)
    assert reason(answer).endswith("The keys of this app are at its 'jwks_uri'.")


def test_a_key_goes_only_after_it_was_switched_off(org: Org) -> None:
    encryption = jwk_of(rsa_key("third"), kid="three", use="enc")
    app = app_with(org, keys=[jwk_of(rsa_key(), kid="one"), SECOND, encryption])
    first, second, _ = (f"/credentials/jwks/{key['id']}" for key in app.keys)
    refused = call(org, "DELETE", at(app, first))
    assert reason(refused).endswith("An active key can't be deleted.")
    assert call(org, "POST", at(app, first + "/lifecycle/deactivate")).status == 200
    refused = call(org, "POST", at(app, second + "/lifecycle/deactivate"))
    assert reason(refused).endswith("The only active key of the app can't be deactivated.")
    assert call(org, "POST", at(app, first + "/lifecycle/activate")).status == 200
    assert call(org, "POST", at(app, second + "/lifecycle/deactivate")).status == 200
    assert call(org, "DELETE", at(app, second)).status == 204
    assert [key["kid"] for key in app.keys] == ["one", "three"]
    assert call(org, "DELETE", at(app, second)).status == 404


# The app as a whole


def put(org: Org, app: Client, **changes: Any) -> Any:
    """Send the app back as it is, with other `settings.oauthClient` fields."""
    body: Any = call(org, "GET", at(app)).body
    body["settings"]["oauthClient"] |= changes
    return call(org, "PUT", at(app), body)


def test_an_app_is_shown_in_the_shape_of_the_recordings(org: Org) -> None:
    app = app_with(org)
    body: Any = call(org, "GET", at(app)).body
    assert body["id"] == app.id
    assert body["label"] == "An app"
    assert body["status"] == "ACTIVE"
    own = {"client_id": app.id, "token_endpoint_auth_method": "private_key_jwt"}
    assert own.items() <= body["credentials"]["oauthClient"].items()
    oauth = body["settings"]["oauthClient"]
    assert oauth["application_type"] == "service"
    assert oauth["dpop_bound_access_tokens"] is False
    assert oauth["jwks"] == {"keys": app.keys}


def test_an_app_sent_back_as_it_was_read_stays_what_it_is(org: Org) -> None:
    old = base64.encodebytes(
        rsa_key().public_key().public_numbers().n.to_bytes(256, "big")
    ).decode()
    keys = [jwk_of(rsa_key(), kid="O4O", n=old), SECOND | {"status": "INACTIVE"}]
    app = app_with(org, "okta.users.read", keys=keys)
    app.sections["settings"]["notes"] = {"admin": "ours", "enduser": None}
    app.sections["visibility"]["autoLaunch"] = True
    before = call(org, "GET", at(app)).body
    assert put(org, app).body == before
    assert [key["status"] for key in app.keys] == ["ACTIVE", "INACTIVE"]
    assert list(app.grants) == ["okta.users.read"]


def test_the_dpop_flag_is_switched_by_the_app_s_own_field(org: Org) -> None:
    app = app_with(org)
    assert put(org, app, dpop_bound_access_tokens=True).status == 200
    assert app.dpop_bound
    put(org, app, dpop_bound_access_tokens=False)
    assert not app.dpop_bound


def test_what_is_not_sent_back_is_lost(org: Org) -> None:
    app = app_with(org, keys=[jwk_of(rsa_key(), kid="one"), SECOND], dpop_bound=True)
    app.sections["settings"]["notes"] = {"admin": "ours"}
    app.sections["visibility"]["autoLaunch"] = True
    body: Any = call(org, "GET", at(app)).body
    del body["settings"]["oauthClient"]["dpop_bound_access_tokens"]
    del body["settings"]["oauthClient"]["jwks"]["keys"][1]
    del body["settings"]["notes"], body["visibility"]
    after: Any = call(org, "PUT", at(app), body).body
    assert [key["kid"] for key in app.keys] == ["one"]
    assert not app.dpop_bound
    assert "notes" not in after["settings"]
    assert after["visibility"]["autoLaunch"] is False
    put(org, app, jwks=None)
    assert app.keys == []


def test_an_app_can_move_its_keys_to_a_place_of_its_own(org: Org) -> None:
    app = app_with(org)
    body = put(org, app, jwks=None, jwks_uri="https://keys.example").body
    assert body["settings"]["oauthClient"]["jwks_uri"] == "https://keys.example"
    assert "jwks" not in body["settings"]["oauthClient"]
    assert app.keys == []


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"client_id": "0oaOther"}, id="another-id"),
        pytest.param({"token_endpoint_auth_method": "handshake"}, id="unknown-method"),
    ],
)
def test_credentials_that_cannot_be_are_not_taken(org: Org, changes: dict[str, Any]) -> None:
    app = app_with(org)
    body: Any = call(org, "GET", at(app)).body
    body["credentials"]["oauthClient"] |= changes
    answer = call(org, "PUT", at(app), body)
    assert (answer.status, code(answer)) == (400, "E0000001")
    assert reason(answer).startswith(f"Api validation failed: {next(iter(changes))}")


def test_a_disabled_key_comes_alive_if_it_is_sent_so(org: Org) -> None:
    app = app_with(org, keys=[jwk_of(rsa_key(), kid="one"), SECOND | {"status": "INACTIVE"}])
    key_id = app.keys[1]["id"]
    put(org, app, jwks={"keys": [app.keys[0], SECOND]})
    assert (app.keys[1]["id"], app.keys[1]["status"]) == (key_id, "ACTIVE")


@pytest.mark.parametrize("name", ["name", "label", "signOnMode", "settings", "credentials"])
def test_half_an_app_is_not_taken(org: Org, name: str) -> None:
    app = app_with(org)
    body: Any = call(org, "GET", at(app)).body
    del body[name]
    answer = call(org, "PUT", at(app), body)
    assert (answer.status, code(answer)) == (400, "E0000001")
    assert reason(answer).startswith(f"Api validation failed: {name}")


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"application_type": "web"}, id="another-type"),
        pytest.param({"dpop_bound_access_tokens": 1}, id="number-as-flag"),
        pytest.param({"grant_types": None}, id="no-grant-types"),
        pytest.param({"response_types": [1]}, id="number-as-response-type"),
        pytest.param({"jwks_uri": "https://keys.example"}, id="keys-in-two-places"),
        pytest.param({"jwks": {"keys": [SECOND, SECOND]}}, id="duplicate-kid"),
    ],
)
def test_an_app_that_cannot_be_is_not_taken(org: Org, changes: dict[str, Any]) -> None:
    app = app_with(org)
    before = call(org, "GET", at(app)).body
    answer = put(org, app, **changes)
    assert (answer.status, code(answer)) == (400, "E0000001")
    assert call(org, "GET", at(app)).body == before
