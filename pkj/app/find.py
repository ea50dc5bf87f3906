"""Which app is ours: the one CLIENT_ID names, one that holds only our key, or a new one."""

import time
from collections.abc import Iterator, Sequence

from pkj import settings
from pkj.app import service_app
from pkj.app.key import CHOOSE, keys_of
from pkj.app.service_app import ServiceApp, is_key, keys_in
from pkj.console import APP_NAME, Console
from pkj.errors import LocalError, LostResponse, NoUsableResponse
from pkj.keys import PublicKey
from pkj.okta.org import Org
from pkj.okta.responses import body_of, text_in

SET_RIGHT = "set that right at Applications > the app"
ACTIVATE = "activate it at Applications > the app"
ANOTHER_KEY = "make another key with generate_keys.py --force"

LAG_PAUSES = (1.0, 2.0, 5.0, 8.0)
"""Seconds between searches after a lost answer: Okta's list of apps may lag behind."""

LARGEST_PAGE = 200
"""Of a list of clients (developer.okta.com/docs/api/openapi/okta-oauth/oauth/tag/Client)."""

MOST_PAGES, MOST_FETCHED, LONGEST_SEARCH = 500, 1000, 600.0
"""Pages read, apps fetched one by one, and seconds: what a search may take."""

PROGRESS_EVERY = 3.0
"""Seconds between two lines that say how far a search is."""


def find_or_register(
    org: Org, client_id: str | None, public: PublicKey, name: str | None, out: Console
) -> ServiceApp:
    """The app to bring into line with `.env`; a new one only where the org has none of ours.

    Names and kids repeat, so an app is known by CLIENT_ID or by the key it holds. In a dry
    run an app that would be registered has no id. `name` is for a new app only. Raises
    LocalError where it cannot be told which app is meant, or the app is of another kind;
    OktaRefused, NoUsableResponse.
    """
    app = (_named(org, client_id, out) if client_id else None) or _holder(org, public.modulus, out)
    if app:
        if name not in (None, app.shown.get("client_name")):
            out.note(
                f"the app {app.id} is called {app.name} and was not renamed:"
                " change its name at Applications > the app > General"
            )
        return app
    name = name or APP_NAME
    if out.would(f"register the app {name!r}"):
        return ServiceApp("", {}, new=True)
    return _register(org, public, name, out)


def _register(org: Org, public: PublicKey, name: str, out: Console) -> ServiceApp:
    """Register the app; once more if the answer is lost and no app with the key appears."""
    again = True
    while True:
        try:
            return service_app.register(org, name, public.modulus, public.kid)
        except LostResponse as lost:
            out.note(f"{lost}; checking whether the app was registered all the same")
            if app := _appeared(org, public.modulus, out):
                return app
            if not again or not lost.in_time:
                raise
            again = False


def _appeared(org: Org, modulus: int, out: Console) -> ServiceApp | None:
    """The app that holds our key, searched for until Okta's list should show it."""
    for pause in LAG_PAUSES:
        if app := _holder(org, modulus, out):
            return app
        out.note(f"waiting {pause:.0f} seconds for {org.host} to list an app with this key")
        time.sleep(pause)
    return _holder(org, modulus, out)


def _named(org: Org, client_id: str, out: Console) -> ServiceApp | None:
    app = service_app.fetch(org, settings.client_id(client_id))
    if app is None:
        out.note(f"app {client_id} (CLIENT_ID) no longer exists at {org.host}")
    elif reason := service_app.unfit(org, app):
        problem = f"the app {client_id} of CLIENT_ID {reason}; nothing was changed"
        mend = ACTIVATE if reason == service_app.DEACTIVATED else SET_RIGHT
        hint = f"{mend}, or clear CLIENT_ID and {ANOTHER_KEY} for a new app"
        raise LocalError(problem, hint, setting="CLIENT_ID")
    return app


def _holder(org: Org, modulus: int, out: Console) -> ServiceApp | None:
    """The one app that holds our key and no other.

    Somebody may have planted an app with our public key beside one of their own: scopes
    that a Super Admin's run gave it would be theirs. So any doubt is for a person to end.
    """
    matches = list(_search(org, modulus, out))
    if not matches:
        return None
    doubt = _doubt(org, matches, modulus)
    if doubt is None:
        app, _ = matches[0]
        out.note(f"the app {app.id} holds this key and no other")
        return app._replace(adopted=True)
    reason, hint = doubt
    lines = [f"  {app.id}  {app.name}" for app, _ in matches]
    problem = "\n".join([f"apps with this key are in the org already, but {reason}:", *lines])
    raise LocalError(problem, hint)


def _doubt(
    org: Org, matches: Sequence[tuple[ServiceApp, str | None]], modulus: int
) -> tuple[str, str] | None:
    """Why a person has to choose, and how; None for one app that is surely ours."""
    if len(matches) > 1:
        return "there are several", CHOOSE
    app, reason = matches[0]
    if reason:
        mend = ACTIVATE if reason == service_app.DEACTIVATED else SET_RIGHT
        return f"this one {reason}", f"{mend}, delete it there, or {ANOTHER_KEY}"
    shown, held = keys_in(app.shown), keys_of(org, app)
    if not all(is_key(key, modulus) for key in [*shown, *held]):
        return "this one trusts other keys too", CHOOSE
    if not held:
        return "this one shows no keys at Applications > the app > General", CHOOSE
    return None


def _search(org: Org, modulus: int, out: Console) -> Iterator[tuple[ServiceApp, str | None]]:
    """The org's apps that hold this key, each with the reason why it is unfit, if it is.

    Compared by the key itself, because names and kids repeat. Reads every page of the list;
    an app whose keys the list does not show is fetched. Raises NoUsableResponse at a limit.
    """
    doing = "looking for an app with this key"
    progress = _Progress(doing, out)
    for page in org.pages(doing, f"/oauth2/v1/clients?limit={LARGEST_PAGE}"):
        progress.count(pages=1)
        for shown in body_of(doing, page, list):
            if not isinstance(shown, dict):
                continue
            if service_app.may_hide_keys(shown):
                progress.count(fetched=1)
                client_id = text_in(doing, shown, "client_id")
                shown = service_app.shown_by(org, doing, client_id) or {}
            if any(is_key(key, modulus) for key in keys_in(shown)):
                progress.count(fetched=1)
                app = service_app.app_of(doing, shown)
                reason = service_app.unfit(org, app)
                if reason != service_app.NOT_AN_APP:
                    yield app, reason


class _Progress:
    """How far a search is, said every few seconds. A list that goes on for ever ends it."""

    def __init__(self, doing: str, out: Console) -> None:
        self._doing, self._out = doing, out
        self._pages, self._fetched = 0, 0
        self._began = self._said = time.monotonic()

    def count(self, *, pages: int = 0, fetched: int = 0) -> None:
        self._pages += pages
        self._fetched += fetched
        now = time.monotonic()
        far = f"{self._pages} pages read, {self._fetched} apps fetched"
        if (
            self._pages > MOST_PAGES
            or self._fetched > MOST_FETCHED
            or now - self._began > LONGEST_SEARCH
        ):
            problem = (
                f"{self._doing}: stopped after {now - self._began:.0f} seconds, {far}; the limits"
                f" are {LONGEST_SEARCH:.0f} seconds, {MOST_PAGES} pages and {MOST_FETCHED} apps"
            )
            raise NoUsableResponse(
                problem, "check OKTA_URL, or put the app's client ID in CLIENT_ID"
            )
        if now - self._said >= PROGRESS_EVERY:
            self._out.note(f"{self._doing}: {far}")
            self._said = now
