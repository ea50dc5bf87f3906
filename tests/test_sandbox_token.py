"""The pretend org's token endpoint: good requests, and forms that it refuses."""

import base64
from typing import Any

import jwt
import pytest
from joserfc import jwk as joserfc_jwk
from joserfc import jwt as joserfc_jwt
from sandbox_requests import (
    NOW,
    URL,
    app_with,
    ask,
    assertion_of,
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
REQUEST, CLIENT, SCOPE = "invalid_request", "invalid_client", "invalid_scope"
CONSENT = "consent_required"
RS256 = {"alg": "RS256", "kid": "one"}


@pytest.fixture
def org() -> Org:
    return new_org()


@pytest.fixture
def app(org: Org) -> Client:
    return app_with(org, READ)


def refused(answer: Response, status: int, error: str, why: str) -> None:
    assert (answer.status, code(answer), reason(answer)) == (status, error, why)
    assert answer.headers["cache-control"] == "no-cache, no-store"


# A good request


def test_a_good_assertion_gets_a_token(org: Org, app: Client) -> None:
    answer = ask(org, token_form(assertion_of(app)))
    assert answer.status == 200
    assert isinstance(answer.body, dict)
    assert answer.headers["cache-control"] == "no-cache, no-store"
    assert "dpop-nonce" not in answer.headers
    token = answer.body.pop("access_token")
    assert answer.body == {"token_type": "Bearer", "expires_in": 3600, "scope": READ}
    header = jwt.get_unverified_header(token)
    assert header["kid"] == "pretend"
    assert header["typ"] == "application/okta-internal-at+jwt"
    claims = jwt.decode(token, options={"verify_signature": False})
    assert next(iter(claims)) == "pretend"
    assert claims["iss"] == claims["aud"] == URL
    assert claims["cid"] == claims["sub"] == app.id
    assert (claims["iat"], claims["exp"], claims["scp"]) == (NOW, NOW + 3600, [READ])
    assert claims["jti"].startswith("AT.")


def test_an_assertion_of_another_jose_library_is_as_good(org: Org, app: Client) -> None:
    key = joserfc_jwk.RSAKey.import_key(rsa_key())
    assertion = joserfc_jwt.encode(RS256, claims_of(app), key)
    assert ask(org, token_form(assertion)).status == 200


def test_client_id_may_be_in_the_form_too(org: Org, app: Client) -> None:
    assert ask(org, token_form(assertion_of(app), client_id=app.id)).status == 200


def test_jti_and_iat_and_typ_are_optional(org: Org, app: Client) -> None:
    claims = claims_of(app, jti=None, iat=None)
    for _ in range(2):  # without a jti, a replay is not noticed
        assert ask(org, token_form(signed(RS256, claims, rsa_key()))).status == 200


def test_the_only_key_needs_no_kid(org: Org, app: Client) -> None:
    assertion = signed({"alg": "RS256"}, claims_of(app), rsa_key())
    assert ask(org, token_form(assertion)).status == 200


@pytest.mark.parametrize(
    ("alg", "key"),
    [
        pytest.param("RS384", rsa_key(), id="RS384"),
        pytest.param("RS512", rsa_key(), id="RS512"),
        pytest.param("ES256", ec_key("P-256"), id="ES256"),
        pytest.param("ES384", ec_key("P-384"), id="ES384"),
        pytest.param("ES512", ec_key("P-521"), id="ES512"),
    ],
)
def test_every_algorithm_of_okta_s_is_taken(org: Org, alg: str, key: Any) -> None:
    app = app_with(org, READ, keys=[jwk_of(key, kid="one")])
    assertion = jwt.encode(claims_of(app), key, alg, {"kid": "one"})
    assert ask(org, token_form(assertion)).status == 200


def test_a_key_in_the_encoding_of_2021_still_verifies(org: Org) -> None:
    octets = rsa_key().public_key().public_numbers().n.to_bytes(256, "big")
    old = base64.encodebytes(octets).decode()
    app = app_with(org, READ, keys=[jwk_of(rsa_key(), kid="O4O", n=old)])
    assertion = signed({"alg": "RS256"}, claims_of(app), rsa_key())
    assert ask(org, token_form(assertion)).status == 200


# The form


def test_a_form_may_name_its_charset(org: Org, app: Client) -> None:
    kind = "application/x-www-form-urlencoded; charset=UTF-8"
    assert ask(org, token_form(assertion_of(app)), content_type=kind).status == 200


TWICE = "The request contained multiple parameters with the same name."
NO_GRANT_TYPE = "The token request must specify a 'grant_type'. Valid values: [client_credentials]"
SEVERAL = (
    "Cannot supply multiple client credentials. Use one of the following: credentials in the "
    "Authorization header, credentials in the post body, or a client_assertion in the post body."
)
BAD_CLIENT = (
    "Client authentication failed. Either the client or the client credentials are invalid."
)
IN_QUERY = "Client credentials cannot be supplied via query parameters."
BAD_TYPE = "The client_assertion_type is invalid."
BAD_ID = "Invalid value for 'client_id' parameter."
NO_ASSERTION = "No client credentials found."
UNSUPPORTED = (
    "The authorization grant type is not supported by the authorization server. "
    "Configured grant types: [client_credentials]."
)
NO_SELF = "The 'client_credentials' grant type may not request .self scopes."
SELF = "client_credentials_self_scope_requested"
NO_SCOPES = "No scopes were requested."
NO_OPENID = "Cannot request '{}' scopes using client credentials."
UNKNOWN = "One or more scopes are not configured for the authorization server resource."
NO_CONSENT = "You are not allowed any of the requested scopes."


@pytest.mark.parametrize(
    ("changes", "status", "error", "why"),
    [
        pytest.param({"grant_type": None}, 400, REQUEST, NO_GRANT_TYPE, id="no-grant-type"),
        pytest.param({"grant_type": ""}, 400, REQUEST, NO_GRANT_TYPE, id="empty-grant-type"),
        pytest.param({"client_assertion": None}, 401, CLIENT, NO_ASSERTION, id="no-assertion"),
        pytest.param(
            {"client_assertion": None, "client_secret": "x"}, 401, CLIENT, BAD_CLIENT, id="secret"
        ),
        pytest.param({"client_secret": "x"}, 401, REQUEST, SEVERAL, id="secret-too"),
        pytest.param({"client_assertion_type": None}, 400, REQUEST, BAD_TYPE, id="no-type"),
        pytest.param({"client_assertion_type": "urn%3Ax"}, 400, REQUEST, BAD_TYPE, id="bad-type"),
        pytest.param({"client_id": "0oaNobody"}, 400, CLIENT, BAD_ID, id="unknown-client_id"),
        pytest.param(
            {"grant_type": "password"}, 400, "unsupported_grant_type", UNSUPPORTED, id="password"
        ),
        pytest.param({"scope": None}, 400, SCOPE, NO_SCOPES, id="no-scope"),
        pytest.param({"scope": " "}, 400, SCOPE, NO_SCOPES, id="blank-scope"),
        pytest.param(
            {"scope": READ + " openid"}, 400, SCOPE, NO_OPENID.format("openid"), id="openid"
        ),
        pytest.param({"scope": "email"}, 400, SCOPE, NO_OPENID.format("email"), id="email"),
        pytest.param({"scope": READ + ",okta.apps.read"}, 400, SCOPE, UNKNOWN, id="commas"),
        pytest.param({"scope": "okta.x.unknown"}, 400, SCOPE, UNKNOWN, id="unknown-scope"),
        pytest.param({"scope": "okta.users.read.self"}, 400, SELF, NO_SELF, id="self"),
        pytest.param({"scope": "okta.apps.read"}, 400, CONSENT, NO_CONSENT, id="not-granted"),
    ],
)
def test_a_form_that_okta_would_not_take_is_refused(
    org: Org, app: Client, changes: dict[str, Any], status: int, error: str, why: str
) -> None:
    refused(ask(org, token_form(assertion_of(app), **changes)), status, error, why)


@pytest.mark.parametrize(
    ("changes", "status", "why"),
    [
        pytest.param({"content_type": "application/json"}, 400, NO_GRANT_TYPE, id="no-form"),
        pytest.param({"authorization": "Basic eDp4"}, 401, SEVERAL, id="basic-too"),
        pytest.param({"query": "?client_assertion=x"}, 400, IN_QUERY, id="assertion-in-query"),
        pytest.param({"query": "?client_secret=x"}, 400, IN_QUERY, id="secret-in-query"),
    ],
)
def test_a_request_that_okta_would_not_take_is_refused(
    org: Org, app: Client, changes: dict[str, str], status: int, why: str
) -> None:
    refused(ask(org, token_form(assertion_of(app)), **changes), status, REQUEST, why)


def test_an_unknown_client_id_is_answered_in_the_management_dialect(org: Org) -> None:
    answer = ask(org, {"grant_type": "client_credentials", "client_id": "0oaNobody"})
    assert isinstance(answer.body, dict)
    assert answer.body["errorCode"] == answer.body["errorLink"] == "invalid_client"


def test_a_parameter_that_comes_twice_is_refused(org: Org, app: Client) -> None:
    pairs = [*token_form(assertion_of(app)).items(), ("scope", READ)]
    refused(ask(org, pairs), 400, REQUEST, TWICE)


@pytest.mark.parametrize("body", [b"a&" * 500, b"\xff=%ff&grant_type=%zz", b""])
def test_a_form_of_rubbish_is_refused(org: Org, body: bytes) -> None:
    assert ask(org, body).status in (400, 401)


def test_only_granted_scopes_come_back_each_once_in_the_order_asked_for(org: Org) -> None:
    app = app_with(org, READ, "okta.logs.read")
    scope = f"okta.logs.read okta.apps.read {READ} {READ}"
    answer = ask(org, token_form(assertion_of(app), scope=scope))
    assert isinstance(answer.body, dict)
    assert answer.body["scope"] == f"okta.logs.read {READ}"
