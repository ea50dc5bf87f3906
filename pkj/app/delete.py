"""Delete the app: deactivate it, delete it, clear CLIENT_ID. The keys stay in `.env`."""

import time
from argparse import Namespace
from typing import NoReturn

from pkj import keys, settings
from pkj.app import key as app_key
from pkj.app import service_app
from pkj.app.service_app import ServiceApp
from pkj.console import Console
from pkj.env import Env
from pkj.errors import LocalError, NoUsableResponse, OktaRefused, UsageError
from pkj.okta.org import Org
from pkj.okta.responses import body_of, text_in

LAG_PAUSES = (1.0, 2.0, 4.0, 8.0, 10.0)
"""Seconds between deletions that Okta refuses because the deactivation has not reached all of
it: terraform-provider-okta waits 20 to 30 seconds in all (services/idaas/app.go)."""

STILL_ACTIVE = "E0000056"


def is_meant(options: Namespace) -> bool:
    """Whether the app is to be deleted. Raises UsageError for --yes where nothing is asked."""
    if options.yes and not options.delete and not options.retire_old_keys:
        raise UsageError("--yes requires --delete or --retire-old-keys")
    return bool(options.delete)


def step(env: Env, options: Namespace, out: Console) -> None:
    """Delete the app that CLIENT_ID in the file names, which the environment cannot override.

    Raises UsageError where nobody could be asked, LocalError, OktaRefused, NoUsableResponse.
    """
    if not options.yes and not options.dry_run and not out.can_ask():
        raise UsageError(
            "--delete asks for confirmation at a terminal, and there is none", "add --yes"
        )
    have = env.require("OKTA_URL", "API_KEY", "MODULUS or PRIVATE_KEY")
    client_id = env.stored("CLIENT_ID")
    if client_id is None:
        problem = f"there is no CLIENT_ID in {env.path}: there is no app to delete"
        raise LocalError(problem, "if there is one all the same, put its client ID there")
    deleted = f"the app {client_id} is deleted; look at the new one"
    public, unchanged = keys.public_key(env), env.unless_changed("CLIENT_ID", hint=deleted)
    org = settings.org(have, options, out.note)

    delete(org, settings.client_id(client_id), public.modulus, out, confirmed=options.yes)

    if not out.would("clear CLIENT_ID in .env"):
        env.save({"CLIENT_ID": ""}, check=unchanged)
    out.heading("Okta Service app deleted:")
    out.say(client_id)


def delete(org: Org, client_id: str, modulus: int, out: Console, *, confirmed: bool) -> None:
    """Delete the app of this id, if it is one of ours. One that is gone counts as deleted.

    Raises LocalError if it is not ours, or the client id is not typed as confirmation;
    OktaRefused, NoUsableResponse.
    """
    app = service_app.fetch(org, client_id)
    if app is None:
        _make_sure_of_org(org)
        out.note(f"app {client_id} no longer exists at {org.host}")
        return
    _check_ours(org, app, modulus, out)
    if out.would(f"deactivate and delete the app {app.id}"):
        return
    question = (
        f"this deletes the app {app.name} at {org.host}; type its client id {app.id} to go on:"
    )
    if not confirmed and out.ask(question) != app.id:
        raise LocalError("the client id was not typed; nothing was deleted", "run this again")
    doing = f"deactivating the app {app.id}"
    org.post(doing, f"{app.api_path}/lifecycle/deactivate")  # 2xx, with or without a body
    _delete(org, app, out)


def _delete(org: Org, app: ServiceApp, out: Console) -> None:
    doing, pauses = f"deleting the app {app.id}", iter(LAG_PAUSES)
    while True:
        try:
            answer = org.delete(doing, app.api_path)
        except OktaRefused as error:
            if error.status == 404:  # an answer of ours was lost, or somebody was faster
                return
            pause = next(pauses, None) if error.code == STILL_ACTIVE else None
            if pause is None:
                raise
            out.note(f"Okta still takes the app for active; trying again in {pause:.0f} seconds")
            time.sleep(pause)
        else:
            if answer.status != 204:
                problem = f"{doing}: expected 204, but {org.host} answered {answer.status}"
                raise NoUsableResponse(problem, "run this again to see whether it is gone")
            return


def _make_sure_of_org(org: Org) -> None:
    """A wrong OKTA_URL answers 404 too: only an Okta org describes itself as one."""
    doing = f"making sure that {org.host} is an Okta org"
    answer = org.metadata(doing, "/.well-known/okta-organization")
    text_in(doing, body_of(doing, answer, dict), "id")


def _check_ours(org: Org, app: ServiceApp, modulus: int, out: Console) -> None:
    if reason := service_app.of_another_kind(app):
        _refuse(app, reason)
    held = app_key.keys_of(org, app)
    if not any(service_app.is_key(key, modulus) for key in held):
        _refuse(app, "does not hold the key in .env")
    if others := app_key.names_of_others(held, modulus):
        out.note(f"the app trusts other keys too, which will stop working: {others}")


def _refuse(app: ServiceApp, reason: str) -> NoReturn:
    problem = f"the app {app.id} of CLIENT_ID {reason}; nothing was deleted"
    raise LocalError(problem, "delete it in the Admin Console if it is yours", setting="CLIENT_ID")
