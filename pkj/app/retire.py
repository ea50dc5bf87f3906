"""Retiring old keys: once the key in use is proven, every other signing key is deleted."""

from argparse import Namespace
from collections.abc import Sequence

from pkj import keys, settings
from pkj.app.key import Key
from pkj.app.service_app import ServiceApp, is_key
from pkj.app.signing_keys import (
    app_in_use,
    name_of,
    remove,
    required,
    stored_now,
    unless_changed,
)
from pkj.console import Console
from pkj.env import Env
from pkj.errors import LocalError, UsageError
from pkj.okta.org import Org
from pkj.token.request import Client, TokenRequest


def step(env: Env, options: Namespace, out: Console) -> None:
    """Delete every signing key of the app but the one in use; encryption keys stay.

    Raises UsageError if nobody can be asked, LocalError, OktaRefused, NoUsableResponse. What
    is left after any of them is for the next run.
    """
    if not options.yes and not options.dry_run and not out.can_ask():
        raise UsageError("--retire-old-keys needs a terminal to ask for confirmation", "add --yes")
    have = required(env)
    wanted, bound = settings.scopes(have["SCOPES"]), settings.dpop(env.get("DPOP"))
    public, unchanged = keys.public_key(env), unless_changed(env)
    _refuse_two_keys(env)
    org = settings.org(have, options, out.note)

    app, held = app_in_use(org, have["CLIENT_ID"], public.modulus)
    old = [key for key in held if not is_key(key, public.modulus)]
    if not old:
        out.note(f"nothing to retire: the app {app.id} has no signing key but the one in use")
        return
    if out.dry_run:
        for key in old:
            out.would(f"delete the key {name_of(key)} of the app {app.id}")
        return
    client = Client(app.id, *keys.signing_key(env))
    TokenRequest(org, client, wanted, bound, out.note).send()
    if not options.yes:
        _ask(org, app, old, out)
    unchanged(stored_now(env))
    out.heading("Old keys retired:")
    for key in old:
        remove(org, app, key)
        out.say(name_of(key))


def _refuse_two_keys(env: Env) -> None:
    """The environment's key is the one in use; the file's must not be deleted as an old one."""
    given, stored = env.get("PRIVATE_KEY"), env.stored("PRIVATE_KEY")
    if stored not in (None, given):
        problem = f"the PRIVATE_KEY in use is not the one in {env.path}, which would be retired"
        raise LocalError(problem, "remove the one that is no longer needed")


def _ask(org: Org, app: ServiceApp, old: Sequence[Key], out: Console) -> None:
    names = "\n".join(f"  {name_of(key)}" for key in old)
    question = (
        f"this deletes these keys of the app {app.name} at {org.host}:\n{names}\n"
        f"machines that use them get no more tokens; type its client ID {app.id} to go on:"
    )
    if out.ask(question) != app.id:
        raise LocalError("the client ID was not typed; nothing was deleted", "run this again")
