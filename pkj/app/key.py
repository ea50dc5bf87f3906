"""Our key among the keys of the app, and the kid the app knows it by."""

from collections.abc import Mapping, Sequence
from typing import Any

from pkj import keys
from pkj.app.service_app import ServiceApp, is_key, storable
from pkj.console import Console
from pkj.errors import LocalError, NoUsableResponse, OktaRefused
from pkj.keys import PublicKey
from pkj.masking import shortened
from pkj.okta.hints import CURES, OTHER_ANSWER
from pkj.okta.org import Org
from pkj.okta.responses import body_of

WHERE = "Applications > the app > General > Public Keys"
CHOOSE = "write CLIENT_ID= with the one that is yours into .env and run this again"

Key = Mapping[str, Any]


def ensure_key(org: Org, app: ServiceApp, public: PublicKey, out: Console) -> str | None:
    """Return the kid by which the app knows our key, which is added if it is missing.

    None if the app knows the key without a kid. Other keys are named and left alone: the
    client is never replaced, which would race with others and revive disabled keys. Raises
    LocalError for other keys of an app that was adopted; OktaRefused (also for an INACTIVE
    key), NoUsableResponse.
    """
    if app.new:
        return public.kid
    held = keys_of(org, app)
    ours = [key for key in held if is_key(key, public.modulus)]
    if app.adopted and not (held and len(ours) == len(held)):
        problem = f"the app {app.id} held only this key a moment ago, and now trusts others too"
        raise LocalError(problem, CHOOSE)
    if others := names_of_others(held, public.modulus):
        out.note(f"the app trusts other keys too: {others}; remove one that leaked at {WHERE}")
    if not ours:
        return add(org, app, public, held, out)
    active = [key for key in ours if key.get("status", "ACTIVE") == "ACTIVE"]
    if not active:
        problem = f"the key in .env is INACTIVE at the app {app.id}"
        hint = f"activate it at {WHERE}, or make another with generate_keys.py --force"
        raise OktaRefused(problem, hint)
    kid = active[0].get("kid")
    if not isinstance(kid, str) or not kid:
        return None
    return storable(f"reading the keys of the app {app.id}", "the kid", kid)


def keys_of(org: Org, app: ServiceApp, *, encryption_too: bool = False) -> list[Key]:
    """The signing keys of the app with their status; with `encryption_too` all of them.

    GET /api/v1/apps/{id}/credentials/jwks: a list by its schema, wrapped in its example.
    """
    doing = f"reading the keys of the app {app.id}"
    answer = org.get(doing, f"{app.api_path}/credentials/jwks")
    listed: Any = body_of(doing, answer, object)
    for name in ("jwks", "keys"):
        listed = listed.get(name, listed) if isinstance(listed, dict) else listed
    if not isinstance(listed, list):
        problem = f"{doing}: expected a list of keys from {org.host}"
        raise NoUsableResponse(problem, CURES[OTHER_ANSWER])
    found = [key for key in listed if isinstance(key, dict)]
    return [key for key in found if encryption_too or key.get("use") != "enc"]


def names_of_others(held: Sequence[Key], modulus: int) -> str:
    """The kids of the keys that the app trusts beside ours, in a line; empty for none."""
    active = [key for key in held if key.get("status", "ACTIVE") == "ACTIVE"]
    others = [key.get("kid") for key in active if not is_key(key, modulus)]
    return ", ".join(shortened(str(kid), 100) if kid else "one without a key ID" for kid in others)


def add(org: Org, app: ServiceApp, public: PublicKey, held: Sequence[Key], out: Console) -> str:
    """Add our key beside those that the app holds, and return its kid, its thumbprint.

    Raises OktaRefused, NoUsableResponse.
    """
    kid = keys.thumbprint(public.modulus)
    if any(not key.get("kid") for key in held):
        problem = f"the app {app.id} has a key without a key ID, beside which Okta takes no other"
        raise OktaRefused(problem, f"give it a key ID or remove it at {WHERE}, then run this again")
    if out.would(f"add the key {kid} to the app {app.id}"):
        return kid
    jwk = {**keys.jwk(public.modulus, kid), "status": "ACTIVE"}
    doing = f"adding the key to the app {app.id}"
    failure: OktaRefused | NoUsableResponse | None = None
    try:
        added = body_of(doing, org.post(doing, f"{app.api_path}/credentials/jwks", jwk), dict)
        if not _is_ours(added, public, kid):
            problem = f"{doing}: the key that came back is not the one that was sent"
            failure = NoUsableResponse(problem, CURES[OTHER_ANSWER])
    except (OktaRefused, NoUsableResponse) as error:
        failure = error
    # A request that was repeated after a lost answer finds its own kid taken.
    if failure and not any(_is_ours(key, public, kid) for key in keys_of(org, app)):
        raise failure
    out.note(f"the key {kid} was added to the app {app.id}")
    return kid


def _is_ours(jwk: Key, public: PublicKey, kid: str) -> bool:
    return is_key(jwk, public.modulus) and jwk.get("kid") == kid
