"""Which app is ours: the one CLIENT_ID names, one that holds only our key, or a new one."""

import time
from collections.abc import Sequence

from pkj import keys, service_app
from pkj.app_key import keys_of
from pkj.console import Console
from pkj.errors import LostAnswer, WrongHere
from pkj.key_settings import PublicKey
from pkj.okta import Org
from pkj.retries import PAUSES
from pkj.service_app import ServiceApp

SET_RIGHT = "set that right at Applications > the app"
ANOTHER_KEY = "make another key with generate_keys.py --force"


def find_or_register(
    org: Org, client_id: str | None, public: PublicKey, name: str, out: Console
) -> ServiceApp:
    """The app to bring into line with `.env`; a new one only where the org has none of ours.

    Names and kids repeat, so an app is known by CLIENT_ID or by the key it holds. In a dry
    run an app that would be registered has no id. Raises WrongHere where it cannot be told
    which app is meant, or the app is of another kind; OktaRefused, NoUsableAnswer.
    """
    if client_id and (app := _named(org, client_id, out)):
        return app
    if app := _holder(org, public.modulus, out):
        return app
    if out.would(f"register the app {name!r}"):
        return ServiceApp("", {}, new=True)
    return _register(org, public, name, out)


def _register(org: Org, public: PublicKey, name: str, out: Console) -> ServiceApp:
    """Register the app. After a lost answer it may exist: then the org is searched first."""
    pauses = iter(PAUSES)
    while True:
        try:
            return service_app.register(org, name, keys.jwk(public.modulus, public.kid))
        except LostAnswer as lost:
            pause = next(pauses, None) if lost.in_time else None
            out.note(f"{lost}; looking whether the app is there all the same")
            time.sleep(pause or 0)
            if app := _holder(org, public.modulus, out):
                return app
            if pause is None:
                raise


def _named(org: Org, client_id: str, out: Console) -> ServiceApp | None:
    app = service_app.fetch(org, service_app.client_id(client_id))
    if app is None:
        out.note(f"the app {client_id} of CLIENT_ID is gone from {org.host}")
    elif reason := service_app.unfit(org, app):
        problem = f"the app {client_id} of CLIENT_ID {reason}; nothing was changed"
        hint = f"{SET_RIGHT}, or empty CLIENT_ID and {ANOTHER_KEY} for a new app"
        raise WrongHere(problem, hint, setting="CLIENT_ID")
    return app


def _holder(org: Org, modulus: int, out: Console) -> ServiceApp | None:
    """The one app that holds our key and no other.

    Somebody may have planted an app with our public key beside one of their own: scopes
    that a Super Admin's run gave it would be theirs. So any doubt is for a person to end.
    """
    matches = list(service_app.search(org, modulus))
    if not matches:
        return None
    doubt = _doubt(org, matches)
    if doubt is None:
        out.note(f"the app {matches[0].id} holds this key and no other")
        return matches[0]
    reason, hint = doubt
    lines = [f"  {app.id}  {app.name}" for app in matches]
    problem = "\n".join([f"apps with this key are in the org already, but {reason}:", *lines])
    raise WrongHere(problem, hint)


def _doubt(org: Org, matches: Sequence[ServiceApp]) -> tuple[str, str] | None:
    """Why a person has to choose, and how; None for one app that is surely ours."""
    choose = "write CLIENT_ID= with the one that is yours into .env and run this again"
    if len(matches) > 1:
        return "there are several", choose
    if reason := service_app.unfit(org, matches[0]):
        return f"this one {reason}", f"{SET_RIGHT}, delete it there, or {ANOTHER_KEY}"
    if len(keys_of(org, matches[0])) > 1:
        return "this one trusts other keys too", choose
    return None
