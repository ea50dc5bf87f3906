"""The pretend org's token endpoint: assertions, and the apps that may make them."""

import base64
import json
from typing import Any

import pytest
from sandbox_requests import (
    NOW,
    TOKEN_URL,
    URL,
    app_with,
    ask,
    assertion_of,
    b64,
    claims_of,
    code,
    ec_key,
    jwk_of,
    new_org,
    reason,
    rsa_key,
    signed,
    token_form,
)

from pkj.sandbox.exchange import Response
from pkj.sandbox.org import Org
from pkj.sandbox.state import Client

READ = "okta.users.read"
UNPARSABLE = "The parsing of the client_assertion failed."
BAD_ISSUER = "The issuer claim for client_assertion is not a valid client_id."
BAD_SUBJECT = "The subject claim for client_assertion is not a valid client_id."
BAD_AUDIENCE = (
    "The audience claim for client_assertion must be the endpoint invoked for the request."
)
NO_EXP = "The client_assertion must contain the 'exp' claim as seconds since epoch."
EXPIRED = "The client_assertion token is expired."
TOO_LATE = "The client_assertion token has an expiration too far into the future."
LATER = "The client_assertion token must be issued before the current time."
USED = "The client_assertion token has already been used."
BAD_SIGNATURE = "The client_assertion signature is invalid."
BAD_KID = "The client_assertion JWT kid is invalid."
BAD_ALG = "The client_assertion JWT signature algorithm is invalid."
RS256 = {"alg": "RS256", "kid": "one"}
BAD_CLIENT = (
    "Client authentication failed. Either the client or the client credentials are invalid."
)


@pytest.fixture
def org() -> Org:
    return new_org()


@pytest.fixture
def app(org: Org) -> Client:
    return app_with(org, READ)


def refused(answer: Response, status: int, error: str, why: str) -> None:
    assert (answer.status, code(answer), reason(answer)) == (status, error, why)
    assert answer.headers["cache-control"] == "no-cache, no-store"


@pytest.mark.parametrize(
    ("claim", "value", "why"),
    [
        pytest.param("iss", None, BAD_ISSUER, id="no-iss"),
        pytest.param("iss", "0oaNobody", BAD_ISSUER, id="unknown-iss"),
        pytest.param("iss", ["x"], BAD_ISSUER, id="list-as-iss"),
        pytest.param("sub", None, BAD_SUBJECT, id="no-sub"),
        pytest.param("sub", "0oaNobody", BAD_SUBJECT, id="another-sub"),
        pytest.param("aud", None, BAD_AUDIENCE, id="no-aud"),
        pytest.param("aud", URL, BAD_AUDIENCE, id="issuer-as-aud"),
        pytest.param("aud", TOKEN_URL + "/", BAD_AUDIENCE, id="slash"),
        pytest.param("aud", [TOKEN_URL], BAD_AUDIENCE, id="list-as-aud"),
        pytest.param("exp", None, NO_EXP, id="no-exp"),
        pytest.param("exp", str(NOW + 300), NO_EXP, id="text-as-exp"),
        pytest.param("exp", True, NO_EXP, id="true-as-exp"),
        pytest.param("exp", NOW, EXPIRED, id="exp-now"),
        pytest.param("exp", NOW - 19_800, EXPIRED, id="slow-clock"),
        pytest.param("exp", NOW + 3600, TOO_LATE, id="an-hour"),
        pytest.param("exp", (NOW + 300) * 1000, TOO_LATE, id="milliseconds"),
        pytest.param("exp", 1e400, UNPARSABLE, id="Infinity"),
        pytest.param("iat", NOW + 1, LATER, id="iat-in-the-future"),
        pytest.param("iat", "now", UNPARSABLE, id="text-as-iat"),
        pytest.param("jti", 7, UNPARSABLE, id="number-as-jti"),
    ],
)
def test_a_claim_that_okta_would_not_take_is_refused(
    org: Org, app: Client, claim: str, value: object, why: str
) -> None:
    claims = claims_of(app, **{claim: value})
    answer = ask(org, token_form(signed(RS256, claims, rsa_key())))
    refused(answer, 401, "invalid_client", why)


@pytest.mark.parametrize("exp", [NOW + 1, NOW + 3599, NOW + 300.5], ids=["1s", "3599s", "fraction"])
def test_an_exp_within_the_hour_is_taken(org: Org, app: Client, exp: float) -> None:
    assertion = signed(RS256, claims_of(app, exp=exp), rsa_key())
    assert ask(org, token_form(assertion)).status == 200


@pytest.mark.parametrize(("exp", "why"), [(b"1e999", TOO_LATE), (b"-1e999", EXPIRED)])
def test_an_exp_beyond_all_numbers_is_refused(org: Org, app: Client, exp: bytes, why: str) -> None:
    claims = json.dumps(claims_of(app, exp=7)).encode().replace(b": 7,", b": " + exp + b",")
    refused(ask(org, token_form(signed(RS256, claims, rsa_key()))), 401, "invalid_client", why)


