"""The RSA key: PEM, modulus, JWK, thumbprint; its four names in `.env`; and which `kid` to send."""

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from pkj.console import Console
from pkj.env import Check, Env
from pkj.errors import LocalError

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


def modulus_of(key: rsa.RSAPrivateKey) -> int:
    return key.public_key().public_numbers().n


def load_private(text: str, *, check: bool = True) -> rsa.RSAPrivateKey:
    r"""The private key in a PEM text (PKCS#8 or PKCS#1), which may be one line with `\n`.

    cryptography's own check of the numbers takes some 30 ms; a signature that verifies says
    as much for this use, in one. Without `check` none is made: that is for who verifies
    what the key signs anyway (assertion.sign). Raises LocalError for anything that is not
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
    _refuse_short(modulus_of(key), "PRIVATE_KEY", NEW_KEY)
    if check:
        _try(key)
    return key


def damaged() -> LocalError:
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
    """The number that MODULUS stands for. Raises LocalError."""
    number = from_base64url(text)
    if number is None:
        raise LocalError("MODULUS is not base64url", NEW_MODULUS, setting="MODULUS")
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
        raise LocalError(problem, hint, setting=setting)


def _wrong_key(problem: str, hint: str) -> LocalError:
    return LocalError(f"PRIVATE_KEY {problem}", hint, setting="PRIVATE_KEY")


class PublicKey(NamedTuple):
    """What is registered: the modulus, and the kid it is registered under.

    `unsaved` are the settings that were derived and are not in the file yet; `unchanged` is
    the `check` for saving them: that the key in the file is still the one that was read.
    """

    modulus: int
    kid: str
    unsaved: Mapping[str, str]
    unchanged: Check


def of_new_key(key: rsa.RSAPrivateKey) -> dict[str, str]:
    """The four values that generate_py writes."""
    return {"PRIVATE_KEY": private_pem(key), **_public(modulus_of(key))}


def refuse_to_replace(env: Env) -> None:
    """Raise LocalError if the file holds a key, also one that a later line hides."""
    held = [name for name in ("PRIVATE_KEY", "MODULUS") if env.held(name)]
    if not held:
        return
    problem = f"a key already exists: {' and '.join(held)} in {env.path}; nothing was changed"
    hint = f"--force replaces it, and first backs up the file to {env.path.name}.previous"
    if hidden := [name for name in held if not env.stored(name)]:
        hint = f"remove the line further down that clears {' and '.join(hidden)} again; {hint}"
    if app := env.stored("CLIENT_ID"):
        hint += (
            f"; the app {app} trusts the present key, and tokens fail with the new one"
            " until `python create_okta_service_app.py` is run again"
        )
    raise LocalError(problem, hint)


def public_key(env: Env) -> PublicKey:
    """The public key to register, from MODULUS, PRIVATE_KEY, or both if they belong together.

    Raises LocalError.
    """
    given, pem = env.get("MODULUS"), env.get("PRIVATE_KEY")
    modulus = load_modulus(given) if given else None
    if pem:
        derived = modulus_of(load_private(pem))
        if modulus not in (None, derived):
            raise _two_keys(env)
        modulus = derived
    assert modulus is not None, "the step requires one of the two"
    source = "MODULUS" if given else "PRIVATE_KEY"
    kid = kid_to_send(modulus, env.get("KEY_ID"), same_source=_same_source(env, source))
    unchanged = env.unless_changed("PRIVATE_KEY", "MODULUS")
    kid = kid or thumbprint(modulus)
    return PublicKey(modulus, kid, _unsaved(env, modulus, source), unchanged)


def save_public(env: Env, public: PublicKey, kid: str | None, out: Console) -> None:
    """Save what was derived, and as KEY_ID the kid by which the app knows the key, if any.

    A KEY_ID beside another key in the file stays as it is. Raises LocalError if the key in
    the file was replaced meanwhile: what belongs together stays together.
    """
    changed = dict(public.unsaved)
    another = env.is_from_environment("PRIVATE_KEY") or env.is_from_environment("MODULUS")
    if (env.stored("KEY_ID") or "") != (kid or "") and not (another and _file_has_key(env)):
        changed["KEY_ID"] = kid or ""
    if changed and not out.would(f"set {', '.join(changed)} in .env"):
        env.save(changed, check=public.unchanged)


def signing_key(env: Env) -> tuple[rsa.RSAPrivateKey, str | None]:
    """The private key and the kid to send with what it signs. Raises LocalError."""
    env.warn_if_open_to_others()
    key = load_private(env.require("PRIVATE_KEY")["PRIVATE_KEY"], check=False)
    same_source = _same_source(env, "PRIVATE_KEY")
    return key, kid_to_send(modulus_of(key), env.get("KEY_ID"), same_source=same_source)


def _public(modulus: int) -> dict[str, str]:
    return {
        "PUBLIC_KEY": public_pem(modulus),
        "MODULUS": to_base64url(modulus),
        "KEY_ID": thumbprint(modulus),
    }


def _unsaved(env: Env, modulus: int, source: str) -> dict[str, str]:
    if env.is_from_environment(source) and _file_has_key(env):
        return {}  # the file holds a key of its own: nothing of another belongs beside it
    values = _public(modulus)
    if source == "MODULUS":
        values = {"KEY_ID": values["KEY_ID"]}
    if env.stored("KEY_ID"):
        del values["KEY_ID"]  # the owner's choice
    return {name: value for name, value in values.items() if env.stored(name) != value}


def _file_has_key(env: Env) -> bool:
    return bool(env.stored("PRIVATE_KEY") or env.stored("MODULUS"))


def _same_source(env: Env, key_setting: str) -> bool:
    # A KEY_ID from the environment was put there for the key that is used with it.
    return env.is_from_environment("KEY_ID") or not env.is_from_environment(key_setting)


def _two_keys(env: Env) -> LocalError:
    where = "the environment" if env.is_from_environment("PRIVATE_KEY") else str(env.path)
    return LocalError(
        f"MODULUS is not the modulus of PRIVATE_KEY, which comes from {where}",
        "empty MODULUS, PUBLIC_KEY and KEY_ID: they are derived from PRIVATE_KEY",
        setting="MODULUS",
    )
