"""Key rotation without an outage: add and prove a new key, and later retire the old ones.

The new key is added at Okta, proven, and only then saved. The old one stays trusted, so that
other machines can go on using it (developer.okta.com/docs/guides/key-management). Both can be
interrupted at any point.
"""

import time
from argparse import Namespace
from collections.abc import Mapping

from pkj import keys, settings
from pkj.app import service_app
from pkj.app.key import (
    RETIRE,
    WHERE,
    Key,
    add,
    is_active,
    keys_of,
    name_of,
    refuse_unnamed,
    remove,
)
from pkj.app.service_app import ServiceApp, is_key
from pkj.console import Console
from pkj.env import Check, Env
from pkj.errors import LocalError, OktaRefused, PkjError
from pkj.keys import PublicKey
from pkj.okta.hints import CREATE_APP
from pkj.okta.org import Org
from pkj.token.request import Client, TokenRequest

TRUST_PAUSES = (1.0, 2.0, 4.0)
"""Seconds between attempts to get a token with a key that Okta may be slow to trust."""

NOT_TRUSTED = ("kid is invalid", "signature is invalid")
"""Of Okta's descriptions, under invalid_client, of an assertion by a key it does not know."""

ABOUT_SCOPES = ("consent_required", "invalid_scope", "client_credentials_self_scope_requested")
"""Refusals that come after the key was accepted: a server authenticates the client first
(RFC 6749 section 3.2.1)."""

MOST_KEYS = 50
"""Limit per app (developer.okta.com/docs/guides/implement-oauth-for-okta-serviceapp)."""

NAMES = ("PRIVATE_KEY", "MODULUS", "CLIENT_ID")
"""What must be the same at the end of a run as at its beginning."""


def rotate_key(env: Env, options: Namespace, out: Console) -> None:
    """Replace the key in `.env` by a new one of the same size; the old one stays trusted.

    If it fails or is interrupted before the new key is saved, `.env` is as before, and the key
    that was added is removed again if possible. Raises LocalError, OktaRefused,
    NoUsableResponse.
    """
    _refuse_environment(env)
    env.refuse_broken_line()
    have = _required(env)
    scopes, dpop = settings.scopes(have["SCOPES"]), settings.dpop(env.get("DPOP"))
    public, unchanged = keys.public_key(env), _unless_changed(env)
    org = settings.org(have, options, out.note)
    if not options.dry_run:
        env.save({}, check=unchanged)  # the same text again: shows now whether it can be saved

    app, held = _app_in_use(org, have["CLIENT_ID"], public.modulus)
    refuse_unnamed(app, held)
    old = ", ".join(name_of(key) for key in held if is_key(key, public.modulus))
    bits = public.modulus.bit_length()
    if options.dry_run:
        out.say(f"would add a new key of {bits} bits to the app {app.id}, and get a token with it")
        out.say(f"would save it in {env.path}, back up the previous file, and leave {old} trusted")
        return
    key = keys.generate(bits)
    values = keys.settings_of(key)
    new = public._replace(modulus=keys.modulus_of(key), kid=values["KEY_ID"])
    request = TokenRequest(org, Client(app.id, key, new.kid), scopes, dpop, out.note)
    try:
        _add(org, app, new, held, out)
        _prove(request, out)
        env.save(values, check=unchanged, keep_copy=True)
    except (PkjError, KeyboardInterrupt):
        _undo(org, app, new, env, values, out)
        raise

    out.heading("Key rotated:")
    out.say(new.kid)
    out.note(f"the old key {old} is still trusted; once nothing uses it, run {RETIRE}")


def retire_old_keys(env: Env, options: Namespace, out: Console) -> None:
    """Delete every signing key of the app except the one in use; encryption keys stay.

    The next run deletes what is left after an error. Raises UsageError if nobody can be asked,
    LocalError, OktaRefused, NoUsableResponse.
    """
    out.require_person(options, "--retire-old-keys")
    have = _required(env)
    scopes, dpop = settings.scopes(have["SCOPES"]), settings.dpop(env.get("DPOP"))
    public, unchanged = keys.public_key(env), _unless_changed(env)
    if env.stored("PRIVATE_KEY") not in (None, env.get("PRIVATE_KEY")):
        problem = f"the PRIVATE_KEY in use is not the one in {env.path}, which would be retired"
        raise LocalError(problem, "remove the one that is no longer needed")
    org = settings.org(have, options, out.note)

    app, held = _app_in_use(org, have["CLIENT_ID"], public.modulus)
    old = [key for key in held if not is_key(key, public.modulus)]
    if not old:
        out.note(f"nothing to retire: the key in use is the only signing key of the app {app.id}")
        return
    if options.dry_run:
        for key in old:
            out.say(f"would delete the key {name_of(key)} of the app {app.id}")
        return
    client = Client(app.id, *keys.signing_key(env))
    TokenRequest(org, client, scopes, dpop, out.note).send()
    if not options.yes:
        names = "".join(f"  {name_of(key)}\n" for key in old)
        what = f"this deletes these keys of the app {app.name} at {org.host}:\n{names}"
        out.confirm(f"{what}machines that use them will no longer get tokens", app.id)
    unchanged(_stored_now(env))
    out.heading("Old keys retired:")
    for key in old:
        remove(org, app, key)
        out.say(name_of(key))


