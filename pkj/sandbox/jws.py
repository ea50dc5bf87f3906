"""Compact JSON Web Signatures (RFC 7515): taken apart and verified, by this package's own code."""

from dataclasses import dataclass
from typing import TypeGuard

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from pkj.sandbox.body import strict_json
from pkj.sandbox.jwk import PublicKey, base64url

HASHES: dict[str, hashes.HashAlgorithm] = {
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}


class MalformedJwsError(ValueError):
    """Not three parts of base64url with two JSON objects in front."""


@dataclass(frozen=True)
class Jws:
    """The parts of a token; `signed` is what the signature is over."""

    header: dict[str, object]
    claims: dict[str, object]
    signed: bytes
    signature: bytes


def parse(compact: str) -> Jws:
    """Take a token apart without believing any of it. MalformedJwsError if that is impossible."""
    try:
        first, second, third = compact.split(".")
        header, claims = strict_json(base64url(first)), strict_json(base64url(second))
        signature = base64url(third)
    except ValueError:
        raise MalformedJwsError("not a compact JWS of JSON objects") from None
    # `crit` lists extensions that a reader must understand (RFC 7515, 4.1.11): none here.
    if not isinstance(header, dict) or not isinstance(claims, dict) or "crit" in header:
        raise MalformedJwsError("not a compact JWS of JSON objects")
    return Jws(header, claims, f"{first}.{second}".encode(), signature)


def is_signed_by(jws: Jws, algorithm: str, key: PublicKey) -> bool:
    """Whether the signature is this key's; the key must suit the algorithm (`jwk.suits`)."""
    digest = HASHES[algorithm[2:]]
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(jws.signature, jws.signed, padding.PKCS1v15(), digest)
        else:
            key.verify(_der(jws.signature, key), jws.signed, ec.ECDSA(digest))
    except InvalidSignature:
        return False
    return True


def is_numeric_date(value: object) -> TypeGuard[int | float]:
    """Whether a claim is a NumericDate (RFC 7519 section 2): in JSON, true is no number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _der(signature: bytes, key: ec.EllipticCurvePublicKey) -> bytes:
    """The DER form of r and s, which a JWS holds side by side (RFC 7518 section 3.4)."""
    size = (key.curve.key_size + 7) // 8
    if len(signature) != 2 * size:
        raise InvalidSignature
    r, s = signature[:size], signature[size:]
    return encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
