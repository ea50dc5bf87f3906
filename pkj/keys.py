"""The RSA key: PEM, modulus, JWK, thumbprint, its four names in `.env`, and which `kid` to use."""

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from pkj.env import Check, Env
from pkj.errors import LocalError
from pkj.okta.hints import CREATE_APP, GENERATE_KEYS

EXPONENT = 65537
EXPONENT_BASE64URL = "AQAB"
LEAST_BITS = 2048
"""Okta refuses shorter RSA keys (release notes 2020.06)."""

NEW_KEY = f"restore the right key, or run `{GENERATE_KEYS} --force` for a new one"
DERIVED = "clear MODULUS, PUBLIC_KEY and KEY_ID: they are derived from PRIVATE_KEY"


class PublicKey(NamedTuple):
    """The key to register: its modulus, and the kid to register it with.

    `unsaved` are settings that were derived and are not in the file yet. `unchanged` is the
    `check` for saving them: the key in the file is still the one that was read.
    """

    modulus: int
    kid: str
    unsaved: Mapping[str, str]
    unchanged: Check


# The key in `.env`.


def settings_of(key: rsa.RSAPrivateKey) -> dict[str, str]:
    """Return the four settings that generate_keys.py writes."""
    return {"PRIVATE_KEY": private_pem(key), **_public_settings(modulus_of(key))}


def refuse_to_replace(env: Env) -> None:
    """Raise LocalError if the file holds a key, even one that a later line clears."""
    held = [name for name in ("PRIVATE_KEY", "MODULUS") if env.held(name)]
    if not held:
        return
    problem = f"a key already exists: {' and '.join(held)} in {env.path}; nothing was changed"
    hint = f"--force replaces it, and first backs up the file to {env.path.name}.previous"
    if hidden := [name for name in held if not env.stored(name)]:
        hint = f"remove the later line that clears {' and '.join(hidden)}; {hint}"
    if app := env.stored("CLIENT_ID"):
        hint += (
            f"; the app {app} trusts the current key: there are no tokens with the new one"
            f" until you run `{CREATE_APP}` again"
        )
    raise LocalError(problem, hint)


def public_key(env: Env) -> PublicKey:
    """Return the public key to register, from MODULUS, PRIVATE_KEY, or both if they match.

    Raises LocalError.
    """
    given, pem = env.get("MODULUS"), env.get("PRIVATE_KEY")
    modulus = load_modulus(given) if given else 0
    if pem:
        derived = modulus_of(load_private(pem))
        if modulus not in (0, derived):
            where = "the environment" if env.is_from_environment("PRIVATE_KEY") else env.path
            problem = f"MODULUS does not match PRIVATE_KEY (from {where})"
            raise LocalError(problem, DERIVED)
        modulus = derived
    source = "MODULUS" if given else "PRIVATE_KEY"
    kid = _kid_to_send(env, modulus, source) or thumbprint(modulus)
    unchanged = env.unless_changed("PRIVATE_KEY", "MODULUS")
    return PublicKey(modulus, kid, _unsaved(env, modulus, source), unchanged)


def signing_key(env: Env) -> tuple[rsa.RSAPrivateKey, str | None]:
    """Return the private key, and the kid to send with what it signs. Raises LocalError."""
    env.warn_if_open_to_others()
    key = load_private(env.get("PRIVATE_KEY") or "")
    return key, _kid_to_send(env, modulus_of(key), "PRIVATE_KEY")


def changes(env: Env, public: PublicKey, kid: str | None) -> dict[str, str]:
    """Return the settings to save, KEY_ID being the kid by which the app knows the key, if any.

    A KEY_ID that belongs to another key in the file is left alone.
    """
    changed = dict(public.unsaved)
    another = env.is_from_environment("PRIVATE_KEY") or env.is_from_environment("MODULUS")
    if (env.stored("KEY_ID") or "") != (kid or "") and not (another and _file_has_key(env)):
        changed["KEY_ID"] = kid or ""
    return changed


def save_public(env: Env, public: PublicKey, kid: str | None) -> None:
    """Save what `changes` returns. Raises LocalError if another run replaced the key."""
    if changed := changes(env, public, kid):
        env.save(changed, check=public.unchanged)


def _kid_to_send(env: Env, modulus: int, source: str) -> str | None:
    """Return KEY_ID if it belongs to this key.

    If the key and KEY_ID come from different places, KEY_ID may belong to another key: then it
    must be this key's thumbprint. A KEY_ID in the environment was set for the key in use.
    """
    kid = env.get("KEY_ID")
    elsewhere = env.is_from_environment(source) and not env.is_from_environment("KEY_ID")
    return None if elsewhere and kid != thumbprint(modulus) else kid


def _public_settings(modulus: int) -> dict[str, str]:
    return {
        "PUBLIC_KEY": public_pem(modulus),
        "MODULUS": to_base64url(modulus),
        "KEY_ID": thumbprint(modulus),
    }


def _unsaved(env: Env, modulus: int, source: str) -> dict[str, str]:
    if env.is_from_environment(source) and _file_has_key(env):
        return {}  # the file has another key: do not mix them
    values = _public_settings(modulus)
    if source == "MODULUS":
        values = {"KEY_ID": values["KEY_ID"]}
    if env.stored("KEY_ID"):
        del values["KEY_ID"]  # the user's choice
    return {name: value for name, value in values.items() if env.stored(name) != value}


def _file_has_key(env: Env) -> bool:
    return bool(env.stored("PRIVATE_KEY") or env.stored("MODULUS"))


