"""What rotating and retiring keys have in common: the app they are for, and removing a key."""

from urllib.parse import quote

from pkj import settings
from pkj.app import service_app
from pkj.app.key import Key, keys_of
from pkj.app.service_app import ServiceApp, is_key
from pkj.env import Check, Env
from pkj.errors import LocalError, NoUsableResponse, OktaRefused
from pkj.masking import shortened
from pkj.okta.org import Org
from pkj.okta.responses import body_of, text_in

STEP_2 = "python create_okta_service_app.py"
NAMES = ("PRIVATE_KEY", "MODULUS", "CLIENT_ID")
"""What must be the same at the end of a run as at its beginning."""

RETIRE = f"`{STEP_2} --retire-old-keys`"
SUPER_ADMIN = (
    "put a Super Admin's API token in API_KEY and run this again: only a Super Admin may change"
    " the keys of an app that has scopes or an admin role"
)


def required(env: Env) -> dict[str, str]:
    """Return the settings that both need. Raises LocalError, also if the key is only public."""
    have = env.require("OKTA_URL", "API_KEY", "CLIENT_ID", "SCOPES", "MODULUS or PRIVATE_KEY")
    if "PRIVATE_KEY" not in have:
        problem = f"PRIVATE_KEY is not in {env.path}, and MODULUS is only the public key"
        hint = "run this with the .env file that holds PRIVATE_KEY (--env-file)"
        raise LocalError(problem, hint, setting="PRIVATE_KEY")
    return have


def app_in_use(org: Org, client_id: str, modulus: int) -> tuple[ServiceApp, list[Key]]:
    """Return the app of CLIENT_ID and its signing keys, of which ours is an active one.

    Raises LocalError if it is another kind of app, or does not trust our key; OktaRefused,
    NoUsableResponse.
    """
    app = service_app.fetch(org, settings.client_id(client_id))
    reason = f"does not exist at {org.host}" if app is None else service_app.unfit(org, app)
    held = [] if app is None or reason else keys_of(org, app)
    if not any(is_key(key, modulus) and is_active(key) for key in held):
        reason = reason or "does not trust the key in .env"
    if app is None or reason:
        problem = f"app {client_id} (CLIENT_ID) {reason}; nothing was changed"
        hint = f"run `{STEP_2}` first: it adds the key, or says what else to do"
        raise LocalError(problem, hint, setting="CLIENT_ID")
    return app, held


def is_active(key: Key) -> bool:
    """Whether Okta accepts what the key signs."""
    return bool(key.get("status", "ACTIVE") == "ACTIVE")


def name_of(key: Key) -> str:
    """Return the kid, or what else Okta calls a key that has none."""
    kid, okta_id = (shortened(str(key.get(name) or ""), 100) for name in ("kid", "id"))
    return kid or f"{okta_id} (which has no key ID)"


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
            turning_off = f"deactivating the key {name_of(key)}"
            body_of(turning_off, org.post(turning_off, f"{path}/lifecycle/deactivate"), dict)
        answer = org.delete(doing, path)
    except OktaRefused as refusal:
        if refusal.status == 404:  # a response was lost, or somebody was faster
            return
        explain(refusal)
        raise
    if answer.status != 204:
        problem = f"{doing}: expected 204, but {org.host} answered {answer.status}"
        raise NoUsableResponse(problem, "run this again to see whether it is gone")


def explain(refusal: OktaRefused) -> None:
    """Put a hint that fits a change of keys in the place of a general one."""
    if refusal.code == "E0000006":
        refusal.hint = SUPER_ADMIN


def stored_now(env: Env) -> dict[str, str]:
    """Return the key and the app that the file names at this moment. Raises LocalError."""
    fresh = Env(env.path, {}, lambda _: None)
    return {name: fresh.stored(name) or "" for name in NAMES}


def unless_changed(env: Env) -> Check:
    """Return a `check` for `Env.save`: the key and the app are still those that were read."""
    hint = "another run may have done the same: run this again if needed"
    return env.unless_changed(*NAMES, hint=hint)
