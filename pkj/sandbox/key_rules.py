"""Which keys an app may have: each by itself, and all of them together."""

from collections.abc import Mapping, Sequence
from typing import Any

from pkj.sandbox.exchange import Refusal, management_refusal
from pkj.sandbox.jwk import MATERIAL, UnusableKeyError, public_key, same_material, suits
from pkj.sandbox.state import new_id

MOST_KEYS = 50
ONE_NAMELESS = "A 'kid' is required for every key when the 'jwks' has more than one."
SAME_KID = "All keys in the 'jwks' must have a unique `kid`."
TOO_MANY = "The 'jwks' can't have more than 50 keys."

Key = dict[str, Any]


def key_refusal(reason: str) -> Refusal:
    """400 as recorded: the reason is in the causes."""
    return management_refusal(400, "E0000001", "Api validation failed: JsonWebKey", reason)


def accepted_set(jwks: object, known: Sequence[Key] = (), *, lenient: bool) -> list[Key]:
    """The keys of a JWK Set, as they will be shown. `known` ones may come back as they are."""
    keys = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(keys, list) or not keys:
        raise key_refusal("The 'jwks' must have a list of 'keys'.")
    shown = [accepted_key(key, known, lenient=lenient) for key in keys]
    check_together(shown)
    return shown


def accepted_key(jwk: object, known: Sequence[Key] = (), *, lenient: bool) -> Key:
    """One JWK as it will be shown; 400 E0000001 if it is not one for signatures."""
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
    """At most 50; from the second one on, each has a kid, and no two the same."""
    if len(keys) > MOST_KEYS:
        raise key_refusal(TOO_MANY)
    kids = [key["kid"] for key in keys]
    if len(kids) > 1 and None in kids:
        raise key_refusal(ONE_NAMELESS)
    if len(set(kids)) < len(kids):
        raise key_refusal(SAME_KID)


def shown_key(jwk: Mapping[str, Any], before: Key | None = None) -> Key:
    """A key in the form of the recordings; one that was there `before` keeps its id."""
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