def test_time_is_told_by_the_org_s_clock(org: Org, app: Client) -> None:
    org.clock = lambda: NOW - 3301
    refused(ask(org, token_form(assertion_of(app, iat=None))), 401, "invalid_client", TOO_LATE)
    org.clock = lambda: NOW + 300
    refused(ask(org, token_form(assertion_of(app))), 401, "invalid_client", EXPIRED)


@pytest.mark.parametrize(
    ("header", "why"),
    [
        pytest.param({"alg": "RS256", "kid": "two"}, BAD_KID, id="unknown-kid"),
        pytest.param({"alg": "RS256", "kid": None}, BAD_KID, id="null-as-kid"),
        pytest.param({"alg": "RS256", "kid": ["one"]}, BAD_KID, id="list-as-kid"),
        pytest.param({"alg": "none", "kid": "one"}, BAD_ALG, id="none"),
        pytest.param({"alg": "HS256", "kid": "one"}, BAD_ALG, id="hmac"),
        pytest.param({"alg": "PS256", "kid": "one"}, BAD_ALG, id="PS256"),
        pytest.param({"alg": "ES256", "kid": "one"}, BAD_ALG, id="ES256-of-an-RSA-key"),
        pytest.param({"kid": "one"}, BAD_ALG, id="no-alg"),
        pytest.param({"alg": ["RS256"], "kid": "one"}, BAD_ALG, id="list-as-alg"),
        pytest.param({"alg": "RS256", "kid": "one", "crit": ["x"]}, UNPARSABLE, id="crit"),
        pytest.param(b"[]", UNPARSABLE, id="list-as-header"),
        pytest.param(b"{" * 5000, UNPARSABLE, id="deep-header"),
    ],
)
def test_a_header_that_okta_would_not_take_is_refused(
    org: Org, app: Client, header: Any, why: str
) -> None:
    parts = header if isinstance(header, dict) else {"alg": "RS256"}
    assertion = signed(parts, claims_of(app), rsa_key())
    if not isinstance(header, dict):
        assertion = ".".join([b64(header), *assertion.split(".")[1:]])
    refused(ask(org, token_form(assertion)), 401, "invalid_client", why)


def test_an_algorithm_other_than_the_registered_one_is_refused(org: Org) -> None:
    app = app_with(org, READ, keys=[jwk_of(rsa_key(), kid="one", alg="RS512")])
    answer = ask(org, token_form(signed(RS256, claims_of(app), rsa_key())))
    refused(answer, 401, "invalid_client", BAD_ALG)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda text: text[:-10], id="cut-off-in-the-signature"),
        pytest.param(lambda text: f"b'{text}'", id="python-repr"),
        pytest.param(lambda text: text + ".", id="four-parts"),
        pytest.param(lambda text: text.partition(".")[2], id="two-parts"),
        pytest.param(lambda text: text + "é", id="not-ascii"),
        pytest.param(lambda text: text.replace(".", "=."), id="padding"),
        pytest.param(lambda _: "..", id="nothing"),
    ],
)
def test_what_is_no_jwt_is_refused(org: Org, app: Client, spoil: Any) -> None:
    answer = ask(org, token_form(spoil(assertion_of(app))))
    assert (answer.status, code(answer)) == (401, "invalid_client")
    assert reason(answer) in (UNPARSABLE, BAD_SIGNATURE)


def test_a_signature_by_another_key_is_refused(org: Org, app: Client) -> None:
    answer = ask(org, token_form(assertion_of(app, rsa_key("other"))))
    refused(answer, 401, "invalid_client", BAD_SIGNATURE)


def test_changed_claims_are_refused(org: Org, app: Client) -> None:
    first, second, third = assertion_of(app).split(".")
    claims = signed({}, claims_of(app, exp=NOW + 301), rsa_key()).split(".")[1]
    assert claims != second
    answer = ask(org, token_form(f"{first}.{claims}.{third}"))
    refused(answer, 401, "invalid_client", BAD_SIGNATURE)


@pytest.mark.parametrize("size", [0, 63, 64, 65])
def test_an_ec_signature_of_rubbish_is_refused(org: Org, size: int) -> None:
    app = app_with(org, READ, keys=[jwk_of(ec_key(), kid="one")])
    text = signed({"alg": "ES256", "kid": "one"}, claims_of(app), ec_key()).rpartition(".")[0]
    answer = ask(org, token_form(f"{text}.{b64(bytes(size))}"))
    refused(answer, 401, "invalid_client", BAD_SIGNATURE)


