"""The key as it stands in `.env`: four names that have to belong to one key."""

from collections.abc import Mapping
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import rsa

from pkj import keys
from pkj.console import Console
from pkj.env import Check, Env
from pkj.errors import WrongHere


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
    """The four values that generate_keys.py writes."""
    return {"PRIVATE_KEY": keys.private_pem(key), **_public(keys.modulus(key))}


def refuse_to_replace(env: Env) -> None:
    """Raise WrongHere if the file holds a key, also one that a later line hides."""
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
    raise WrongHere(problem, hint)


def public_key(env: Env) -> PublicKey:
    """The public key to register, from MODULUS, PRIVATE_KEY, or both if they belong together.

    Raises WrongHere.
    """
    given, pem = env.get("MODULUS"), env.get("PRIVATE_KEY")
    modulus = keys.load_modulus(given) if given else None
    if pem:
        derived = keys.modulus(keys.load_private(pem))
        if modulus not in (None, derived):
            raise _two_keys(env)
        modulus = derived
    assert modulus is not None, "the step requires one of the two"
    source = "MODULUS" if given else "PRIVATE_KEY"
    kid = keys.kid_to_send(modulus, env.get("KEY_ID"), same_source=_same_source(env, source))
    unchanged = env.unless_changed("PRIVATE_KEY", "MODULUS")
    kid = kid or keys.thumbprint(modulus)
    return PublicKey(modulus, kid, _unsaved(env, modulus, source), unchanged)


def save_public(env: Env, public: PublicKey, kid: str | None, out: Console) -> None:
    """Save what was derived, and as KEY_ID the kid by which the app knows the key, if any.

    A KEY_ID beside another key in the file stays as it is. Raises WrongHere if the key in
    the file was replaced meanwhile: what belongs together stays together.
    """
    changed = dict(public.unsaved)
    another = env.is_from_environment("PRIVATE_KEY") or env.is_from_environment("MODULUS")
    if (env.stored("KEY_ID") or "") != (kid or "") and not (another and _file_has_key(env)):
        changed["KEY_ID"] = kid or ""
    if changed and not out.would(f"set {', '.join(changed)} in .env"):
        env.save(changed, check=public.unchanged)


def signing_key(env: Env) -> tuple[rsa.RSAPrivateKey, str | None]:
    """The private key and the kid to send with what it signs. Raises WrongHere."""
    env.warn_if_open_to_others()
    key = keys.load_private(env.require("PRIVATE_KEY")["PRIVATE_KEY"], check=False)
    same_source = _same_source(env, "PRIVATE_KEY")
    return key, keys.kid_to_send(keys.modulus(key), env.get("KEY_ID"), same_source=same_source)


def _public(modulus: int) -> dict[str, str]:
    return {
        "PUBLIC_KEY": keys.public_pem(modulus),
        "MODULUS": keys.to_base64url(modulus),
        "KEY_ID": keys.thumbprint(modulus),
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


def _two_keys(env: Env) -> WrongHere:
    where = "the environment" if env.is_from_environment("PRIVATE_KEY") else str(env.path)
    return WrongHere(
        f"MODULUS is not the modulus of PRIVATE_KEY, which comes from {where}",
        "empty MODULUS, PUBLIC_KEY and KEY_ID: they are derived from PRIVATE_KEY",
        setting="MODULUS",
    )
