"""The token endpoint: checks client assertions and DPoP proofs, and issues access tokens."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import jwt

from pkj.sandbox.apps import is_okta_scope
from pkj.sandbox.exchange import Refusal, Request, Response, form, management_refusal, oauth_refusal
from pkj.sandbox.jose import (
    MATERIAL,
    Jws,
    MalformedJwsError,
    UnusableKeyError,
    is_numeric_date,
    is_signed_by,
    parse_jws,
    public_key,
    sha256,
    suits,
    thumbprint,
)
from pkj.sandbox.state import PRIVATE_KEY_JWT, Call, Client, OrgState

# `POST /oauth2/v1/token`: the client credentials grant, checked in Okta's order.

PATH = "/oauth2/v1/token"
GRANT_TYPE = "client_credentials"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
OPENID_SCOPES = ("openid", "profile", "email", "offline_access")


def issue(org: OrgState, call: Call) -> Response:
    """Return 200 with a token for those of the requested scopes that the app was granted."""
    fields = _fields(org, call.request)
    url = org.url + PATH
    assertion, client_id = fields["client_assertion"], fields.get("client_id")
    client = _authenticated(org, assertion, client_id, url)
    jkt = None
    if client.dpop_bound or org.require_dpop:
        jkt = _bound_key(org, call.request.headers.get("dpop"), url)
    _check_grant_type(client, fields["grant_type"])
    scopes = _granted(client, fields.get("scope", ""))
    body = {
        "token_type": "DPoP" if jkt else "Bearer",
        "expires_in": TOKEN_LIFETIME,
        "access_token": _mint(org, client, scopes, jkt),
        "scope": " ".join(scopes),
    }
    return Response(200, body, {"dpop-nonce": org.nonces[-1]} if jkt else {})


def _fields(org: OrgState, request: Request) -> dict[str, str]:
    """Return the form if it has a grant type, an assertion, and no other credentials."""
    if request.query.keys() & {"client_assertion", "client_secret"}:
        raise oauth_refusal(
            400, "invalid_request", "Client credentials cannot be supplied via query parameters."
        )
    fields = form(request)
    if "grant_type" not in fields:
        raise oauth_refusal(
            400,
            "invalid_request",
            "The token request must specify a 'grant_type'. Valid values: [client_credentials]",
        )
    if "client_id" in fields and fields["client_id"] not in org.clients:
        # Only here does this endpoint use the shape of the management API.
        reason = "Invalid value for 'client_id' parameter."
        raise management_refusal(400, "invalid_client", reason)
    _check_credentials(request, fields)
    return fields


def _check_credentials(request: Request, fields: dict[str, str]) -> None:
    basic = request.headers.get("authorization", "").lower().startswith("basic ")
    secret = basic or "client_secret" in fields
    if "client_assertion" not in fields:
        raise _invalid_client(BAD_CREDENTIALS if secret else "No client credentials found.")
    if secret:
        raise oauth_refusal(
            401,
            "invalid_request",
            "Cannot supply multiple client credentials. Use one of the following: credentials in "
            "the Authorization header, credentials in the post body, or a client_assertion in the "
            "post body.",
        )
    if fields.get("client_assertion_type") != ASSERTION_TYPE:
        raise oauth_refusal(400, "invalid_request", "The client_assertion_type is invalid.")


def _check_grant_type(client: Client, grant_type: str) -> None:
    if grant_type != GRANT_TYPE:
        raise oauth_refusal(
            400,
            "unsupported_grant_type",
            "The authorization grant type is not supported by the authorization server. "
            "Configured grant types: [client_credentials].",
        )
    configured = client.metadata["grant_types"]
    if GRANT_TYPE not in configured:
        description = (
            "The client is not authorized to use the provided grant type. "
            f"Configured grant types: [{', '.join(configured)}]."
        )
        raise oauth_refusal(400, "unauthorized_client", description)


def _granted(client: Client, requested: str) -> list[str]:
    """Return those of the requested scopes that are granted, in order, without repetitions."""
    scopes = list(dict.fromkeys(scope for scope in requested.split(" ") if scope))
    if not scopes:
        raise oauth_refusal(400, "invalid_scope", "No scopes were requested.")
    for scope in scopes:
        _check_scope(scope)
    granted = [scope for scope in scopes if scope in client.grants]
    if not granted:
        raise oauth_refusal(
            400, "consent_required", "You are not allowed any of the requested scopes."
        )
    return granted


def _check_scope(scope: str) -> None:
    if scope in OPENID_SCOPES:
        description = f"Cannot request '{scope}' scopes using client credentials."
        raise oauth_refusal(400, "invalid_scope", description)
    if not is_okta_scope(scope):
        raise oauth_refusal(
            400,
            "invalid_scope",
            "One or more scopes are not configured for the authorization server resource.",
        )
    if scope.endswith(".self"):
        raise oauth_refusal(
            400,
            "client_credentials_self_scope_requested",
            "The 'client_credentials' grant type may not request .self scopes.",
        )


# Access tokens: in the form of Okta's, but marked as fake.

TOKEN_LIFETIME = 3600


def _mint(org: OrgState, client: Client, scopes: Sequence[str], jkt: str | None) -> str:
    """Return a token for these scopes, bound to the key with the thumbprint `jkt`, if any."""
    now = org.now()
    claims: dict[str, object] = {
        "pretend": "made by a sandbox, worth nothing at Okta",
        "ver": 1,
        "jti": "AT.pretend" + secrets.token_urlsafe(24),
        "iss": org.url,
        "aud": org.url,
        "sub": client.id,
        "iat": now,
        "exp": now + TOKEN_LIFETIME,
        "cid": client.id,
        "scp": list(scopes),
    }
    if jkt:
        claims["cnf"] = {"jkt": jkt}
    header = {"kid": "pretend", "typ": "application/okta-internal-at+jwt"}
    return jwt.encode(claims, org.signing_key, "ES256", header)


def claims_of(org: OrgState, token: str) -> dict[str, object] | None:
    """Return the claims of a valid token of this org whose app is active; otherwise None."""
    try:
        parts = parse_jws(token)
    except MalformedJwsError:
        return None
    if parts.header.get("alg") != "ES256":
        return None
    if not is_signed_by(parts, "ES256", org.signing_key.public_key()):
        return None
    claims = parts.claims
    client = org.clients.get(str(claims["cid"]))
    lives = client is not None and client.status == "ACTIVE" and claims["aud"] == org.url
    return claims if lives and org.now() < int(str(claims["exp"])) else None


# Client assertions (RFC 7523 section 3): every documented refusal.

# The lifetime of an assertion must be below this, by Okta's clock.
LONGEST_LIFE = 3600

BAD_CREDENTIALS = (
    "Client authentication failed. Either the client or the client credentials are invalid."
)
BAD_ASSERTION = "The parsing of the client_assertion failed."
BAD_ASSERTION_ALGORITHM = "The client_assertion JWT signature algorithm is invalid."


def _invalid_client(description: str) -> Refusal:
    return oauth_refusal(401, "invalid_client", description)


def _authenticated(org: OrgState, assertion: str, client_id: str | None, audience: str) -> Client:
    """Return the client that made this assertion for this `audience`.

    A jti is used up as soon as the client is known, whatever comes of the request. With a
    `client_id` in the form as well, both must name the same client.
    """
    try:
        token = parse_jws(assertion)
    except MalformedJwsError:
        raise _invalid_client(BAD_ASSERTION) from None
    client = _issuer(org, token.claims)
    replayed = _is_used_assertion(org, client, token.claims)
    if client_id not in (None, client.id):
        raise _invalid_client(BAD_CREDENTIALS)
    _check_app(client)
    _check_signature(token, _signing_key(client, token.header))
    _check_assertion(org, client, token.claims, audience)
    if replayed:
        raise _invalid_client("The client_assertion token has already been used.")
    return client


def _issuer(org: OrgState, claims: dict[str, Any]) -> Client:
    issuer = claims.get("iss")
    client = org.clients.get(issuer) if isinstance(issuer, str) else None
    if client is None or client.status != "ACTIVE":
        raise _invalid_client("The issuer claim for client_assertion is not a valid client_id.")
    return client


def _is_used_assertion(org: OrgState, client: Client, claims: dict[str, Any]) -> bool:
    if "jti" not in claims:
        return False
    if not isinstance(claims["jti"], str):
        raise _invalid_client(BAD_ASSERTION)
    use = (client.id, claims["jti"])
    replayed = use in org.used_assertions
    org.used_assertions.add(use)
    return replayed


def _check_app(client: Client) -> None:
    if client.metadata["token_endpoint_auth_method"] != PRIVATE_KEY_JWT:
        raise _invalid_client(
            "Client Credentials requests to the Org Authorization Server must use the "
            "private_key_jwt token_endpoint_auth_method."
        )
    if client.metadata["application_type"] != "service":
        raise _invalid_client(
            "Only clients with 'application_type' of 'service' may use the client_credentials "
            "'grant_type' with the Org Authorization Server."
        )
    if client.metadata.get("jwks_uri"):
        raise _invalid_client("Error retrieving the client JWKSet from jwks_uri.")
    if not client.keys:
        raise _invalid_client(
            "The client does not have a JWKSet configured, but the client_assertion requires one."
        )


def _signing_key(client: Client, header: dict[str, Any]) -> dict[str, Any]:
    """Return the active key with the header's kid; without a kid, the only active one."""
    active = [key for key in client.keys if key["status"] == "ACTIVE"]
    if "kid" in header:
        active = [key for key in active if key["kid"] is not None and key["kid"] == header["kid"]]
    if len(active) != 1:
        raise _invalid_client("The client_assertion JWT kid is invalid.")
    return active[0]


