"""JSON Web Keys and Signatures: read, verified, and accepted or refused as Okta does.

Sources: RFC 7515, RFC 7517, RFC 7518 sections 6.2 and 6.3, RFC 7638. PyJWT is not used here:
the client signs with it, so it must not be the judge as well.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from pkj.sandbox.exchange import Refusal, management_refusal, strict_json
from pkj.sandbox.state import new_id

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

SHORTEST_RSA = 2048
SHORT_RSA = "RSA key length in the 'jwks' is less than '2,048' bits for the given key."
PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
MATERIAL = {"RSA": ("e", "n"), "EC": ("crv", "x", "y")}
CURVES: dict[str, tuple[ec.EllipticCurve, int]] = {
    "P-256": (ec.SECP256R1(), 32),
    "P-384": (ec.SECP384R1(), 48),
    "P-521": (ec.SECP521R1(), 66),
}
# The kty of the keys for an algorithm, and the curve if there is one (RFC 7518, 3.1).
ALGORITHMS: dict[str, tuple[str, str | None]] = {
    "RS256": ("RSA", None),
    "RS384": ("RSA", None),
    "RS512": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
}


class UnusableKeyError(ValueError):
    """A JWK is refused; the text is the reason."""


def base64url(text: object) -> bytes:
    """Decode unpadded, canonical base64url (RFC 7515 section 2). Raises ValueError."""
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        raise ValueError("not base64url")
    octets = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64.urlsafe_b64encode(octets).rstrip(b"=") != text.encode():
        raise ValueError("not canonical base64url")
    return octets


def sha256(text: str) -> str:
    """Return the SHA-256 hash of a text in base64url."""
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def suits(algorithm: object, jwk: Mapping[str, object]) -> bool:
    """Return whether a key is for this algorithm."""
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        return False
    kty, curve = ALGORITHMS[algorithm]
    return jwk.get("kty") == kty and (curve is None or jwk.get("crv") == curve)


def public_key(jwk: Mapping[str, object], *, lenient: bool = False) -> PublicKey:
    """Return the key in a JWK.

    `lenient` also reads n and e in standard base64 with padding and line breaks, as the
    scripts of 2021 sent them. UnusableKeyError for anything that is no such key.
    """
    if PRIVATE_MEMBERS & jwk.keys():
        raise UnusableKeyError("The key must not have private members.")
    kty = jwk.get("kty")
    if kty == "RSA":
        return _rsa_key(jwk, lenient)
    if kty == "EC":
        return _ec_key(jwk)
    raise UnusableKeyError("'kty' must be 'RSA' or 'EC'.")


def thumbprint(jwk: Mapping[str, object]) -> str:
    """Return the SHA-256 thumbprint of a key that `public_key` accepts (RFC 7638)."""
    members = {name: jwk[name] for name in ("kty", *MATERIAL[str(jwk["kty"])])}
    canonical = json.dumps(members, sort_keys=True, separators=(",", ":"))
    return sha256(canonical)


def same_material(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Return whether two JWKs hold the same key in the same encoding."""
    names = ("kty", *MATERIAL["RSA"], *MATERIAL["EC"])
    return all(one.get(name) == other.get(name) for name in names)


def _rsa_key(jwk: Mapping[str, object], lenient: bool) -> rsa.RSAPublicKey:
    if jwk.get("n") is None:
        raise UnusableKeyError(SHORT_RSA)  # as recorded: a key without n counts as too short
    read = _lenient_uint if lenient else _uint
    try:
        n, e = read(jwk.get("n")), read(jwk.get("e"))
    except ValueError:
        message = "'n' and 'e' must be Base64urlUInt-encoded values (RFC 7518)."
        raise UnusableKeyError(message) from None
    if n.bit_length() < SHORTEST_RSA:
        raise UnusableKeyError(SHORT_RSA)
    try:
        return rsa.RSAPublicNumbers(e, n).public_key()
    except ValueError:
        raise UnusableKeyError("'n' and 'e' are not an RSA public key.") from None


def _ec_key(jwk: Mapping[str, object]) -> ec.EllipticCurvePublicKey:
    crv = jwk.get("crv")
    if not isinstance(crv, str) or crv not in CURVES:
        raise UnusableKeyError("'crv' must be 'P-256', 'P-384' or 'P-521'.")
    curve, size = CURVES[crv]
    try:
        x, y = _coordinate(jwk.get("x"), size), _coordinate(jwk.get("y"), size)
        return ec.EllipticCurvePublicNumbers(x, y, curve).public_key()
    except ValueError:
        raise UnusableKeyError(f"'x' and 'y' are not a point on {crv}.") from None


def _coordinate(text: object, size: int) -> int:
    octets = base64url(text)
    if len(octets) != size:
        raise ValueError("a coordinate has the full size of its field: RFC 7518, 6.2.1.2")
    return int.from_bytes(octets, "big")


