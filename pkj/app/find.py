"""Which app is ours: the one in CLIENT_ID, one that holds only our key, or a new one."""

import time
from collections.abc import Iterator

from pkj import settings
from pkj.app import service_app
from pkj.app.key import CHOOSE, keys_of
from pkj.app.service_app import ServiceApp, Wanted, is_key, keys_in
from pkj.console import APP_NAME, Console
from pkj.errors import LocalError, LostResponse, NoUsableResponse
from pkj.okta.hints import GENERATE_KEYS
from pkj.okta.org import Org
from pkj.okta.responses import text_in

CORRECT = "correct that at Applications > the app"
ACTIVATE = "activate it at Applications > the app"
ANOTHER_KEY = f"run `{GENERATE_KEYS} --force` for another key"

LAG_PAUSES = (1.0, 2.0, 5.0, 8.0)
"""Seconds between searches after a lost response: Okta's list of apps may lag behind."""

LARGEST_PAGE = 200
"""Of a list of clients (developer.okta.com/docs/api/openapi/okta-oauth/oauth/tag/Client)."""

MOST_PAGES, MOST_FETCHED, LONGEST_SEARCH = 500, 1000, 600.0
"""Pages read, apps fetched one by one, and seconds: the limits of a search."""

PROGRESS_EVERY = 3.0
"""Seconds between two lines that say how far a search is."""


def find(org: Org, client_id: str | None, wanted: Wanted, out: Console) -> ServiceApp | None:
    """Return the app to bring into line with `.env`, None if the org has none.

    Names and kids can repeat, so an app is known by CLIENT_ID or by the key it holds. Raises
    LocalError if it is unclear which app is meant, or it is of another kind; OktaRefused,
    NoUsableResponse.
    """
    app = _named(org, client_id, out) if client_id else None
    app = app or _holder(org, wanted.public.modulus, out)
    if app and wanted.name not in (None, app.shown.get("client_name")):
        out.note(
            f"the app {app.id} is called {app.name} and was not renamed:"
            " change its name at Applications > the app > General"
        )
    return app


def register(org: Org, wanted: Wanted, out: Console) -> ServiceApp:
    """Register the app. If the response is lost and no app with the key appears, try once more.

    Raises OktaRefused, NoUsableResponse.
    """
    modulus, kid, again = wanted.public.modulus, wanted.public.kid, True
    while True:
        try:
            return service_app.register_app(org, wanted.name or APP_NAME, modulus, kid)
        except LostResponse as lost:
            out.note(f"{lost}; checking whether the app was registered all the same")
            if app := _appeared(org, modulus, out):
                return app
            if not again or not lost.retry:
                raise
            again = False


def _appeared(org: Org, modulus: int, out: Console) -> ServiceApp | None:
    """Return the app that holds our key, searching until Okta's list should show it."""
    for pause in LAG_PAUSES:
        if app := _holder(org, modulus, out):
            return app
        out.note(f"waiting {pause:.0f} seconds for {org.host} to list an app with this key")
        time.sleep(pause)
    return _holder(org, modulus, out)


def _named(org: Org, client_id: str, out: Console) -> ServiceApp | None:
    app = service_app.fetch(org, settings.client_id(client_id))
    if app is None:
        out.note(f"app {client_id} (CLIENT_ID) does not exist at {org.host}")
    elif reason := service_app.unfit(org, app):
        problem = f"app {client_id} (CLIENT_ID) {reason}; nothing was changed"
        first = ACTIVATE if reason == service_app.DEACTIVATED else CORRECT
        raise LocalError(problem, f"{first}, or clear CLIENT_ID and {ANOTHER_KEY} for a new app")
    return app


def _holder(org: Org, modulus: int, out: Console) -> ServiceApp | None:
    """Return the one app that holds our key and no other.

    Somebody may have planted an app that has our public key beside one of their own, in order to
    get the scopes that a Super Admin's run grants. So a person has to resolve any doubt.
    """
    matches = list(_search(org, modulus, out))
    if not matches:
        return None
    app, unfit = matches[0]
    held = [] if len(matches) > 1 or unfit else keys_of(org, app)
    if len(matches) > 1:
        doubt, hint = "there are several", CHOOSE
    elif unfit:
        first = ACTIVATE if unfit == service_app.DEACTIVATED else CORRECT
        doubt, hint = f"this one {unfit}", f"{first}, delete it there, or {ANOTHER_KEY}"
    elif not all(is_key(key, modulus) for key in [*keys_in(app.shown), *held]):
        doubt, hint = "this one trusts other keys too", CHOOSE
    elif not held:
        doubt, hint = "this one shows no keys at Applications > the app > General", CHOOSE
    else:
        out.note(f"found the app {app.id} by its key")
        return app._replace(adopted=True)
    lines = [f"  {app.id}  {app.name}" for app, _ in matches]
    problem = "\n".join([f"the org already has apps with this key, but {doubt}:", *lines])
    raise LocalError(problem, hint)


def _search(org: Org, modulus: int, out: Console) -> Iterator[tuple[ServiceApp, str | None]]:
    """Yield the org's apps that hold this key, each with the reason why it is unfit, if it is.

    The key itself is compared, because names and kids can repeat. Every page of the list is
    read; an app whose keys the list does not show is fetched. Raises NoUsableResponse at a limit.
    """
    doing = "looking for an app with this key"
    progress = _Progress(doing, out)
    for page in org.pages(doing, f"/oauth2/v1/clients?limit={LARGEST_PAGE}"):
        progress.count(pages=1)
        for shown in page.array():
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
    """How far a search is, noted every few seconds. Ends a list that never ends."""

    def __init__(self, doing: str, out: Console) -> None:
        self._doing, self._out = doing, out
        self._pages, self._fetched = 0, 0
        self._began = self._noted = time.monotonic()

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
            hint = "check OKTA_URL, or put the app's client ID in CLIENT_ID"
            raise NoUsableResponse(problem, hint)
        if now - self._noted >= PROGRESS_EVERY:
            self._out.note(f"{self._doing}: {far}")
            self._noted = now