def _check_signature(token: Jws, jwk: dict[str, Any]) -> None:
    algorithm = token.header.get("alg")
    if not isinstance(algorithm, str) or not suits(algorithm, jwk):
        raise _invalid_client(BAD_ASSERTION_ALGORITHM)
    if jwk.get("alg") not in (None, algorithm):
        raise _invalid_client(BAD_ASSERTION_ALGORITHM)
    if jwk["use"] not in (None, "sig"):
        raise _invalid_client(
            "The public key being used for client assertion has an invalid 'use' parameter. "
            "Valid values for the 'use' parameter are sig."
        )
    try:
        key = public_key(jwk, lenient=True)
    except UnusableKeyError:
        raise _invalid_client("The client JWKSet is invalid.") from None
    if not is_signed_by(token, algorithm, key):
        raise _invalid_client("The client_assertion signature is invalid.")


def _check_assertion(org: OrgState, client: Client, claims: dict[str, Any], audience: str) -> None:
    now, expiry, issued = org.now(), claims.get("exp"), claims.get("iat", 0)
    if claims.get("sub") != client.id:
        raise _invalid_client("The subject claim for client_assertion is not a valid client_id.")
    if claims.get("aud") != audience:
        raise _invalid_client(
            "The audience claim for client_assertion must be the endpoint invoked for the request."
        )
    if not is_numeric_date(expiry):
        raise _invalid_client(
            "The client_assertion must contain the 'exp' claim as seconds since epoch."
        )
    if expiry <= now:
        raise _invalid_client("The client_assertion token is expired.")
    if expiry - now >= LONGEST_LIFE:
        raise _invalid_client(
            "The client_assertion token has an expiration too far into the future."
        )
    if not is_numeric_date(issued):
        raise _invalid_client(BAD_ASSERTION)
    if issued > now:
        raise _invalid_client("The client_assertion token must be issued before the current time.")


