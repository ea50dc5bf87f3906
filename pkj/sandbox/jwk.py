"""JSON Web Keys: which ones Okta takes, what is in them, and their thumbprints.

Sources: RFC 7517, RFC 7518 sections 6.2 and 6.3, RFC 7638.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric import ec, rsa

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
# What a key must be for an algorithm: its kty, and its curve if it has one (RFC 7518, 3.1).
ALGORITHMS: dict[str, tuple[str, str | None]] = {
    "RS256": ("RSA", None),
    "RS384": ("RSA", None),
    "RS512": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
}


class UnusableKeyError(ValueError):
    """A JWK that is refused; its text is the reason."""


def base64url(text: object) -> bytes:
    """The octets of unpadded, canonical base64url (RFC 7515 section 2). ValueError otherwise."""
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        raise ValueError("not base64url")
    octets = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64.urlsafe_b64encode(octets).rstrip(b"=") != text.encode():
        raise ValueError("not canonical base64url")
    return octets


def suits(algorithm: object, jwk: Mapping[str, object]) -> bool:
    """Whether a key can have made signatures of this algorithm."""
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        return False
    kty, curve = ALGORITHMS[algorithm]
    return jwk.get("kty") == kty and (curve is None or jwk.get("crv") == curve)


def public_key(jwk: Mapping[str, object], *, lenient: bool = False) -> PublicKey:
    """The key in a JWK.

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
    """The SHA-256 thumbprint of a key that `public_key` has accepted (RFC 7638)."""
    members = {name: jwk[name] for name in ("kty", *MATERIAL[str(jwk["kty"])])}
    canonical = json.dumps(members, sort_keys=True, separators=(",", ":"))
    return (
        base64.urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).decode().rstrip("=")
    )


def same_material(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Whether two JWKs hold the same key, written in the same way."""
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
