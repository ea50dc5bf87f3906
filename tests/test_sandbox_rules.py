"""The pretend org's door, and the registration of apps."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sandbox_requests import (
    NOW,
    URL,
    b64,
    call,
    code,
    ec_key,
    jwk_of,
    new_org,
    reason,
    registration,
    rsa_key,
)

from pkj.sandbox.exchange import Request, Response
from pkj.sandbox.org import Org

CLIENTS = "/oauth2/v1/clients"
JWK_REFUSED = "Api validation failed: JsonWebKey | "
SHORT = JWK_REFUSED + "RSA key length in the 'jwks' is less than '2,048' bits for the given key."
NOT_UINT = JWK_REFUSED + "'n' and 'e' must be Base64urlUInt-encoded values (RFC 7518)."
SAME_KID = JWK_REFUSED + "All keys in the 'jwks' must have a unique `kid`."
NO_KID = JWK_REFUSED + "A 'kid' is required for every key when the 'jwks' has more than one."


@pytest.fixture
def org() -> Org:
    return new_org()


def register(org: Org, **changes: Any) -> Response:
    return call(org, "POST", CLIENTS, registration(**changes))


def with_key(**members: Any) -> dict[str, Any]:
    """A JWK Set with our key; a member changed to None is left out."""
    key = jwk_of(rsa_key(), kid="one", use="sig", alg="RS256") | members
    return {"keys": [{name: value for name, value in key.items() if value is not None}]}


def octets_of_n() -> bytes:
    return rsa_key().public_key().public_numbers().n.to_bytes(256, "big")


# The door


def test_every_answer_has_a_request_id_of_its_own(org: Org) -> None:
    ids = {call(org, "GET", path).headers["x-okta-request-id"] for path in (CLIENTS, "/x", CLIENTS)}
    assert len(ids) == 3


def test_rate_limits_are_announced_on_the_org_s_clock(org: Org) -> None:
    first, second = (call(org, "GET", CLIENTS).headers for _ in range(2))
    assert first["x-rate-limit-limit"] == "600"
    assert int(second["x-rate-limit-remaining"]) == int(first["x-rate-limit-remaining"]) - 1
    assert first["x-rate-limit-reset"] == second["x-rate-limit-reset"] == str(NOW + 60)
    org.clock = lambda: NOW + 60
    third = call(org, "GET", CLIENTS).headers
    assert (third["x-rate-limit-remaining"], third["x-rate-limit-reset"]) == ("599", str(NOW + 120))


def test_metadata_of_the_org_needs_nobody_and_counts_nothing(org: Org) -> None:
    answer = org.answer(Request("GET", "/.well-known/okta-organization"))
    assert answer.status == 200
    assert isinstance(answer.body, dict)
    assert answer.body["_links"]["organization"]["href"] == URL
    assert "x-rate-limit-limit" not in answer.headers


@pytest.mark.parametrize(
    ("method", "target", "status", "error"),
    [
        pytest.param("GET", "/api/v1/nothing", 404, "E0000008", id="unknown-path"),
        pytest.param("GET", "//[", 404, "E0000008", id="path-that-no-URL-has"),
        pytest.param("GET", "/well-known/okta-organization", 404, "E0000008", id="almost-a-path"),
        pytest.param("PUT", CLIENTS + "/x", 405, "E0000022", id="PUT-of-a-client"),
        pytest.param("DELETE", CLIENTS, 405, "E0000022", id="DELETE-of-all-clients"),
        pytest.param("GET", "/oauth2/v1/token", 405, "E0000022", id="GET-of-a-token"),
        pytest.param("GET", CLIENTS + "/0oaX", 404, "E0000007", id="unknown-client"),
        pytest.param("GET", "/api/v1/apps/0oaX", 404, "E0000007", id="unknown-app"),
    ],
)
def test_what_is_not_there_is_refused(
    org: Org, method: str, target: str, status: int, error: str
) -> None:
    answer = call(org, method, target)
    assert (answer.status, code(answer)) == (status, error)


def test_an_unknown_client_is_named_as_okta_does(org: Org) -> None:
    answer = call(org, "GET", CLIENTS + "/0oaX")
    assert reason(answer) == "Not found: Resource not found: 0oaX (PublicClientApp)"
    answer = call(org, "GET", "/api/v1/apps/0oaX")
    assert reason(answer) == "Not found: Resource not found: 0oaX (AppInstance)"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({"authorization": "SSWS nonsense"}, id="unknown"),
        pytest.param({"authorization": "SSWS"}, id="empty"),
        pytest.param({"authorization": "Basic eA=="}, id="another-scheme"),
    ],
)
def test_a_bad_api_token_is_refused(org: Org, headers: dict[str, str]) -> None:
    answer = org.answer(Request("GET", CLIENTS, headers))
    assert (answer.status, code(answer)) == (401, "E0000011")
    assert answer.headers["www-authenticate"] == "SSWS"


def test_the_api_token_may_stand_close_to_its_scheme(org: Org) -> None:
    answer = org.answer(Request("GET", CLIENTS, {"authorization": f"SSWS{org.api_key}"}))
    assert answer.status == 200


def test_an_access_token_is_no_session_for_an_admin_call(org: Org) -> None:
    answer = org.answer(Request("GET", CLIENTS, {"authorization": "Bearer x"}))
    assert (answer.status, code(answer), reason(answer)) == (403, "E0000005", "Invalid session")


@pytest.mark.parametrize(
    ("body", "kind", "error"),
    [
        pytest.param(b"{}", "text/plain", "E0000021", id="another-type"),
        pytest.param(b"{}", "", "E0000021", id="no-type"),
        pytest.param(b"{", "application/json", "E0000003", id="cut-off"),
        pytest.param(b"[]", "application/json", "E0000003", id="no-object"),
        pytest.param(b"", "application/json", "E0000003", id="nothing"),
        pytest.param(b'{"a": NaN}', "application/json", "E0000003", id="NaN"),
        pytest.param(b"\xff{}", "application/json", "E0000003", id="not-UTF-8"),
        pytest.param(b"[" * 100_000, "application/json", "E0000003", id="very-deep"),
        pytest.param(
            b'{"a":' + b"[" * 50 + b"]" * 50 + b"}", "application/json", "E0000003", id="deep"
        ),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(
    org: Org, body: bytes, kind: str, error: str
) -> None:
    answer = call(org, "POST", CLIENTS, body, **{"content-type": kind})
    assert (answer.status, code(answer)) == (400, error)


def test_json_may_name_its_charset(org: Org) -> None:
    body = json.dumps(registration()).encode()
    kind = {"content-type": "Application/JSON; charset=utf-8"}
    assert call(org, "POST", CLIENTS, body, **kind).status == 201


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    field=st.sampled_from(
        [*registration(), "jwks_uri", "redirect_uris", "logo_uri", "kid", "n", "e"]
    ),
    value=json_values,
)
@settings(max_examples=150, deadline=None)
def test_no_value_in_a_registration_breaks_the_org(field: str, value: object) -> None:
    org = new_org()
    body = registration()
    place = body["jwks"]["keys"][0] if field in ("kid", "n", "e") else body
    place[field] = value
    assert call(org, "POST", CLIENTS, body).status in (201, 400)


# Registration


def test_a_new_app_is_shown_as_in_okta_s_specification(org: Org) -> None:
    answer = register(org)
    assert answer.status == 201
    assert isinstance(answer.body, dict)
    client = org.clients[answer.body["client_id"]]
    assert client.id.startswith("0oa")
    assert len(client.id) == 20
    key = jwk_of(rsa_key(), kid="one", use="sig", alg="RS256")
    assert answer.body == {
        "client_id": client.id,
        "client_id_issued_at": NOW,
        "client_name": "An app",
        "client_uri": None,
        "logo_uri": None,
        "redirect_uris": [],
        "response_types": ["token"],
        "grant_types": ["client_credentials"],
        "token_endpoint_auth_method": "private_key_jwt",
        "application_type": "service",
        "jwks": {"keys": [key]},
    }
    assert call(org, "GET", f"{CLIENTS}/{client.id}").body == answer.body


def test_a_use_that_was_left_out_is_shown_as_null(org: Org) -> None:
    answer = register(org, jwks=with_key(use=None, alg=None, kid=None))
    assert isinstance(answer.body, dict)
    assert answer.body["jwks"]["keys"] == [jwk_of(rsa_key(), use=None, kid=None)]


def test_an_app_may_have_an_ec_key_or_a_place_where_its_keys_are(org: Org) -> None:
    assert register(org, jwks={"keys": [jwk_of(ec_key("P-521"), alg="ES512")]}).status == 201
    answer = register(org, jwks=None, jwks_uri="https://keys.example/jwks")
    assert answer.status == 201
    assert isinstance(answer.body, dict)
    assert answer.body["jwks_uri"] == "https://keys.example/jwks"
    assert "jwks" not in answer.body


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        pytest.param("client_name", {"client_name": None}, id="no-name"),
        pytest.param("client_name", {"client_name": " \t"}, id="blank-name"),
        pytest.param("client_name", {"client_name": 7}, id="number-as-name"),
        pytest.param("application_type", {"application_type": None}, id="default-type-is-web"),
        pytest.param("application_type", {"application_type": "native"}, id="native-app"),
        pytest.param("grant_types", {"grant_types": None}, id="default-grant-is-a-code"),
        pytest.param("grant_types", {"grant_types": ["implicit"]}, id="implicit"),
        pytest.param("response_types", {"response_types": None}, id="default-response-is-a-code"),
        pytest.param("response_types", {"response_types": ["code"]}, id="code"),
        pytest.param("redirect_uris", {"redirect_uris": ["https://x.example"]}, id="redirect"),
        pytest.param(
            "token_endpoint_auth_method", {"token_endpoint_auth_method": None}, id="default-secret"
        ),
        pytest.param(
            "token_endpoint_auth_method", {"token_endpoint_auth_method": "none"}, id="no-method"
        ),
        pytest.param("jwks", {"jwks": None}, id="no-keys"),
        pytest.param("jwks", {"jwks_uri": "https://keys.example"}, id="jwks-and-jwks_uri"),
        pytest.param(
            "jwks_uri", {"jwks": None, "jwks_uri": "http://keys.example"}, id="plain-http"
        ),
        pytest.param("logo_uri", {"logo_uri": 1}, id="number-as-link"),
        pytest.param("client_id", {"client_id": "mine"}, id="own-id"),
        pytest.param("client_secret", {"client_secret": "mine"}, id="own-secret"),
        pytest.param(
            "dpop_bound_access_tokens", {"dpop_bound_access_tokens": True}, id="dpop-flag"
        ),
        pytest.param("initiate_login_uri", {"initiate_login_uri": "https://x"}, id="login-uri"),
    ],
)
def test_metadata_that_a_service_app_may_not_have_is_refused(
    org: Org, field: str, changes: dict[str, Any]
) -> None:
    answer = register(org, **changes)
    assert (answer.status, code(answer)) == (400, "invalid_client_metadata")
    assert reason(answer).startswith(f"`{field}`: ")
    assert not org.clients


def test_a_field_of_the_server_s_own_is_named_as_such(org: Org) -> None:
    assert reason(register(org, client_id="x")) == "`client_id`: The field is chosen by the server."


def test_a_blank_name_is_refused_in_okta_s_words(org: Org) -> None:
    assert reason(register(org, client_name="")) == "`client_name`: The field can't be left blank."


SECOND = jwk_of(rsa_key("second"), kid="two")


@pytest.mark.parametrize(
    ("jwks", "why"),
    [
        pytest.param(with_key(n=None, e=None), SHORT, id="no-modulus-as-recorded"),
        pytest.param(with_key(n=b64(b"\xff" * 128)), SHORT, id="1024-bits"),
        pytest.param(with_key(n=b64(b"\x7f" + b"\xff" * 255)), SHORT, id="2047-bits"),
        pytest.param(with_key(n=b64(b"\0" + octets_of_n())), NOT_UINT, id="leading-zero-octet"),
        pytest.param(with_key(n=b64(octets_of_n()) + "=="), NOT_UINT, id="padding"),
        pytest.param(with_key(n=b64(octets_of_n()) + "\n"), NOT_UINT, id="line-break"),
        pytest.param(
            with_key(n=base64.b64encode(b"\xff\xef\xbe" * 90).decode()), NOT_UINT, id="not-url-safe"
        ),
        pytest.param(with_key(n=b64(octets_of_n())[:-1] + "1"), NOT_UINT, id="stray-bits"),
        pytest.param(with_key(n=octets_of_n()[0]), NOT_UINT, id="number"),
        pytest.param(with_key(e=None), NOT_UINT, id="no-exponent"),
        pytest.param(with_key(e="AAEAAQ"), NOT_UINT, id="exponent-with-zero-octet"),
        pytest.param(with_key(e="Ag"), JWK_REFUSED + "'n' and 'e' are not", id="even-exponent"),
        pytest.param(with_key(kty="oct"), JWK_REFUSED + "'kty' must be", id="symmetric"),
        pytest.param(with_key(kty=None), JWK_REFUSED + "'kty' must be", id="no-kty"),
        pytest.param(
            with_key(d="AQAB"), JWK_REFUSED + "The key must not have private", id="private"
        ),
        pytest.param(with_key(qi="AQAB"), JWK_REFUSED + "The key must not have private", id="qi"),
        pytest.param(with_key(use="enc"), JWK_REFUSED + "'use' must be 'sig'", id="encryption"),
        pytest.param(with_key(alg="ES256"), JWK_REFUSED + "'alg' must be", id="alg-of-another-kty"),
        pytest.param(with_key(alg="HS256"), JWK_REFUSED + "'alg' must be", id="hmac"),
        pytest.param(with_key(kid=" "), JWK_REFUSED + "'kid' must be", id="blank-kid"),
        pytest.param(with_key(status="OLD"), JWK_REFUSED + "'status' must be", id="status"),
        pytest.param(
            {"keys": [jwk_of(ec_key(), crv="P-384")]},
            JWK_REFUSED + "'x' and 'y' are not",
            id="curve",
        ),
        pytest.param(
            {"keys": [jwk_of(ec_key(), y=jwk_of(ec_key())["x"])]},
            JWK_REFUSED + "'x' and 'y' are not a point on P-256",
            id="no-point",
        ),
        pytest.param(
            {
                "keys": [
                    jwk_of(
                        ec_key(),
                        x=b64(b"\0" + base64.urlsafe_b64decode(jwk_of(ec_key())["x"] + "=")),
                    )
                ]
            },
            JWK_REFUSED + "'x' and 'y' are not a point on P-256",
            id="coordinate-with-zero-octet",
        ),
        pytest.param(
            {"keys": [jwk_of(ec_key(), crv=None)]}, JWK_REFUSED + "'crv' must", id="no-crv"
        ),
        pytest.param({"keys": [SECOND, SECOND]}, SAME_KID, id="duplicate-kid"),
        pytest.param({"keys": [SECOND, jwk_of(rsa_key())]}, NO_KID, id="second-key-without-kid"),
        pytest.param({"keys": []}, JWK_REFUSED + "The 'jwks' must have", id="empty-set"),
        pytest.param([SECOND], JWK_REFUSED + "The 'jwks' must have", id="list-as-set"),
        pytest.param({"keys": ["x"]}, JWK_REFUSED + "A key must be", id="text-as-key"),
        pytest.param(
            {"keys": [SECOND | {"kid": str(number)} for number in range(51)]},
            JWK_REFUSED + "The 'jwks' can't have more than 50 keys.",
            id="51-keys",
        ),
    ],
)
def test_a_key_that_okta_would_not_take_is_refused(org: Org, jwks: object, why: str) -> None:
    answer = register(org, jwks=jwks)
    assert (answer.status, code(answer)) == (400, "E0000001")
    assert reason(answer).startswith(why)
    assert not org.clients


def test_two_keys_with_kids_of_their_own_are_taken(org: Org) -> None:
    assert register(org, jwks={"keys": [*with_key()["keys"], SECOND]}).status == 201


def test_a_lenient_org_takes_the_encoding_of_2021_and_shows_it_as_sent(org: Org) -> None:
    old = base64.encodebytes(octets_of_n()).decode()
    assert register(org, jwks=with_key(n=old)).status == 400
    org.lenient_jwk = True
    assert reason(register(org, jwks=with_key(n=old, e=7))).startswith(NOT_UINT)
    answer = register(org, jwks=with_key(n=old))
    assert answer.status == 201
    assert isinstance(answer.body, dict)
    assert answer.body["jwks"]["keys"][0]["n"] == old


def test_a_full_org_takes_no_more_apps(org: Org) -> None:
    org.max_apps = 1
    assert register(org).status == 201
    answer = register(org)
    assert (answer.status, code(answer)) == (400, "E0000001")
    assert reason(answer) == (
        "Api validation failed: generalSettings | "
        "Cannot create application instance. Maximum number of instances has been reached."
    )