# DPoP proofs (RFC 9449 section 4.3): every refusal that a client can provoke.

OLDEST_PROOF = 300

BAD_PROOF = "The DPoP proof JWT cannot be parsed."

# A jwk in a proof may also have these members; any other "cannot be parsed".
EXTRA_MEMBERS = {"alg", "use", "kid"}


class BadProofError(Exception):
    """A proof is refused; the text is Okta's description."""


@dataclass(frozen=True)
class Proof:
    """A valid proof. `jkt` is the thumbprint of its key."""

    jkt: str
    claims: dict[str, Any]


def checked_proof(org: OrgState, proof: str | None, method: str, url: str) -> Proof:
    """Return the proof in a DPoP header if it is for this method and URL. Raises BadProofError.

    Its jti is used up as soon as the signature holds.
    """
    if not proof:
        raise BadProofError("The DPoP proof JWT header is missing.")
    if "," in proof:  # the server joins repeated headers with a comma
        raise BadProofError("Multiple DPoP proof JWT headers are not allowed.")
    try:
        token = parse_jws(proof)
    except MalformedJwsError:
        raise BadProofError(BAD_PROOF) from None
    jwk = _verified_key(token)
    jkt = thumbprint(jwk)
    replayed = _is_used_proof(org, jkt, token.claims)
    if token.claims.get("htm") != method:
        raise BadProofError("'htm' claim in the DPoP proof JWT is invalid.")
    if token.claims.get("htu") != _as_compared(url):
        raise BadProofError("'htu' claim in the DPoP proof JWT is invalid.")
    _check_proof_time(org.now(), token.claims)
    if replayed:
        raise BadProofError("The DPoP proof JWT has already been used.")
    return Proof(jkt, token.claims)


