"""DPoP in the pretend org: proofs for a token, and for the API that the token is good for."""

from typing import Any

import jwt
import pytest
from joserfc import jwk as joserfc_jwk
from sandbox_requests import (
    NOW,
    TOKEN_URL,
    URL,
    app_with,
    ask,
    assertion_of,
    ath_of,
    code,
    ec_key,
    jwk_of,
    new_org,
    proof_claims,
    reason,
    rsa_key,
    signed,
    token_form,
)

from pkj.sandbox.exchange import Request, Response
from pkj.sandbox.jose import thumbprint
from pkj.sandbox.org import Org
from pkj.sandbox.state import Client

READ = "okta.users.read"
USERS = URL + "/api/v1/users"
BEARER, DPOP = "Bearer", "DPoP"
BAD_TYP = "'typ' must be 'dpop+jwt' in the DPoP proof JWT."
MISSING = "The DPoP proof JWT header is missing."
UNPARSABLE = "The DPoP proof JWT cannot be parsed."
BAD_ALG = "The DPoP proof JWT signature algorithm is invalid."
BAD_SIGNATURE = "The DPoP proof JWT signature is invalid."
BAD_HTM = "'htm' claim in the DPoP proof JWT is invalid."
BAD_HTU = "'htu' claim in the DPoP proof JWT is invalid."
BAD_IAT = "'iat' claim in the DPoP proof JWT is invalid."
BAD_JTI = "'jti' claim in the DPoP proof JWT is invalid."
BAD_ATH = "'ath' claim in the DPoP proof does not match the presented access_token."
FUTURE = "The DPoP proof JWT is issued in the future."
TOO_OLD = "The DPoP proof JWT is issued more than five minutes in the past."
USED = "The DPoP proof JWT has already been used."


@pytest.fixture
def org() -> Org:
    return new_org(require_dpop=True)


@pytest.fixture
def app(org: Org) -> Client:
    return app_with(org, READ)


