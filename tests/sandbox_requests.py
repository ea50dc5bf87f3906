"""Requests to the pretend org without sockets, made by other code than the org's."""

import base64
import functools
import hashlib
import itertools
import json
from typing import Any
from urllib.parse import urlencode

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from joserfc import jwk as joserfc_jwk

from pkj.sandbox.exchange import Request, Response
from pkj.sandbox.org import Org
from pkj.sandbox.state import Client

URL = "https://127.0.0.1:4443"
TOKEN_URL = URL + "/oauth2/v1/token"
NOW = 1_800_000_000
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
CURVES = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}

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


def jwk_of(key: PrivateKey, **members: Any) -> dict[str, Any]:
    """The public JWK, by a second JOSE library."""
    return _public_jwk(key) | members


@functools.cache
def _public_jwk(key: PrivateKey) -> dict[str, Any]:
    kind = joserfc_jwk.RSAKey if isinstance(key, rsa.RSAPrivateKey) else joserfc_jwk.ECKey
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return dict(kind.import_key(key.public_key().public_bytes(encoding, form)).as_dict())


def call(
    org: Org, method: str, target: str, body: Any = None, *, api_key: str = "", **headers: str
) -> Response:
    """A call with an API token, the super admin's unless another is given."""
    sent = {"authorization": f"SSWS {api_key or org.api_key}"}
    raw = b""
    if body is not None:
        sent["content-type"] = "application/json"
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return org.answer(Request(method, target, sent | headers, raw))


def registration(**changes: Any) -> dict[str, Any]:
    """A good one, with `changes`; a change to None takes the field out."""
    good = {
        "client_name": "An app",
        "application_type": "service",
        "grant_types": ["client_credentials"],
        "response_types": ["token"],
        "token_endpoint_auth_method": "private_key_jwt",
        "jwks": {"keys": [jwk_of(rsa_key(), kid="one", use="sig", alg="RS256")]},
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def app_with(org: Org, *scopes: str, keys: list[Any] | None = None, **changes: Any) -> Client:
    """An app in the org that holds our RSA key as `one`, and grants of these scopes."""
    keys = [jwk_of(rsa_key(), kid="one")] if keys is None else keys
    client = org.add_client("An app", keys, **changes)
    for scope in scopes:
        answer = call(org, "POST", f"/api/v1/apps/{client.id}/grants", grant_of(scope))
        assert answer.status == 200
    return client


def grant_of(scope: Any) -> dict[str, Any]:
    return {"issuer": URL, "scopeId": scope}


def claims_of(client: Client, **changes: Any) -> dict[str, Any]:
    """Good claims for an assertion, with `changes`; a change to None takes the claim out."""
    good = {
        "iss": client.id,
        "sub": client.id,
        "aud": TOKEN_URL,
        "exp": NOW + 300,
        "iat": NOW,
        "jti": f"jti-{next(_numbers)}",
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def assertion_of(client: Client, key: PrivateKey | None = None, **changes: Any) -> str:
    """An assertion by PyJWT, with kid `one`."""
    algorithm = "RS256" if key is None or isinstance(key, rsa.RSAPrivateKey) else "ES256"
    return jwt.encode(claims_of(client, **changes), key or rsa_key(), algorithm, {"kid": "one"})


def signed(header: dict[str, Any], claims: Any, key: PrivateKey) -> str:
    """A compact JWS with whatever header and claims, also ones that no library lets pass."""
    parts = [
        part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)
    ]
    text = ".".join(b64(part) for part in parts)
    digest = {"384": hashes.SHA384(), "512": hashes.SHA512()}.get(
        str(header.get("alg"))[2:], hashes.SHA256()
    )
    if isinstance(key, rsa.RSAPrivateKey):
        return f"{text}.{b64(key.sign(text.encode(), padding.PKCS1v15(), digest))}"
    r, s = decode_dss_signature(key.sign(text.encode(), ec.ECDSA(digest)))
    size = (key.curve.key_size + 7) // 8
    return f"{text}.{b64(r.to_bytes(size, 'big') + s.to_bytes(size, 'big'))}"


def token_form(assertion: str, **changes: Any) -> dict[str, str]:
    good = {
        "grant_type": "client_credentials",
        "scope": "okta.users.read",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": assertion,
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def ask(org: Org, form: Any, *, query: str = "", **headers: str) -> Response:
    """A token request. Header names have underscores for hyphens."""
    sent = {"content-type": "application/x-www-form-urlencoded"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    raw = form if isinstance(form, bytes) else urlencode(form).encode()
    return org.answer(Request("POST", "/oauth2/v1/token" + query, sent, raw))


def proof_claims(**changes: Any) -> dict[str, Any]:
    good = {"htm": "POST", "htu": TOKEN_URL, "iat": NOW - 5, "jti": f"proof-{next(_numbers)}"}
    return {name: value for name, value in (good | changes).items() if value is not None}


def ath_of(token: str) -> str:
    return b64(hashlib.sha256(token.encode()).digest())


def reason(answer: Response) -> str:
    """What an answer complains of, in either of Okta's dialects."""
    assert isinstance(answer.body, dict)
    if "error" in answer.body:
        return str(answer.body["error_description"])
    causes = [cause["errorSummary"] for cause in answer.body["errorCauses"]]
    return " | ".join([answer.body["errorSummary"], *causes])


def code(answer: Response) -> str:
    assert isinstance(answer.body, dict)
    return str(answer.body.get("error") or answer.body.get("errorCode"))