def _as_compared(url: str) -> str:
    """Return `htu` as Okta compares it: percent-decoded, except what a URI cannot contain.

    github.com/okta/okta-sdk-python/issues/541 and okta-sdk-nodejs/issues/521 have the refusal,
    github.com/okta/okta-sdk-java/pull/1526 and /1528 the form that Okta takes.
    """
    decoded = unquote(url)
    for character in '% "#':  # the percent sign first: the others add some
        decoded = decoded.replace(character, f"%{ord(character):02X}")
    return decoded


def _bound_key(org: OrgState, proof: str | None, url: str) -> str:
    """Return the thumbprint to bind a token to; the proof must have a nonce of this org."""
    try:
        good = checked_proof(org, proof, "POST", url)
    except BadProofError as error:
        raise oauth_refusal(400, "invalid_dpop_proof", str(error)) from None
    if good.claims.get("nonce") not in org.nonces:
        description = "Authorization server requires nonce in DPoP proof."
        nonce = {"dpop-nonce": org.nonces[-1]}
        raise oauth_refusal(400, "use_dpop_nonce", description, nonce)
    return good.jkt


def check_binding(proof: Proof, token: str, jkt: object) -> None:
    """Check that the proof at an API is for this token, by the key the token is bound to."""
    if proof.claims.get("ath") != sha256(token):
        raise BadProofError(
            "'ath' claim in the DPoP proof does not match the presented access_token."
        )
    if proof.jkt != jkt:
        raise BadProofError("The access_token is not bound to the provided DPoP proof.")


def _verified_key(token: Jws) -> dict[str, Any]:
    """Return the jwk in the header after verifying the signature with it."""
    algorithm, jwk = token.header.get("alg"), token.header.get("jwk")
    if token.header.get("typ") != "dpop+jwt":
        raise BadProofError("'typ' must be 'dpop+jwt' in the DPoP proof JWT.")
    if not isinstance(jwk, dict):
        raise BadProofError(BAD_PROOF)
    try:
        key = public_key(jwk)
    except UnusableKeyError:
        raise BadProofError(BAD_PROOF) from None
    if jwk.keys() - {"kty", *MATERIAL[jwk["kty"]]} - EXTRA_MEMBERS:
        raise BadProofError(BAD_PROOF)
    if not isinstance(algorithm, str) or not suits(algorithm, jwk):
        raise BadProofError("The DPoP proof JWT signature algorithm is invalid.")
    if not is_signed_by(token, algorithm, key):
        raise BadProofError("The DPoP proof JWT signature is invalid.")
    return jwk


def _is_used_proof(org: OrgState, jkt: str, claims: dict[str, Any]) -> bool:
    jti = claims.get("jti")
    if not isinstance(jti, str) or not jti:
        raise BadProofError("'jti' claim in the DPoP proof JWT is invalid.")
    replayed = (jkt, jti) in org.used_proofs
    org.used_proofs.add((jkt, jti))
    return replayed


def _check_proof_time(now: int, claims: dict[str, Any]) -> None:
    issued, expiry = claims.get("iat"), claims.get("exp", now + 1)
    if not is_numeric_date(issued):
        raise BadProofError("'iat' claim in the DPoP proof JWT is invalid.")
    if issued > now:
        raise BadProofError("The DPoP proof JWT is issued in the future.")
    if now - issued > OLDEST_PROOF:
        raise BadProofError("The DPoP proof JWT is issued more than five minutes in the past.")
    if not is_numeric_date(expiry):
        raise BadProofError("The DPoP proof JWT is invalid.")
    if expiry <= now:
        raise BadProofError("The DPoP proof JWT is expired.")