def test_an_ec_signature_with_a_zero_octet_too_many_is_refused(org: Org) -> None:
    app = app_with(org, READ, keys=[jwk_of(ec_key(), kid="one")])
    good = signed({"alg": "ES256", "kid": "one"}, claims_of(app), ec_key())
    text, _, signature = good.rpartition(".")
    octets = base64.urlsafe_b64decode(signature + "==")
    answer = ask(org, token_form(f"{text}.{b64(octets[:32] + bytes(1) + octets[32:])}"))
    refused(answer, 401, "invalid_client", BAD_SIGNATURE)


def test_of_several_active_keys_the_kid_has_to_choose(org: Org) -> None:
    keys = [jwk_of(rsa_key(), kid="one"), jwk_of(rsa_key("second"), kid="two")]
    app = app_with(org, READ, keys=keys)
    nameless = signed({"alg": "RS256"}, claims_of(app), rsa_key())
    refused(ask(org, token_form(nameless)), 401, "invalid_client", BAD_KID)
    assert ask(org, token_form(assertion_of(app))).status == 200
    app.keys[1]["status"] = "INACTIVE"
    nameless = signed({"alg": "RS256"}, claims_of(app), rsa_key())
    assert ask(org, token_form(nameless)).status == 200
    app.keys[0]["status"] = "INACTIVE"
    refused(ask(org, token_form(assertion_of(app))), 401, "invalid_client", BAD_KID)


def test_a_jti_is_used_up_by_a_success(org: Org, app: Client) -> None:
    assertion = assertion_of(app)
    assert ask(org, token_form(assertion)).status == 200
    refused(ask(org, token_form(assertion)), 401, "invalid_client", USED)


@pytest.mark.parametrize(
    ("claims", "form"),
    [
        pytest.param({}, {"scope": "okta.apps.read"}, id="nothing-granted"),
        pytest.param({}, {"client_id": "other"}, id="another-client_id"),
        pytest.param({"aud": URL}, {}, id="wrong-audience"),
        pytest.param({"exp": NOW}, {}, id="expired"),
    ],
)
def test_a_jti_is_used_up_by_a_refusal_too(
    org: Org, app: Client, claims: dict[str, Any], form: dict[str, str]
) -> None:
    other = app_with(org)
    form = {name: other.id if value == "other" else value for name, value in form.items()}
    assert ask(org, token_form(assertion_of(app, jti="once", **claims), **form)).status != 200
    refused(ask(org, token_form(assertion_of(app, jti="once"))), 401, "invalid_client", USED)


def test_each_client_has_jtis_of_its_own(org: Org, app: Client) -> None:
    other = app_with(org, READ)
    for client in (app, other):
        assert ask(org, token_form(assertion_of(client, jti="same"))).status == 200


def test_the_form_and_the_assertion_name_the_same_client(org: Org, app: Client) -> None:
    answer = ask(org, token_form(assertion_of(app), client_id=app_with(org).id))
    refused(answer, 401, "invalid_client", BAD_CLIENT)


NO_KEYS = "The client does not have a JWKSet configured, but the client_assertion requires one."
NO_URI = "Error retrieving the client JWKSet from jwks_uri."
NO_SERVICE = (
    "Only clients with 'application_type' of 'service' may use the client_credentials "
    "'grant_type' with the Org Authorization Server."
)
NO_METHOD = (
    "Client Credentials requests to the Org Authorization Server must use the private_key_jwt "
    "token_endpoint_auth_method."
)
BAD_USE = (
    "The public key being used for client assertion has an invalid 'use' parameter. "
    "Valid values for the 'use' parameter are sig."
)
BAD_SET = "The client JWKSet is invalid."


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param({"status": "INACTIVE"}, BAD_ISSUER, id="inactive"),
        pytest.param({"keys": []}, NO_KEYS, id="no-keys"),
        pytest.param({"jwks_uri": "https://keys.example"}, NO_URI, id="jwks_uri"),
        pytest.param({"application_type": "web"}, NO_SERVICE, id="web-app"),
        pytest.param({"token_endpoint_auth_method": "none"}, NO_METHOD, id="another-method"),
        pytest.param({"keys": [jwk_of(rsa_key(), kid="one", use="enc")]}, BAD_USE, id="enc-key"),
        pytest.param({"keys": [jwk_of(rsa_key(), kid="one", n="AQAB")]}, BAD_SET, id="broken-key"),
    ],
)
def test_an_app_of_another_kind_gets_no_token(org: Org, changes: dict[str, Any], why: str) -> None:
    app = app_with(org, READ, **changes)
    refused(ask(org, token_form(assertion_of(app))), 401, "invalid_client", why)


def test_an_app_without_the_grant_type_gets_no_token(org: Org) -> None:
    app = app_with(org, READ, grant_types=["implicit", "password"])
    why = (
        "The client is not authorized to use the provided grant type. "
        "Configured grant types: [implicit, password]."
    )
    refused(ask(org, token_form(assertion_of(app))), 400, "unauthorized_client", why)
