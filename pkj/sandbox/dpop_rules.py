"""DPoP proofs (RFC 9449 section 4.3): every refusal of Okta's that a client can provoke."""

import base64
import hashlib
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from pkj.sandbox import jws
from pkj.sandbox.exchange import Refusal, oauth_refusal
from pkj.sandbox.jwk import MATERIAL, UnusableKeyError, public_key, suits, thumbprint
from pkj.sandbox.state import OrgState

OLDEST_PROOF = 300

MISSING = "The DPoP proof JWT header is missing."
SEVERAL = "Multiple DPoP proof JWT headers are not allowed."
UNPARSABLE = "The DPoP proof JWT cannot be parsed."
BAD_TYPE = "'typ' must be 'dpop+jwt' in the DPoP proof JWT."
BAD_ALGORITHM = "The DPoP proof JWT signature algorithm is invalid."
BAD_SIGNATURE = "The DPoP proof JWT signature is invalid."
BAD_METHOD = "'htm' claim in the DPoP proof JWT is invalid."
BAD_URL = "'htu' claim in the DPoP proof JWT is invalid."
BAD_TIME = "'iat' claim in the DPoP proof JWT is invalid."
FROM_THE_FUTURE = "The DPoP proof JWT is issued in the future."
TOO_OLD = "The DPoP proof JWT is issued more than five minutes in the past."
EXPIRED = "The DPoP proof JWT is expired."
BAD_ID = "'jti' claim in the DPoP proof JWT is invalid."
ALREADY_USED = "The DPoP proof JWT has already been used."
INVALID = "The DPoP proof JWT is invalid."
BAD_TOKEN_HASH = "'ath' claim in the DPoP proof does not match the presented access_token."  # noqa: S105 - a message
NOT_BOUND = "The access_token is not bound to the provided DPoP proof."
NEEDS_NONCE = "Authorization server requires nonce in DPoP proof."

# A jwk in a proof may have these beside its key; anything else "cannot be parsed".
EXTRA_MEMBERS = {"alg", "use", "kid"}


class BadProofError(Exception):
    """A proof that is refused; its text is Okta's description of what is wrong."""


@dataclass(frozen=True)
class Proof:
    """A proof that holds for its request. `jkt` is the thumbprint of the key that made it."""

    jkt: str
    claims: dict[str, Any]


def checked(org: OrgState, proof: str | None, method: str, url: str) -> Proof:
    """The proof in a DPoP header, if it is one for this method and URL; or BadProofError.

    Its jti is used up as soon as the signature holds.
    """
    if not proof:
        raise BadProofError(MISSING)
    if "," in proof:
        raise BadProofError(SEVERAL)  # the server joins repeated headers with a comma
    token = _parsed(proof)
    jwk = _verified_key(token)
    jkt = thumbprint(jwk)
    replayed = _is_replay(org, jkt, token.claims)
    if token.claims.get("htm") != method:
        raise BadProofError(BAD_METHOD)
    if token.claims.get("htu") != as_compared(url):
        raise BadProofError(BAD_URL)
    _check_time(org.now(), token.claims)
    if replayed:
        raise BadProofError(ALREADY_USED)
    return Proof(jkt, token.claims)


def as_compared(url: str) -> str:
    """The form in which Okta compares `htu`: percent-decoded, but for what a URI cannot hold.

    github.com/okta/okta-sdk-python/issues/541 and okta-sdk-nodejs/issues/521 have the refusal,
    github.com/okta/okta-sdk-java/pull/1526 and /1528 the form that Okta takes.
    """
    decoded = unquote(url)
    for character in '% "#':  # the percent sign first: the others bring new ones
        decoded = decoded.replace(character, f"%{ord(character):02X}")
    return decoded


def at_token_endpoint(org: OrgState, proof: str | None, url: str) -> str:
    """The thumbprint to bind a token to; here a proof needs a nonce of ours as well."""
    try:
        good = checked(org, proof, "POST", url)
    except BadProofError as error:
        raise oauth_refusal(400, "invalid_dpop_proof", str(error)) from None
    if good.claims.get("nonce") not in org.nonces:
        raise _nonce_challenge(org)
    return good.jkt


def check_binding(proof: Proof, token: str, jkt: object) -> None:
    """At a resource: the proof is for this token, by the key that the token is bound to."""
    digest = hashlib.sha256(token.encode()).digest()
    if proof.claims.get("ath") != base64.urlsafe_b64encode(digest).decode().rstrip("="):
        raise BadProofError(BAD_TOKEN_HASH)
    if proof.jkt != jkt:
        raise BadProofError(NOT_BOUND)


def _nonce_challenge(org: OrgState) -> Refusal:
    return oauth_refusal(400, "use_dpop_nonce", NEEDS_NONCE, {"dpop-nonce": org.nonces[-1]})


def _parsed(proof: str) -> jws.Jws:
    try:
        return jws.parse(proof)
    except jws.MalformedJwsError:
        raise BadProofError(UNPARSABLE) from None


def _verified_key(token: jws.Jws) -> dict[str, Any]:
    """The jwk in the header, after the signature was found to be its own."""
    algorithm, jwk = token.header.get("alg"), token.header.get("jwk")
    if token.header.get("typ") != "dpop+jwt":
        raise BadProofError(BAD_TYPE)
    if not isinstance(jwk, dict):
        raise BadProofError(UNPARSABLE)
    try:
        key = public_key(jwk)
    except UnusableKeyError:
        raise BadProofError(UNPARSABLE) from None
    if jwk.keys() - {"kty", *MATERIAL[jwk["kty"]]} - EXTRA_MEMBERS:
        raise BadProofError(UNPARSABLE)
    if not isinstance(algorithm, str) or not suits(algorithm, jwk):
        raise BadProofError(BAD_ALGORITHM)
    if not jws.is_signed_by(token, algorithm, key):
        raise BadProofError(BAD_SIGNATURE)
    return jwk


def _is_replay(org: OrgState, jkt: str, claims: dict[str, Any]) -> bool:
    jti = claims.get("jti")
    if not isinstance(jti, str) or not jti:
        raise BadProofError(BAD_ID)
    replayed = (jkt, jti) in org.used_proofs
    org.used_proofs.add((jkt, jti))
    return replayed


def _check_time(now: int, claims: dict[str, Any]) -> None:
    issued, expiry = claims.get("iat"), claims.get("exp", now + 1)
    if not jws.is_numeric_date(issued):
        raise BadProofError(BAD_TIME)
    if issued > now:
        raise BadProofError(FROM_THE_FUTURE)
    if now - issued > OLDEST_PROOF:
        raise BadProofError(TOO_OLD)
    if not jws.is_numeric_date(expiry):
        raise BadProofError(INVALID)
    if expiry <= now:
        raise BadProofError(EXPIRED)