def _required(env: Env) -> dict[str, str]:
    have = env.require("OKTA_URL", "API_KEY", "CLIENT_ID", "SCOPES", "MODULUS or PRIVATE_KEY")
    if "PRIVATE_KEY" not in have:
        problem = f"PRIVATE_KEY is not in {env.path}, and MODULUS is only the public key"
        raise LocalError(problem, "use the .env file that holds PRIVATE_KEY (--env-file)")
    return have


def _refuse_environment(env: Env) -> None:
    names = [n for n in ("PRIVATE_KEY", "MODULUS", "KEY_ID") if env.is_from_environment(n)]
    if names:
        listed = " and ".join(names)
        are = "is" if len(names) == 1 else "are"
        problem = f"{listed} {are} set in the environment: rotation changes only {env.path}"
        hint = (
            "change the key where the environment gets it from; to rotate the one in the file,"
            f" unset {listed}"
        )
        raise LocalError(problem, hint)


def _app_in_use(org: Org, client_id: str, modulus: int) -> tuple[ServiceApp, list[Key]]:
    """Return the app of CLIENT_ID and its signing keys, of which ours is an active one."""
    app = service_app.fetch(org, settings.client_id(client_id))
    reason = f"does not exist at {org.host}" if app is None else service_app.unfit(org, app)
    held = [] if app is None or reason else keys_of(org, app)
    if not any(is_key(key, modulus) and is_active(key) for key in held):
        reason = reason or "does not trust the key in .env"
    if app is None or reason:
        problem = f"app {client_id} (CLIENT_ID) {reason}; nothing was changed"
        hint = f"run `{CREATE_APP}` first: it adds the key, or says what else to do"
        raise LocalError(problem, hint)
    return app, held


def _unless_changed(env: Env) -> Check:
    hint = "another run may have done the same: run this again if needed"
    return env.unless_changed(*NAMES, hint=hint)


def _stored_now(env: Env) -> dict[str, str]:
    """Return the key and the app in the file at this moment."""
    fresh = Env(env.path, {}, lambda _: None)
    return {name: fresh.stored(name) or "" for name in NAMES}


def _add(org: Org, app: ServiceApp, new: PublicKey, held: list[Key], out: Console) -> None:
    try:
        add(org, app, new, out)
    except OktaRefused as refusal:
        if len(held) >= MOST_KEYS:
            refusal.hint = f"run {RETIRE} first: an app can have {MOST_KEYS} keys"
        raise


def _prove(request: TokenRequest, out: Console) -> None:
    """Get a token, so that no key is saved that Okta does not accept."""
    pauses = iter(TRUST_PAUSES)
    while True:
        try:
            request.send()
        except OktaRefused as refusal:
            if refusal.code in ABOUT_SCOPES:
                out.note(f"Okta accepted the new key but issued no token: {refusal}")
                return
            if not any(text in refusal.summary for text in NOT_TRUSTED):
                raise
            pause = next(pauses, None)
            if pause is None:
                refusal.hint = "run this again in a few minutes; the key in .env is the old one"
                raise
            out.note(f"Okta does not trust the new key yet; retrying in {pause:.0f} seconds")
            time.sleep(pause)
        else:
            out.note("Okta issued a token for the new key")
            return


def _undo(
    org: Org, app: ServiceApp, new: PublicKey, env: Env, values: Mapping[str, str], out: Console
) -> None:
    """Remove the key from the app again, unless it is in `.env` after all."""
    try:
        if _stored_now(env)["PRIVATE_KEY"] == values["PRIVATE_KEY"]:
            out.note(f"the new key {new.kid} is in {env.path}, and Okta trusts it")
            return
        out.note(f"making sure that the new key {new.kid} is not left at the app {app.id}")
        for key in keys_of(org, app):
            if is_key(key, new.modulus):
                remove(org, app, key)
    except (PkjError, KeyboardInterrupt) as error:
        out.note(f"that failed: {error}" if str(error) else "that was interrupted")
        out.note(
            f"the key {new.kid} may still be at the app {app.id}; no one has its private key."
            f" Run {RETIRE}, or remove it at {WHERE}"
        )
