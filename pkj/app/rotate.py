"""Key rotation without an outage, in an order in which it can be stopped anywhere.

The new key is added at Okta, proven, and only then saved. The old one stays trusted, so that
other machines can go on using it (developer.okta.com/docs/guides/key-management).
"""

import time
from argparse import Namespace
from collections.abc import Mapping

from pkj import keys, settings
from pkj.app import key as app_key
from pkj.app.service_app import ServiceApp, is_key
from pkj.app.signing_keys import (
    RETIRE,
    app_in_use,
    explain,
    name_of,
    remove,
    required,
    stored_now,
    unless_changed,
)
from pkj.console import Console
from pkj.env import Env
from pkj.errors import LocalError, OktaRefused, PkjError
from pkj.keys import PublicKey
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
"""Of an app (developer.okta.com/docs/guides/implement-oauth-for-okta-serviceapp)."""


def step(env: Env, options: Namespace, out: Console) -> None:
    """Replace the key in `.env` by a new one of the same size; the old one stays trusted.

    What fails or is interrupted before the new key is saved leaves `.env` as it was, and the
    key that was added is removed again if possible. Raises LocalError, OktaRefused,
    NoUsableResponse.
    """
    _refuse_environment(env)
    have = required(env)
    wanted, bound = settings.scopes(have["SCOPES"]), settings.dpop(env.get("DPOP"))
    public, unchanged = keys.public_key(env), unless_changed(env)
    org = settings.org(have, options, out.note)
    if not out.dry_run:
        env.save({}, check=unchanged)  # the same text again: shows now whether it can be saved

    app, held = app_in_use(org, have["CLIENT_ID"], public.modulus)
    old = ", ".join(name_of(key) for key in held if is_key(key, public.modulus))
    bits = public.modulus.bit_length()
    if out.would(f"add a new key of {bits} bits to the app {app.id}, and get a token with it"):
        out.would(f"save it in {env.path}, keep the previous file, and leave {old} trusted")
        return
    key = keys.generate(bits)
    values = keys.of_new_key(key)
    kid = values["KEY_ID"]
    new = public._replace(modulus=keys.modulus_of(key), kid=kid)
    request = TokenRequest(org, Client(app.id, key, kid), wanted, bound, out.note)
    try:
        _add(org, app, new, held, out)
        _prove(request, out)
        env.save(values, check=unchanged, keep_copy=True)
    except (PkjError, KeyboardInterrupt):
        _undo(org, app, new, env, values, out)
        raise

    out.heading("Key rotated:")
    out.say(kid)
    out.note(f"the old key {old} is still trusted; once nothing uses it, run {RETIRE}")


def _refuse_environment(env: Env) -> None:
    names = [n for n in ("PRIVATE_KEY", "MODULUS", "KEY_ID") if env.is_from_environment(n)]
    if names:
        problem = f"{' and '.join(names)} set in the environment: rotation changes only {env.path}"
        hint = (
            "change the key where the environment gets it from; to rotate the one in the file,"
            f" unset {' and '.join(names)}"
        )
        raise LocalError(problem, hint)


def _add(org: Org, app: ServiceApp, new: PublicKey, held: list[app_key.Key], out: Console) -> None:
    try:
        app_key.add(org, app, new, held, out)
    except OktaRefused as refusal:
        explain(refusal)
        if len(held) >= MOST_KEYS:
            refusal.hint = f"run {RETIRE} first: an app can have {MOST_KEYS} keys"
        raise


def _prove(request: TokenRequest, out: Console) -> None:
    """Get a token, which nobody needs, so that no key is saved that Okta does not accept."""
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
            out.note(f"Okta does not trust the new key yet; trying again in {pause:.0f} seconds")
            time.sleep(pause)
        else:
            out.note("Okta issued a token for the new key")
            return


def _undo(
    org: Org, app: ServiceApp, new: PublicKey, env: Env, values: Mapping[str, str], out: Console
) -> None:
    """Remove the key from the app again, unless it is in `.env` after all."""
    try:
        if stored_now(env)["PRIVATE_KEY"] == values["PRIVATE_KEY"]:
            out.note(f"the new key {new.kid} is in {env.path}, and Okta trusts it")
            return
        out.note(f"making sure that the new key {new.kid} does not stay at the app {app.id}")
        for key in app_key.keys_of(org, app):
            if is_key(key, new.modulus):
                remove(org, app, key)
    except (PkjError, KeyboardInterrupt) as error:
        out.note(f"that failed: {error}" if str(error) else "that was interrupted")
        out.note(
            f"the key {new.kid} may still be at the app {app.id}; no one has its private key."
            f" Run {RETIRE}, or remove it at {app_key.WHERE}"
        )