def _uint(text: object) -> int:
    octets = base64url(text)
    if not octets or octets[0] == 0:
        raise ValueError("Base64urlUInt is minimal: RFC 7518 section 2")
    return int.from_bytes(octets, "big")


def _lenient_uint(text: object) -> int:
    if not isinstance(text, str):
        raise ValueError("not text")  # noqa: TRY004 - one kind of error for one kind of mistake
    plain = re.sub(r"\s", "", text).rstrip("=").replace("+", "-").replace("/", "_")
    return int.from_bytes(base64url(plain), "big")


# Compact JSON Web Signatures (RFC 7515).

HASHES: dict[str, hashes.HashAlgorithm] = {
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}


class MalformedJwsError(ValueError):
    """A token is not two JSON objects and a signature, all in base64url."""


@dataclass(frozen=True)
class Jws:
    """The parts of a token; `signed` is the text that the signature is for."""

    header: dict[str, object]
    claims: dict[str, object]
    signed: bytes
    signature: bytes


def parse_jws(compact: str) -> Jws:
    """Split a token without verifying it. Raises MalformedJwsError."""
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
    """Return whether the signature is by this key, which must be for the algorithm."""
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
    """Return whether a claim is a NumericDate (RFC 7519 section 2); true is not a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _der(signature: bytes, key: ec.EllipticCurvePublicKey) -> bytes:
    """Return the DER form of r and s, which a JWS concatenates (RFC 7518 section 3.4)."""
    size = (key.curve.key_size + 7) // 8
    if len(signature) != 2 * size:
        raise InvalidSignature
    r, s = signature[:size], signature[size:]
    return encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))


# The keys that an app may have: each alone, and all together.

MOST_KEYS = 50
ONE_NAMELESS = "A 'kid' is required for every key when the 'jwks' has more than one."
SAME_KID = "All keys in the 'jwks' must have a unique `kid`."
TOO_MANY = "The 'jwks' can't have more than 50 keys."

Key = dict[str, Any]


def key_refusal(reason: str) -> Refusal:
    """Return 400 as recorded, with the reason in errorCauses."""
    return management_refusal(400, "E0000001", "Api validation failed: JsonWebKey", reason)


def accepted_set(jwks: object, known: Sequence[Key] = (), *, lenient: bool) -> list[Key]:
    """Return the keys of a JWK Set, as they are shown later. `known` ones are accepted as is."""
    keys = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(keys, list) or not keys:
        raise key_refusal("The 'jwks' must have a list of 'keys'.")
    shown = [accepted_key(key, known, lenient=lenient) for key in keys]
    check_together(shown)
    return shown


def accepted_key(jwk: object, known: Sequence[Key] = (), *, lenient: bool) -> Key:
    """Return a JWK as it is shown later; 400 E0000001 if it is not for signatures."""
    if not isinstance(jwk, dict):
        raise key_refusal("A key must be a JSON object.")
    before = next((key for key in known if same_material(key, jwk)), None)
    try:
        public_key(jwk, lenient=lenient or before is not None)
        _check_labels(jwk)
    except UnusableKeyError as error:
        raise key_refusal(str(error)) from None
    return shown_key(jwk, before)


def check_together(keys: Sequence[Key]) -> None:
    """Refuse more than 50 keys; two or more must have different kids."""
    if len(keys) > MOST_KEYS:
        raise key_refusal(TOO_MANY)
    kids = [key["kid"] for key in keys]
    if len(kids) > 1 and None in kids:
        raise key_refusal(ONE_NAMELESS)
    if len(set(kids)) < len(kids):
        raise key_refusal(SAME_KID)


def shown_key(jwk: Mapping[str, Any], before: Key | None = None) -> Key:
    """Return a key, as in the recordings; one that existed `before` keeps its id."""
    shown = {
        "kty": jwk.get("kty"),
        "id": before["id"] if before else new_id("pks"),
        "status": jwk.get("status") or "ACTIVE",
        "kid": jwk.get("kid"),
        "use": jwk.get("use"),
    }
    alg = {"alg": jwk["alg"]} if jwk.get("alg") else {}
    return shown | alg | {name: jwk.get(name) for name in MATERIAL.get(str(jwk.get("kty")), ())}


def _check_labels(jwk: Mapping[str, object]) -> None:
    kid, alg = jwk.get("kid"), jwk.get("alg")
    if kid is not None and not (isinstance(kid, str) and kid.strip()):
        raise UnusableKeyError("'kid' must be a string that is not blank.")
    if jwk.get("use") not in (None, "sig"):
        raise UnusableKeyError("'use' must be 'sig'.")
    if alg is not None and not suits(alg, jwk):
        raise UnusableKeyError("'alg' must be a signature algorithm of the key's type.")
    if jwk.get("status") not in (None, "ACTIVE", "INACTIVE"):
        raise UnusableKeyError("'status' must be 'ACTIVE' or 'INACTIVE'.")