# The key itself.


def generate(bits: int) -> rsa.RSAPrivateKey:
    """Return a new private key of `bits` bits with the exponent 65537."""
    return rsa.generate_private_key(public_exponent=EXPONENT, key_size=bits)


def load_private(text: str) -> rsa.RSAPrivateKey:
    r"""Return the private key in a PEM text (PKCS#8 or PKCS#1), which may be one line with `\n`.

    Raises LocalError for anything that is not an RSA key this flow can use.
    """
    pem = text.replace("\\r", "").replace("\\n", "\n").strip()
    if pem.startswith("{"):
        raise LocalError("PRIVATE_KEY is a JWK, not PEM text", NEW_KEY)
    if "PRIVATE KEY-----" not in pem and (
        "PUBLIC KEY-----" in pem or "CERTIFICATE-----" in pem or pem.startswith("ssh-")
    ):
        raise LocalError("PRIVATE_KEY is a public key: signing needs the private one", NEW_KEY)
    if "ENCRYPTED" in pem:
        hint = "decrypt it with `openssl pkey -in encrypted.pem`, and keep .env at mode 0600"
        raise LocalError("PRIVATE_KEY is encrypted", hint)
    try:
        key = serialization.load_pem_private_key(
            pem.encode("utf-8", "replace"), password=None, unsafe_skip_rsa_key_validation=True
        )
    except (ValueError, TypeError, UnsupportedAlgorithm) as cause:
        raise LocalError("PRIVATE_KEY cannot be read as a PEM private key", NEW_KEY) from cause
    if not isinstance(key, rsa.RSAPrivateKey):
        raise LocalError("PRIVATE_KEY is not an RSA key: this flow signs with RS256", NEW_KEY)
    if key.public_key().public_numbers().e != EXPONENT:
        raise LocalError(f"PRIVATE_KEY has a public exponent other than {EXPONENT}", NEW_KEY)
    _refuse_short(modulus_of(key), "PRIVATE_KEY", NEW_KEY)
    _try(key)
    return key


def load_modulus(text: str) -> int:
    """Return the number in MODULUS. Raises LocalError."""
    number = from_base64url(text)
    if number is None:
        raise LocalError("MODULUS is not base64url", f"{DERIVED}; {NEW_KEY}")
    _refuse_short(number, "MODULUS", f"{DERIVED}; {NEW_KEY}")
    return number


def modulus_of(key: rsa.RSAPrivateKey) -> int:
    return key.public_key().public_numbers().n


def private_pem(key: rsa.RSAPrivateKey) -> str:
    """Return the key as unencrypted PKCS#8 PEM (RFC 5958)."""
    form = serialization.PrivateFormat.PKCS8
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, plain).decode().strip()


def public_pem(modulus: int) -> str:
    """Return the public key as PEM, SubjectPublicKeyInfo (RFC 5280)."""
    key = rsa.RSAPublicNumbers(EXPONENT, modulus).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.PEM, form).decode().strip()


def jwk(modulus: int, kid: str) -> dict[str, str]:
    """Return the public key as Okta accepts it (RFC 7517, RFC 7518 section 6.3.1)."""
    return {
        "kty": "RSA",
        "e": EXPONENT_BASE64URL,
        "n": to_base64url(modulus),
        "use": "sig",
        "alg": "RS256",
        "kid": kid,
    }


def thumbprint(modulus: int) -> str:
    """Return the thumbprint of RFC 7638 with SHA-256: of the members in this order, no spaces."""
    n = to_base64url(modulus)
    return digest(f'{{"e":"{EXPONENT_BASE64URL}","kty":"RSA","n":"{n}"}}')


def digest(text: str) -> str:
    """Return the SHA-256 in base64url: of a thumbprint's members, or of a token for `ath`."""
    return base64url(hashlib.sha256(text.encode()).digest())


def base64url(raw: bytes) -> str:
    """Return base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def to_base64url(number: int) -> str:
    """Return the number as Base64urlUInt (RFC 7518 section 2): unsigned, big-endian, no padding."""
    return base64url(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def from_base64url(text: str) -> int | None:
    """Return the number, None if the text is not base64.

    The original scripts wrote standard base64 in several lines, which is read as well. This is
    fast, because an org may hold thousands of keys to compare.
    """
    compact = "".join(text.split()).rstrip("=").replace("+", "-").replace("/", "_")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", compact) or len(compact) % 4 == 1:
        return None
    return int.from_bytes(base64.urlsafe_b64decode(compact + "=" * (-len(compact) % 4)), "big")


def _try(key: rsa.RSAPrivateKey) -> None:
    # cryptography's own check takes some 30 ms. One signature that verifies, in under 1 ms, is
    # as good here: it shows that a damaged key does not give away a factor of the modulus.
    message, scheme, sha256 = b"trial", padding.PKCS1v15(), hashes.SHA256()
    try:
        key.public_key().verify(key.sign(message, scheme, sha256), message, scheme, sha256)
    except (ValueError, InvalidSignature) as cause:
        hint = f"restore it from a copy, or run `{GENERATE_KEYS} --force`, then `{CREATE_APP}`"
        raise LocalError("PRIVATE_KEY is damaged: its signatures do not verify", hint) from cause


def _refuse_short(modulus: int, setting: str, hint: str) -> None:
    if modulus.bit_length() < LEAST_BITS:
        problem = f"{setting} has {modulus.bit_length()} bits: Okta requires at least {LEAST_BITS}"
        raise LocalError(problem, hint)
