"""Requests to the mock org without sockets, made by other code than the org's."""

import base64
import functools
import itertools
import json
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from faults import Org
from joserfc.jwk import ECKey, RSAKey

from pkj.sandbox.exchange import Request, Response
from pkj.sandbox.state import Client

URL = "https://127.0.0.1:4443"
TOKEN_URL = URL + "/oauth2/v1/token"
NOW = 1_800_000_000
READ = "okta.users.read"
CURVES = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
RS256 = {"alg": "RS256", "kid": "one"}

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
_numbers = itertools.count()


def new_org(**settings: Any) -> Org:
    return Org(URL, clock=lambda: NOW + 0.5, **{"role_needed": False, **settings})


@functools.cache
def rsa_key(name: str = "ours") -> rsa.RSAPrivateKey:
    del name  # only tells keys apart
    return rsa.generate_private_key(65537, 2048)


@functools.cache
def ec_key(curve: str = "P-256", name: str = "ours") -> ec.EllipticCurvePrivateKey:
    del name
    return ec.generate_private_key(CURVES[curve])


def b64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def changed(good: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The good one with the changes; what is changed to None is left out."""
    return {name: value for name, value in (good | changes).items() if value is not None}


def jwk_of(key: PrivateKey, **members: Any) -> dict[str, Any]:
    """The public JWK, by a second JOSE library."""
    kind = RSAKey if isinstance(key, rsa.RSAPrivateKey) else ECKey
    return dict(kind.import_key(key.public_key()).as_dict(private=False)) | members


def call(
    org: Org, method: str, target: str, body: Any = None, *, api_key: str = "", **headers: str
) -> Response:
    """A call with an API token, the super admin's unless another is given."""
    sent = {"authorization": f"SSWS {api_key or org.api_key}", "content-type": "application/json"}
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return org.answer(Request(method, target, sent | headers, b"" if body is None else raw))


def registration(**changes: Any) -> dict[str, Any]:
    good = {
        "client_name": "An app",
        "application_type": "service",
        "grant_types": ["client_credentials"],
        "response_types": ["token"],
        "token_endpoint_auth_method": "private_key_jwt",
        "jwks": {"keys": [jwk_of(rsa_key(), kid="one", use="sig", alg="RS256")]},
    }
    return changed(good, changes)


def app_with(org: Org, *scopes: str, keys: list[Any] | None = None, **changes: Any) -> Client:
    """An app in the org that holds our RSA key as `one`, and grants of these scopes."""
    keys = [jwk_of(rsa_key(), kid="one")] if keys is None else keys
    client = org.add_client("An app", keys, **changes)
    for scope in scopes:
        assert call(org, "POST", f"/api/v1/apps/{client.id}/grants", grant_of(scope)).status == 200
    return client


def grant_of(scope: Any) -> dict[str, Any]:
    return {"issuer": URL, "scopeId": scope}


def signed(header: Any, claims: Any, key: PrivateKey) -> str:
    """A compact JWS with whatever header and claims, also ones that no library lets pass."""
    parts = (p if isinstance(p, bytes) else json.dumps(p).encode() for p in (header, claims))
    text = ".".join(map(b64, parts))
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    else:
        numbers = decode_dss_signature(key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        signature = b"".join(number.to_bytes(32, "big") for number in numbers)
    return f"{text}.{b64(signature)}"


def claims_of(client: Client, **changes: Any) -> dict[str, Any]:
    good = {"iss": client.id, "sub": client.id, "aud": TOKEN_URL, "exp": NOW + 300, "iat": NOW}
    return changed(good | {"jti": f"jti-{next(_numbers)}"}, changes)


def assertion_of(client: Client, key: Any = None, header: Any = RS256, **changes: Any) -> str:
    return signed(header, claims_of(client, **changes), key or rsa_key())


def proof_of(key: Any = None, header: Any = None, **changes: Any) -> str:
    """A DPoP proof for the token endpoint by our EC key, unless changed."""
    labels = {"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk_of(key or ec_key())}
    good = {"htm": "POST", "htu": TOKEN_URL, "iat": NOW, "jti": f"proof-{next(_numbers)}"}
    return signed(changed(labels, header or {}), changed(good, changes), key or ec_key())


def token_form(assertion: str, **changes: Any) -> dict[str, str]:
    good = {
        "grant_type": "client_credentials",
        "scope": READ,
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": assertion,
    }
    return changed(good, changes)


def ask(org: Org, form: Any, *, query: str = "", **headers: str) -> Response:
    """A token request. Header names have underscores for hyphens."""
    sent = {"content-type": "application/x-www-form-urlencoded"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    raw = form if isinstance(form, bytes) else urlencode(form).encode()
    return org.answer(Request("POST", "/oauth2/v1/token" + query, sent, raw))


def reason(response: Response) -> str:
    """What a refusal says, in either of Okta's dialects."""
    body: Any = response.body
    if "error" in body:
        return str(body["error_description"])
    causes = [cause["errorSummary"] for cause in body["errorCauses"]]
    return " | ".join([body["errorSummary"], *causes])


def told(response: Response) -> str:
    """Status, code and words of a refusal."""
    body: Any = response.body
    return f"{response.status} {body.get('error') or body['errorCode']} {reason(response)}"


def each(name: str, *values: object) -> list[dict[str, Any]]:
    """Changes of one member, one for each value."""
    return [{name: value} for value in values]


def cases(table: dict[str, list[Any]]) -> list[Any]:
    """Each of the cases that lead to a refusal, with the refusal."""
    rows = [(case, why, n) for why, cases in table.items() for n, case in enumerate(cases)]
    return [pytest.param(case, why, id=f"{why[:50]}-{n}") for case, why, n in rows]