def header_of(key: Any = None, **changes: Any) -> dict[str, Any]:
    good = {"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk_of(key or ec_key())}
    return {name: value for name, value in (good | changes).items() if value is not None}


def proof_of(key: Any = None, **changes: Any) -> str:
    """A proof by PyJWT for the token endpoint, with an ES256 key."""
    header = header_of(key)
    return jwt.encode(proof_claims(**changes), key or ec_key(), "ES256", header)


def ask_with(org: Org, app: Client, proof: str) -> Response:
    return ask(org, token_form(assertion_of(app)), dpop=proof)


def token_for(org: Org, app: Client) -> str:
    """A token bound to our EC key."""
    answer = ask_with(org, app, proof_of(nonce=org.nonces[-1]))
    assert answer.status == 200
    assert isinstance(answer.body, dict)
    return str(answer.body["access_token"])


def users(org: Org, token: str, proof: str | None, scheme: str = "DPoP") -> Response:
    headers = {"authorization": f"{scheme} {token}"}
    if proof is not None:
        headers["dpop"] = proof
    return org.answer(Request("GET", "/api/v1/users?limit=1", headers))


def proof_for_users(token: str, key: Any = None, **changes: Any) -> str:
    good = {"htm": "GET", "htu": USERS, "ath": ath_of(token)}
    return proof_of(key, **(good | changes))


def refused(answer: Response, why: str, error: str = "invalid_dpop_proof") -> None:
    assert (answer.status, code(answer), reason(answer)) == (400, error, why)


# Who needs a proof


def test_no_proof_where_one_is_required_is_refused_without_a_nonce(org: Org, app: Client) -> None:
    answer = ask(org, token_form(assertion_of(app)))
    refused(answer, MISSING)
    assert "dpop-nonce" not in answer.headers


def test_one_app_can_require_dpop_by_itself() -> None:
    org = new_org()
    bound, free = app_with(org, READ, dpop_bound=True), app_with(org, READ)
    refused(ask(org, token_form(assertion_of(bound))), MISSING)
    assert ask(org, token_form(assertion_of(free))).status == 200


def test_an_app_that_needs_no_proof_ignores_one_and_gets_bearer() -> None:
    org = new_org()
    for proof in (proof_of(), "rubbish"):
        answer = ask_with(org, app_with(org, READ), proof)
        assert answer.status == 200
        assert isinstance(answer.body, dict)
        assert answer.body["token_type"] == BEARER
        assert "dpop-nonce" not in answer.headers


# The nonce


def test_the_dance_of_the_nonce_ends_with_a_bound_token(org: Org, app: Client) -> None:
    answer = ask_with(org, app, proof_of())
    refused(answer, "Authorization server requires nonce in DPoP proof.", "use_dpop_nonce")
    answer = ask_with(org, app, proof_of(nonce=answer.headers["dpop-nonce"]))
    assert answer.status == 200
    assert isinstance(answer.body, dict)
    assert answer.body["token_type"] == DPOP
    assert answer.headers["dpop-nonce"] == org.nonces[-1]
    claims = jwt.decode(answer.body["access_token"], options={"verify_signature": False})
    by_joserfc = joserfc_jwk.ECKey.import_key(jwk_of(ec_key())).thumbprint()
    assert claims["cnf"] == {"jkt": by_joserfc}


@pytest.mark.parametrize("nonce", ["mine", "", 7, ["x"]])
def test_a_nonce_that_okta_did_not_give_is_refused(org: Org, app: Client, nonce: Any) -> None:
    answer = ask_with(org, app, proof_of(nonce=nonce))
    assert code(answer) == "use_dpop_nonce"


def test_the_old_nonce_works_until_it_is_forgotten(org: Org, app: Client) -> None:
    old = org.nonces[-1]
    new = org.new_nonce()
    answer = ask_with(org, app, proof_of(nonce=old))
    assert (answer.status, answer.headers["dpop-nonce"]) == (200, new)
    newest = org.forget_nonces()
    for gone in (old, new):
        answer = ask_with(org, app, proof_of(nonce=gone))
        assert (code(answer), answer.headers["dpop-nonce"]) == ("use_dpop_nonce", newest)
    assert ask_with(org, app, proof_of(nonce=newest)).status == 200


def test_neither_the_proof_nor_the_assertion_can_be_sent_again(org: Org, app: Client) -> None:
    proof, assertion = proof_of(), assertion_of(app)
    assert code(ask(org, token_form(assertion), dpop=proof)) == "use_dpop_nonce"
    refused(ask_with(org, app, proof), USED)
    answer = ask(org, token_form(assertion), dpop=proof_of(nonce=org.nonces[-1]))
    assert reason(answer) == "The client_assertion token has already been used."


# The proof


@pytest.mark.parametrize(
    ("alg", "key"),
    [
        pytest.param("RS256", rsa_key(), id="RS256"),
        pytest.param("RS384", rsa_key(), id="RS384"),
        pytest.param("RS512", rsa_key(), id="RS512"),
        pytest.param("ES384", ec_key("P-384"), id="ES384"),
        pytest.param("ES512", ec_key("P-521"), id="ES512"),
    ],
)
def test_every_algorithm_of_okta_s_is_taken(org: Org, app: Client, alg: str, key: Any) -> None:
    claims = proof_claims(nonce=org.nonces[-1])
    proof = jwt.encode(claims, key, alg, header_of(key, alg=alg))
    assert ask_with(org, app, proof).status == 200


def test_alg_and_use_and_kid_may_be_in_the_jwk(org: Org, app: Client) -> None:
    header = header_of(jwk=jwk_of(ec_key(), alg="ES256", use="sig", kid="x"))
    proof = signed(header, proof_claims(nonce=org.nonces[-1]), ec_key())
    assert ask_with(org, app, proof).status == 200


@pytest.mark.parametrize(
    ("header", "why"),
    [
        pytest.param(header_of(typ="JWT"), BAD_TYP, id="typ"),
        pytest.param(header_of(typ=None), BAD_TYP, id="no-typ"),
        pytest.param(header_of(alg="none"), BAD_ALG, id="none"),
        pytest.param(header_of(alg="HS256"), BAD_ALG, id="hmac"),
        pytest.param(header_of(alg="RS256"), BAD_ALG, id="RS256-of-an-EC-key"),
        pytest.param(header_of(alg="ES384"), BAD_ALG, id="alg-of-another-curve"),
        pytest.param(header_of(alg=["ES256"]), BAD_ALG, id="list-as-alg"),
        pytest.param(header_of(jwk="x"), UNPARSABLE, id="text-as-jwk"),
        pytest.param({"typ": "dpop+jwt", "alg": "ES256"}, UNPARSABLE, id="no-jwk"),
        pytest.param(header_of(jwk=jwk_of(ec_key(), d="AQAB")), UNPARSABLE, id="private-jwk"),
        pytest.param(header_of(jwk=jwk_of(ec_key(), x5c=None)), UNPARSABLE, id="odd-member"),
        pytest.param(header_of(jwk=jwk_of(ec_key(), n="AQAB")), UNPARSABLE, id="member-of-RSA"),
        pytest.param(header_of(jwk=jwk_of(ec_key(), y="AAAA")), UNPARSABLE, id="no-point"),
        pytest.param(header_of(jwk=jwk_of(ec_key(name="other"))), BAD_SIGNATURE, id="another-key"),
        pytest.param(header_of(crit=["x"]), UNPARSABLE, id="crit"),
    ],
)
def test_a_header_that_okta_would_not_take_is_refused(
    org: Org, app: Client, header: dict[str, Any], why: str
) -> None:
    proof = signed(header, proof_claims(nonce=org.nonces[-1]), ec_key())
    refused(ask_with(org, app, proof), why)


@pytest.mark.parametrize(
    ("claim", "value", "why"),
    [
        pytest.param("htm", None, BAD_HTM, id="no-htm"),
        pytest.param("htm", "GET", BAD_HTM, id="another-method"),
        pytest.param("htm", "post", BAD_HTM, id="lower-case"),
        pytest.param("htu", None, BAD_HTU, id="no-htu"),
        pytest.param("htu", URL, BAD_HTU, id="another-url"),
        pytest.param("htu", URL + "//oauth2/v1/token", BAD_HTU, id="doubled-slash"),
        pytest.param("htu", TOKEN_URL + "?a=b", BAD_HTU, id="with-query"),
        pytest.param("iat", None, BAD_IAT, id="no-iat"),
        pytest.param("iat", str(NOW), BAD_IAT, id="text-as-iat"),
        pytest.param("iat", True, BAD_IAT, id="true-as-iat"),
        pytest.param("iat", NOW + 1, FUTURE, id="in-the-future"),
        pytest.param("iat", NOW - 301, TOO_OLD, id="too-old"),
        pytest.param("exp", NOW, "The DPoP proof JWT is expired.", id="expired"),
        pytest.param("exp", "x", "The DPoP proof JWT is invalid.", id="text-as-exp"),
        pytest.param("jti", None, BAD_JTI, id="no-jti"),
        pytest.param("jti", "", BAD_JTI, id="empty-jti"),
        pytest.param("jti", 7, BAD_JTI, id="number-as-jti"),
    ],
)
def test_a_claim_that_okta_would_not_take_is_refused(
    org: Org, app: Client, claim: str, value: object, why: str
) -> None:
    claims = proof_claims(nonce=org.nonces[-1], **{claim: value})
    refused(ask_with(org, app, signed(header_of(), claims, ec_key())), why)


@pytest.mark.parametrize(
    "iat", [NOW, NOW - 300, NOW - 0.5], ids=["now", "five-minutes", "fraction"]
)
def test_an_iat_within_five_minutes_is_taken(org: Org, app: Client, iat: float) -> None:
    proof = signed(header_of(), proof_claims(nonce=org.nonces[-1], iat=iat), ec_key())
    assert ask_with(org, app, proof).status == 200


def test_two_proofs_at_once_are_refused(org: Org, app: Client) -> None:
    both = f"{proof_of()}, {proof_of()}"
    refused(ask_with(org, app, both), "Multiple DPoP proof JWT headers are not allowed.")


@pytest.mark.parametrize("proof", ["x", "a.b.c", "..", "é.é.é"])
def test_what_is_no_jwt_is_refused(org: Org, app: Client, proof: str) -> None:
    refused(ask_with(org, app, proof), UNPARSABLE)


def test_an_empty_header_is_a_missing_one(org: Org, app: Client) -> None:
    refused(ask_with(org, app, ""), MISSING)


def test_a_refused_proof_is_used_up_too(org: Org, app: Client) -> None:
    refused(ask_with(org, app, proof_of(jti="once", htm="GET")), BAD_HTM)
    refused(ask_with(org, app, proof_of(jti="once", nonce=org.nonces[-1])), USED)


# The resource


def test_a_bound_token_with_a_proof_gets_the_users(org: Org, app: Client) -> None:
    token = token_for(org, app)
    answer = users(org, token, proof_for_users(token))
    assert (answer.status, answer.body) == (200, org.users[:1])


@pytest.mark.parametrize(
    ("path", "htu", "status"),
    [
        pytest.param("ada%40pretend.example", "ada@pretend.example", 200, id="decoded"),
        pytest.param("ada%40pretend.example", "ada%40pretend.example", 400, id="as-sent"),
        pytest.param("nobody%25%20%22%23", "nobody%25%20%22%23", 404, id="four-stay-escaped"),
        pytest.param("nobody%25", "nobody%", 400, id="four-decoded"),
    ],
)
def test_htu_is_compared_with_the_decoded_path(
    org: Org, app: Client, path: str, htu: str, status: int
) -> None:
    token = token_for(org, app)
    proof = proof_for_users(token, htu=f"{USERS}/{htu}")
    headers = {"authorization": f"DPoP {token}", "dpop": proof}
    answer = org.answer(Request("GET", f"/api/v1/users/{path}", headers))
    assert answer.status == status
    if status == 400:
        assert reason(answer) == BAD_HTU


@pytest.mark.parametrize(
    ("claim", "value", "why"),
    [
        pytest.param("ath", None, BAD_ATH, id="no-ath"),
        pytest.param("ath", ath_of("another token"), BAD_ATH, id="ath-of-another-token"),
        pytest.param("htm", "POST", BAD_HTM, id="another-method"),
        pytest.param("htu", USERS + "?limit=1", BAD_HTU, id="with-query"),
        pytest.param("htu", TOKEN_URL, BAD_HTU, id="another-url"),
        pytest.param("htu", f"{URL}/api/v1/%75sers", BAD_HTU, id="escaped"),
        pytest.param("iat", NOW + 60, FUTURE, id="in-the-future"),
        pytest.param("jti", None, BAD_JTI, id="no-jti"),
    ],
)
def test_a_proof_for_something_else_is_refused(
    org: Org, app: Client, claim: str, value: object, why: str
) -> None:
    token = token_for(org, app)
    answer = users(org, token, proof_for_users(token, **{claim: value}))
    refused(answer, why)
    challenge = answer.headers["www-authenticate"]
    assert challenge.startswith('DPoP algs="RS256 RS384 RS512 ES256 ES384 ES512", ')
    assert f'error="invalid_dpop_proof", error_description="{why}"' in challenge


def test_a_proof_by_another_key_is_refused(org: Org, app: Client) -> None:
    token = token_for(org, app)
    answer = users(org, token, proof_for_users(token, ec_key(name="other")))
    refused(answer, "The access_token is not bound to the provided DPoP proof.")


def test_a_proof_is_good_for_one_call(org: Org, app: Client) -> None:
    token = token_for(org, app)
    proof = proof_for_users(token)
    assert users(org, token, proof).status == 200
    refused(users(org, token, proof), USED)


def test_a_bound_token_without_a_proof_is_refused(org: Org, app: Client) -> None:
    answer = users(org, token_for(org, app), None)
    refused(answer, "The resource request requires a DPoP proof.", "invalid_request")


def test_a_bound_token_is_no_bearer_token(org: Org, app: Client) -> None:
    token = token_for(org, app)
    answer = users(org, token, proof_for_users(token), "Bearer")
    why = (
        "The resource request must use the DPoP authentication scheme when using a DPoP bound "
        "token."
    )
    refused(answer, why, "invalid_request")
    assert answer.headers["www-authenticate"].startswith("Bearer ")


def test_a_bearer_token_is_not_dpop_bound() -> None:
    org = new_org()
    body = ask(org, token_form(assertion_of(app_with(org, READ)))).body
    assert isinstance(body, dict)
    token = body["access_token"]
    answer = users(org, token, proof_for_users(token))
    assert (answer.status, code(answer)) == (401, "invalid_token")
    assert reason(answer) == "The presented access_token is not DPoP bound."
    assert users(org, token, None, "Bearer").status == 200


def test_a_bound_token_needs_its_scope_and_role_too(org: Org) -> None:
    app = app_with(org, READ, "okta.logs.read")
    token = token_for(org, app)
    org.role_needed = True
    answer = users(org, token, proof_for_users(token))
    assert (answer.status, code(answer)) == (403, "E0000006")
    assert "www-authenticate" not in answer.headers
    form = token_form(assertion_of(app), scope="okta.logs.read")
    body = ask(org, form, dpop=proof_of(nonce=org.nonces[-1])).body
    assert isinstance(body, dict)
    answer = users(org, body["access_token"], proof_for_users(body["access_token"]))
    assert answer.status == 403
    assert 'DPoP algs="' in answer.headers["www-authenticate"]
    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


def test_a_token_that_is_none_is_refused_with_the_scheme_s_challenge(org: Org) -> None:
    answer = users(org, "garbage", proof_for_users("garbage"))
    assert (answer.status, code(answer)) == (401, "E0000011")
    assert answer.headers["www-authenticate"].startswith("DPoP algs=")


# Thumbprints

RFC_7638 = {
    "kty": "RSA",
    "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",  # noqa: E501 - the example of RFC 7638, section 3.1
    "e": "AQAB",
    "alg": "RS256",
    "kid": "2011-04-29",
}
RFC_9449 = {
    "kty": "EC",
    "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
    "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
    "crv": "P-256",
}


@pytest.mark.parametrize(
    ("jwk", "expected"),
    [
        pytest.param(RFC_7638, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", id="RFC-7638"),
        pytest.param(RFC_9449, "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I", id="RFC-9449"),
    ],
)
def test_thumbprints_are_those_of_the_rfcs(jwk: dict[str, str], expected: str) -> None:
    assert thumbprint(jwk) == expected
