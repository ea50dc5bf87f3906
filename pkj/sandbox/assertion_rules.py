"""Client assertions (RFC 7523 section 3): every way in which Okta is documented to refuse one."""

from typing import Any

from pkj.sandbox import jws
from pkj.sandbox.exchange import Refusal, oauth_refusal
from pkj.sandbox.jwk import UnusableKeyError, public_key, suits
from pkj.sandbox.state import PRIVATE_KEY_JWT, Client, OrgState

# An assertion may live for less than this, by Okta's clock.
LONGEST_LIFE = 3600

UNPARSABLE = "The parsing of the client_assertion failed."
BAD_ISSUER = "The issuer claim for client_assertion is not a valid client_id."
BAD_SUBJECT = "The subject claim for client_assertion is not a valid client_id."
BAD_AUDIENCE = (
    "The audience claim for client_assertion must be the endpoint invoked for the request."
)
NO_EXPIRY = "The client_assertion must contain the 'exp' claim as seconds since epoch."
EXPIRED = "The client_assertion token is expired."
EXPIRES_TOO_LATE = "The client_assertion token has an expiration too far into the future."
ISSUED_LATER = "The client_assertion token must be issued before the current time."
ALREADY_USED = "The client_assertion token has already been used."
BAD_SIGNATURE = "The client_assertion signature is invalid."
BAD_KID = "The client_assertion JWT kid is invalid."
BAD_ALGORITHM = "The client_assertion JWT signature algorithm is invalid."
BAD_KEYS = "The client JWKSet is invalid."
BAD_USE = (
    "The public key being used for client assertion has an invalid 'use' parameter. "
    "Valid values for the 'use' parameter are sig."
)
NO_KEYS = "The client does not have a JWKSet configured, but the client_assertion requires one."
KEYS_UNREACHABLE = "Error retrieving the client JWKSet from jwks_uri."
BAD_CLIENT = (
    "Client authentication failed. Either the client or the client credentials are invalid."
)
WRONG_METHOD = (
    "Client Credentials requests to the Org Authorization Server must use the private_key_jwt "
    "token_endpoint_auth_method."
)
NO_SERVICE = (
    "Only clients with 'application_type' of 'service' may use the client_credentials "
    "'grant_type' with the Org Authorization Server."
)


def invalid_client(description: str) -> Refusal:
    return oauth_refusal(401, "invalid_client", description)


def authenticated(org: OrgState, assertion: str, client_id: str | None, audience: str) -> Client:
    """The client that made this assertion for this `audience`.

    A jti is used up as soon as the client is known, whatever comes of the request. With a
    `client_id` in the form as well, both must name the same client.
    """
    try:
        token = jws.parse(assertion)
    except jws.MalformedJwsError:
        raise invalid_client(UNPARSABLE) from None
    client = _issuer(org, token.claims)
    replayed = _is_replay(org, client, token.claims)
    if client_id not in (None, client.id):
        raise invalid_client(BAD_CLIENT)
    _check_app(client)
    _check_signature(token, _signing_key(client, token.header))
    _check_claims(org, client, token.claims, audience)
    if replayed:
        raise invalid_client(ALREADY_USED)
    return client


def _issuer(org: OrgState, claims: dict[str, Any]) -> Client:
    issuer = claims.get("iss")
    client = org.clients.get(issuer) if isinstance(issuer, str) else None
    if client is None or client.status != "ACTIVE":
        raise invalid_client(BAD_ISSUER)
    return client


def _is_replay(org: OrgState, client: Client, claims: dict[str, Any]) -> bool:
    if "jti" not in claims:
        return False
    if not isinstance(claims["jti"], str):
        raise invalid_client(UNPARSABLE)
    use = (client.id, claims["jti"])
    replayed = use in org.used_assertions
    org.used_assertions.add(use)
    return replayed


def _check_app(client: Client) -> None:
    if client.metadata["token_endpoint_auth_method"] != PRIVATE_KEY_JWT:
        raise invalid_client(WRONG_METHOD)
    if client.metadata["application_type"] != "service":
        raise invalid_client(NO_SERVICE)
    if client.metadata.get("jwks_uri"):
        raise invalid_client(KEYS_UNREACHABLE)
    if not client.keys:
        raise invalid_client(NO_KEYS)


def _signing_key(client: Client, header: dict[str, Any]) -> dict[str, Any]:
    """The active key of the header's kid; the only active one where the header has none."""
    active = [key for key in client.keys if key["status"] == "ACTIVE"]
    if "kid" in header:
        active = [key for key in active if key["kid"] is not None and key["kid"] == header["kid"]]
    if len(active) != 1:
        raise invalid_client(BAD_KID)
    return active[0]


def _check_signature(token: jws.Jws, jwk: dict[str, Any]) -> None:
    algorithm = token.header.get("alg")
    if not isinstance(algorithm, str) or not suits(algorithm, jwk):
        raise invalid_client(BAD_ALGORITHM)
    if jwk.get("alg") not in (None, algorithm):
        raise invalid_client(BAD_ALGORITHM)
    if jwk["use"] not in (None, "sig"):
        raise invalid_client(BAD_USE)
    try:
        key = public_key(jwk, lenient=True)
    except UnusableKeyError:
        raise invalid_client(BAD_KEYS) from None
    if not jws.is_signed_by(token, algorithm, key):
        raise invalid_client(BAD_SIGNATURE)


def _check_claims(org: OrgState, client: Client, claims: dict[str, Any], audience: str) -> None:
    now, expiry, issued = org.now(), claims.get("exp"), claims.get("iat", 0)
    if claims.get("sub") != client.id:
        raise invalid_client(BAD_SUBJECT)
    if claims.get("aud") != audience:
        raise invalid_client(BAD_AUDIENCE)
    if not jws.is_numeric_date(expiry):
        raise invalid_client(NO_EXPIRY)
    if expiry <= now:
        raise invalid_client(EXPIRED)
    if expiry - now >= LONGEST_LIFE:
        raise invalid_client(EXPIRES_TOO_LATE)
    if not jws.is_numeric_date(issued):
        raise invalid_client(UNPARSABLE)
    if issued > now:
        raise invalid_client(ISSUED_LATER)
