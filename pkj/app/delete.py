"""Delete the app: deactivate it, delete it, clear CLIENT_ID. The keys stay in `.env`."""

import time
from argparse import Namespace
from typing import NoReturn

from pkj import keys, settings
from pkj.app import service_app
from pkj.app.key import keys_of, names_of_others
from pkj.app.service_app import ServiceApp
from pkj.console import Console
from pkj.env import Env
from pkj.errors import LocalError, OktaRefused
from pkj.okta.org import Org
from pkj.okta.responses import text_in

LAG_PAUSES = (1.0, 2.0, 4.0, 8.0, 10.0)
"""Seconds between deletions that Okta refuses because the deactivation has not reached all of
it: terraform-provider-okta waits 20 to 30 seconds in all (services/idaas/app.go)."""

STILL_ACTIVE = "E0000056"


def delete_app(env: Env, options: Namespace, out: Console) -> None:
    """Delete the app that CLIENT_ID in the file names; the environment cannot override it.

    An app that no longer exists counts as deleted. Raises UsageError if nobody can be asked;
    LocalError if the app is not ours, or its client ID is not typed to confirm; OktaRefused,
    NoUsableResponse.
    """
    out.require_person(options, "--delete")
    have = env.require("OKTA_URL", "API_KEY", "MODULUS or PRIVATE_KEY")
    client_id = env.stored("CLIENT_ID")
    if client_id is None:
        problem = f"there is no CLIENT_ID in {env.path}, and so no app to delete"
        raise LocalError(problem, "if there is an app, set CLIENT_ID to its client ID")
    deleted = f"the app {client_id} is deleted; check the new CLIENT_ID"
    public, unchanged = keys.public_key(env), env.unless_changed("CLIENT_ID", hint=deleted)
    org = settings.org(have, options, out.note)

    app = service_app.fetch(org, settings.client_id(client_id))
    if app is None:
        _refuse_other_host(org)
        out.note(f"app {client_id} does not exist at {org.host}")
    else:
        _refuse_others_app(org, app, public.modulus, out)
    if options.dry_run:
        if app:
            out.say(f"would deactivate and delete the app {app.id}")
        out.say("would clear CLIENT_ID in .env")
        return
    if app:
        if not options.yes:
            out.confirm(f"this deletes the app {app.name} at {org.host}", app.id)
        org.post(f"deactivating the app {app.id}", f"{app.api_path}/lifecycle/deactivate")
        _delete(org, app, out)

    env.save({"CLIENT_ID": ""}, check=unchanged)
    out.heading("Okta Service app deleted:")
    out.say(client_id)


def _delete(org: Org, app: ServiceApp, out: Console) -> None:
    doing, pauses = f"deleting the app {app.id}", iter(LAG_PAUSES)
    while True:
        try:
            org.delete(doing, app.api_path)
        except OktaRefused as error:
            if error.status == 404:  # a response was lost, or another run deleted it
                return
            pause = next(pauses, None) if error.code == STILL_ACTIVE else None
            if pause is None:
                raise
            out.note(f"Okta still considers the app active; retrying in {pause:.0f} seconds")
            time.sleep(pause)
        else:
            return


def _refuse_other_host(org: Org) -> None:
    """Raise NoUsableResponse if OKTA_URL is not an org: another host answers 404 as well."""
    doing = f"checking that {org.host} is an Okta org"
    text_in(doing, org.metadata(doing, "/.well-known/okta-organization").object(), "id")


def _refuse_others_app(org: Org, app: ServiceApp, modulus: int, out: Console) -> None:
    if reason := service_app.of_another_kind(app):
        _refuse(app, reason)
    held = keys_of(org, app)
    if not any(service_app.is_key(key, modulus) for key in held):
        _refuse(app, "does not have the key in .env")
    if others := names_of_others(held, modulus):
        out.note(f"the app also trusts other keys, which will stop working: {others}")


def _refuse(app: ServiceApp, reason: str) -> NoReturn:
    problem = f"app {app.id} (CLIENT_ID) {reason}; nothing was deleted"
    raise LocalError(problem, "delete it in the Admin Console if it is yours")
