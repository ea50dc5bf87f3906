"""An RSA key and its forms: PEM, modulus, JWK, thumbprint. Also where `kid` is chosen."""

import base64
import hashlib
import re

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from pkj.errors import WrongHere

EXPONENT = 65537
EXPONENT_BASE64URL = "AQAB"
LEAST_BITS = 2048
"""Okta refuses shorter RSA keys (release notes 2020.06)."""

NEW_KEY = "put the right key back, or make another with `python generate_keys.py --force`"
NEW_MODULUS = f"empty MODULUS, PUBLIC_KEY and KEY_ID: they follow from PRIVATE_KEY; {NEW_KEY}"


def generate(bits: int) -> rsa.RSAPrivateKey:
    """A new private key of `bits` bits with the exponent 65537."""
    return rsa.generate_private_key(public_exponent=EXPONENT, key_size=bits)


def private_pem(key: rsa.RSAPrivateKey) -> str:
    """PKCS#8, unencrypted (RFC 5958)."""
    form = serialization.PrivateFormat.PKCS8
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, plain).decode().strip()


def public_pem(modulus: int) -> str:
    """SubjectPublicKeyInfo (RFC 5280)."""
    key = rsa.RSAPublicNumbers(EXPONENT, modulus).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.PEM, form).decode().strip()


def modulus(key: rsa.RSAPrivateKey) -> int:
    return key.public_key().public_numbers().n


def load_private(text: str, *, check: bool = True) -> rsa.RSAPrivateKey:
    r"""The private key in a PEM text (PKCS#8 or PKCS#1), which may be one line with `\n`.

    cryptography's own check of the numbers takes some 30 ms; a signature that verifies says
    as much for this use, in one. Without `check` none is made: that is for who verifies
    what the key signs anyway (assertion.sign). Raises WrongHere for anything that is not
    an RSA key this flow can use.
    """
    pem = text.replace("\\r", "").replace("\\n", "\n").strip()
    _refuse_other_forms(pem)
    try:
        key = serialization.load_pem_private_key(
            pem.encode("utf-8", "replace"), password=None, unsafe_skip_rsa_key_validation=True
        )
    except (ValueError, TypeError, UnsupportedAlgorithm) as cause:
        raise _wrong_key("cannot be read as a PEM private key", NEW_KEY) from cause
    if not isinstance(key, rsa.RSAPrivateKey):
        raise _wrong_key("is not an RSA key: this flow signs with RS256", NEW_KEY)
    if key.public_key().public_numbers().e != EXPONENT:
        raise _wrong_key(f"has a public exponent other than {EXPONENT}", NEW_KEY)
    _refuse_short(modulus(key), "PRIVATE_KEY", NEW_KEY)
    if check:
        _try(key)
    return key


def damaged() -> WrongHere:
    """The error for a private key whose signatures do not verify."""
    hint = (
        "restore it from a copy, or run `python generate_keys.py --force`,"
        " then `python create_okta_service_app.py`"
    )
    return _wrong_key("is damaged: what it signs does not verify", hint)


def base64url(raw: bytes) -> str:
    """Base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def digest(text: str) -> str:
    """SHA-256 in base64url: a thumbprint of these members (RFC 7638), a token's `ath`."""
    return base64url(hashlib.sha256(text.encode()).digest())


def to_base64url(number: int) -> str:
    """Base64urlUInt of RFC 7518 section 2: unsigned, big-endian, no padding."""
    return base64url(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def from_base64url(text: str) -> int | None:
    """The number, also from what the original scripts wrote: standard base64 in lines.

    None if it is not base64 of either alphabet.
    """
    # An org may hold thousands of keys to be read: this is the fast way to say it.
    compact = "".join(text.split()).rstrip("=").replace("+", "-").replace("/", "_")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", compact) or len(compact) % 4 == 1:
        return None
    return int.from_bytes(base64.urlsafe_b64decode(compact + "=" * (-len(compact) % 4)), "big")


def load_modulus(text: str) -> int:
    """The number that MODULUS stands for. Raises WrongHere."""
    number = from_base64url(text)
    if number is None:
        raise WrongHere("MODULUS is not base64url", NEW_MODULUS, setting="MODULUS")
    _refuse_short(number, "MODULUS", NEW_MODULUS)
    return number


def thumbprint(modulus: int) -> str:
    """RFC 7638 with SHA-256, in base64url: the members in this order, without blanks."""
    n = to_base64url(modulus)
    return digest(f'{{"e":"{EXPONENT_BASE64URL}","kty":"RSA","n":"{n}"}}')


def jwk(modulus: int, kid: str) -> dict[str, str]:
    """The public key as Okta takes it (RFC 7517, RFC 7518 section 6.3.1)."""
    return {
        "kty": "RSA",
        "e": EXPONENT_BASE64URL,
        "n": to_base64url(modulus),
        "use": "sig",
        "alg": "RS256",
        "kid": kid,
    }


def kid_to_send(modulus: int, key_id: str | None, *, same_source: bool) -> str | None:
    """The `kid` for an assertion: KEY_ID if there is one.

    Where the key and KEY_ID come from different places (`same_source` false), KEY_ID may
    belong to another key: then it is sent only if it is this key's thumbprint.
    """
    if key_id is None or same_source or key_id == thumbprint(modulus):
        return key_id
    return None


def _try(key: rsa.RSAPrivateKey) -> None:
    message, scheme, digest = b"trial", padding.PKCS1v15(), hashes.SHA256()
    try:
        key.public_key().verify(key.sign(message, scheme, digest), message, scheme, digest)
    except (ValueError, InvalidSignature) as cause:
        raise damaged() from cause


def _refuse_other_forms(pem: str) -> None:
    if pem.startswith("{"):
        raise _wrong_key("is a JWK, not PEM text", NEW_KEY)
    if "PRIVATE KEY-----" not in pem and (
        "PUBLIC KEY-----" in pem or "CERTIFICATE-----" in pem or pem.startswith("ssh-")
    ):
        raise _wrong_key("is a public key: the private one is needed to sign", NEW_KEY)
    if "ENCRYPTED" in pem:
        hint = "decrypt it with `openssl pkey -in encrypted.pem`, and keep .env at mode 0600"
        raise _wrong_key("is encrypted", hint)


def _refuse_short(modulus: int, setting: str, hint: str) -> None:
    if modulus.bit_length() < LEAST_BITS:
        problem = f"{setting} has {modulus.bit_length()} bits: Okta wants {LEAST_BITS} or more"
        raise WrongHere(problem, hint, setting=setting)


def _wrong_key(problem: str, hint: str) -> WrongHere:
    return WrongHere(f"PRIVATE_KEY {problem}", hint, setting="PRIVATE_KEY")
