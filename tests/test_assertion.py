"""The client assertion, taken apart and verified by a second JOSE library."""

import base64
import json
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jws, jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import RSAKey

from pkj import keys
from pkj.token import assertion

CLIENT, AUDIENCE = "0oa1client", "https://acme.okta.com/oauth2/v1/token"
NOW = 1_700_000_000


def public(key: rsa.RSAPrivateKey) -> RSAKey:
    imported: RSAKey = RSAKey.import_key(keys.public_pem(keys.modulus_of(key)))
    return imported


def claims(token: str, key: rsa.RSAPrivateKey) -> dict[str, Any]:
    return jwt.decode(token, public(key), algorithms=["RS256"]).claims


def header(token: str) -> Any:
    part = token.split(".")[0]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def test_the_claims_are_these_five_and_no_other(key: rsa.RSAPrivateKey) -> None:
    said = claims(assertion.sign(key, CLIENT, AUDIENCE, now=NOW), key)

    jti = said.pop("jti")
    assert said == {"iss": CLIENT, "sub": CLIENT, "aud": AUDIENCE, "exp": NOW + 300}
    assert len(bytes.fromhex(jti)) == 16


def test_the_time_is_whole_seconds_and_that_of_this_machine_unless_given(
    key: rsa.RSAPrivateKey,
) -> None:
    assert claims(assertion.sign(key, CLIENT, AUDIENCE, now=NOW + 0.9), key)["exp"] == NOW + 300

    before = int(time.time())
    expiry = claims(assertion.sign(key, CLIENT, AUDIENCE), key)["exp"]
    assert before + 300 <= expiry <= int(time.time()) + 300


@pytest.mark.parametrize(
    ("kid", "more"),
    [
        pytest.param("a-kid", {"kid": "a-kid"}, id="with_a_kid"),
        pytest.param(None, {}, id="without_a_kid"),
    ],
)
def test_the_header_says_rs256_and_kid_only_if_there_is_one(
    key: rsa.RSAPrivateKey, kid: str | None, more: dict[str, str]
) -> None:
    token = assertion.sign(key, CLIENT, AUDIENCE, kid=kid)

    assert header(token) == {"alg": "RS256", "typ": "JWT", **more}


def test_the_signature_holds_for_the_key_and_for_no_other(
    key: rsa.RSAPrivateKey, other_key: rsa.RSAPrivateKey
) -> None:
    token = assertion.sign(key, CLIENT, AUDIENCE)

    jws.deserialize_compact(token, public(key), algorithms=["RS256"])
    with pytest.raises(BadSignatureError):
        jws.deserialize_compact(token, public(other_key), algorithms=["RS256"])


def test_a_changed_claim_breaks_the_signature(key: rsa.RSAPrivateKey) -> None:
    head, _, signature = assertion.sign(key, CLIENT, AUDIENCE, now=NOW).split(".")
    _, others, _ = assertion.sign(key, CLIENT, AUDIENCE, now=NOW + 1).split(".")

    with pytest.raises(BadSignatureError):
        claims(f"{head}.{others}.{signature}", key)


def test_two_assertions_of_one_second_have_different_jtis(key: rsa.RSAPrivateKey) -> None:
    made = [assertion.sign(key, CLIENT, AUDIENCE, now=NOW) for _ in range(20)]

    assert len({claims(token, key)["jti"] for token in made}) == 20
