"""The app's keys in Okta: ours among them, the kid by which the app knows it, adding, removing."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from pkj import keys
from pkj.app.service_app import ServiceApp, is_key, storable
from pkj.console import Console
from pkj.errors import Failure, LocalError, NoUsableResponse, OktaRefused
from pkj.keys import PublicKey
from pkj.masking import shortened
from pkj.okta.hints import CREATE_APP, GENERATE_KEYS
from pkj.okta.org import Org
from pkj.okta.responses import text_in

WHERE = "Applications > the app > General > Public Keys"
RETIRE = f"`{CREATE_APP} --retire-old-keys`"
CHOOSE = "set CLIENT_ID in .env to the one that is yours, and run this again"

Key = Mapping[str, Any]


def ensure_key(org: Org, app: ServiceApp, public: PublicKey, out: Console) -> str | None:
    """Add our key to the app if it is missing. Return the kid by which the app knows it, if any.

    Other keys are noted and left alone: the client is never replaced, which would race with
    others and reactivate inactive keys. Raises as `ours` and `add` do.
    """
    if app.new:
        return public.kid
    key = ours(org, app, public.modulus, out)
    return add(org, app, public, out) if key is None else kid_of(app, key)


def ours(org: Org, app: ServiceApp, modulus: int, out: Console) -> Key | None:
    """Return our key as the app holds it, None if it is missing and can be added.

    Raises LocalError if an adopted app has other keys; OktaRefused if our key is INACTIVE or
    none can be added; NoUsableResponse.
    """
    held = keys_of(org, app)
    found = [key for key in held if is_key(key, modulus)]
    if app.adopted and not (held and len(found) == len(held)):
        problem = f"the app {app.id} held only this key a moment ago, and now trusts others too"
        raise LocalError(problem, CHOOSE)
    if others := names_of_others(held, modulus):
        out.note(f"the app also trusts other keys: {others}; if nothing uses them, run {RETIRE}")
    if not found:
        refuse_unnamed(app, held)
        return None
    active = next(filter(is_active, found), None)
    if active is None:
        problem = f"the key in .env is INACTIVE at the app {app.id}"
        hint = f"activate it at {WHERE}, or run `{GENERATE_KEYS} --force` for another"
        raise OktaRefused(problem, hint)
    return active


def kid_of(app: ServiceApp, key: Key) -> str | None:
    """Return the kid of a key at Okta, if it has one. Raises NoUsableResponse for an unusable
    one."""
    kid = key.get("kid")
    if not isinstance(kid, str) or not kid:
        return None
    return storable(f"reading the keys of the app {app.id}", "the kid", kid)


def keys_of(org: Org, app: ServiceApp, *, encryption_too: bool = False) -> list[Key]:
    """Return the app's signing keys with their status; with `encryption_too` all of its keys.

    GET /api/v1/apps/{id}/credentials/jwks: a list by its schema, wrapped in its example.
    """
    doing = f"reading the keys of the app {app.id}"
    response = org.get(doing, f"{app.api_path}/credentials/jwks")
    listed = response.parsed()
    for name in ("jwks", "keys"):
        listed = listed.get(name, listed) if isinstance(listed, dict) else listed
    if not isinstance(listed, list):
        raise response.unusable(f"expected a list of keys from {org.host}")
    found = [key for key in listed if isinstance(key, dict)]
    return [key for key in found if encryption_too or key.get("use") != "enc"]


def is_active(key: Key) -> bool:
    """Return whether Okta accepts what the key signs."""
    return bool(key.get("status", "ACTIVE") == "ACTIVE")


def name_of(key: Key) -> str:
    """Return the kid, or what else Okta calls a key that has none."""
    kid, okta_id = (shortened(str(key.get(name) or ""), 100) for name in ("kid", "id"))
    return kid or f"{okta_id} (which has no key ID)"


def names_of_others(held: Sequence[Key], modulus: int) -> str:
    """Return the kids of the keys that the app trusts besides ours, in one line."""
    others = [key.get("kid") for key in held if is_active(key) and not is_key(key, modulus)]
    return ", ".join(shortened(str(kid), 100) if kid else "one without a key ID" for kid in others)


def refuse_unnamed(app: ServiceApp, held: Sequence[Key]) -> None:
    """Raise OktaRefused if the app has a key without a kid: Okta then accepts no second key."""
    if any(not key.get("kid") for key in held):
        problem = f"the app {app.id} has a key without a key ID, so Okta accepts no second key"
        raise OktaRefused(problem, f"give it a key ID or remove it at {WHERE}, then run this again")


def add(org: Org, app: ServiceApp, public: PublicKey, out: Console) -> str:
    """Add our key to the app's keys, and return its kid, which is its thumbprint.

    Raises OktaRefused, NoUsableResponse.
    """
    kid = keys.thumbprint(public.modulus)
    jwk = {**keys.jwk(public.modulus, kid), "status": "ACTIVE"}
    doing = f"adding the key to the app {app.id}"
    failure: Failure | None = None
    try:
        response = org.post(doing, f"{app.api_path}/credentials/jwks", jwk)
        if not _is_ours(response.object(), public, kid):
            failure = response.unusable("the key that came back is not the one that was sent")
    except (OktaRefused, NoUsableResponse) as error:
        failure = error
    # A request that was repeated after a lost response finds its own kid taken.
    if failure and not any(_is_ours(key, public, kid) for key in keys_of(org, app)):
        raise failure
    out.note(f"the key {kid} was added to the app {app.id}")
    return kid


def remove(org: Org, app: ServiceApp, key: Key) -> None:
    """Deactivate and delete a key. One that is already gone counts as removed.

    Okta deletes only INACTIVE keys, by its own id for them rather than the kid
    (developer.okta.com/docs/api/openapi/okta-management/management/tag/ApplicationSSOPublicKeys).
    Raises OktaRefused, NoUsableResponse.
    """
    doing = f"deleting the key {name_of(key)}"
    path = f"{app.api_path}/credentials/jwks/{quote(text_in(doing, key, 'id'), safe='')}"
    try:
        if is_active(key):
            deactivate = f"{path}/lifecycle/deactivate"
            org.post(f"deactivating the key {name_of(key)}", deactivate).object()
        org.delete(doing, path)
    except OktaRefused as refusal:
        if refusal.status != 404:  # a response was lost, or another run deleted it
            raise


def _is_ours(jwk: Key, public: PublicKey, kid: str) -> bool:
    return is_key(jwk, public.modulus) and jwk.get("kid") == kid
