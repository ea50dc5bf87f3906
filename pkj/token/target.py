"""The one request that `--for` or `--check` names: checked before anything is sent."""

import re
from urllib.parse import urlsplit

from pkj import settings
from pkj.errors import WrongHere, WrongUsage
from pkj.okta import org as okta


def check_usage(form: str | None, target: list[str] | None, path: str | None) -> None:
    """Raises WrongUsage where `-o`, `--for` and `--check` do not go together."""
    if target and form != "header":
        raise WrongUsage("--for requires -o header")
    if path is not None and form:
        raise WrongUsage("--check cannot be combined with -o")
    if path is not None and not re.fullmatch(r"/(?!/)[!-\"$-\[\]-~]*", path):
        raise WrongUsage("--check takes a path of the org, like /api/v1/users")
    if target and not re.fullmatch(r"[A-Za-z]+", target[0]):
        raise WrongUsage(f"--for takes a method like GET, not {target[0]!r}")


def check_url(url: str, org: str) -> None:
    """Raises WrongUsage for a URL that is not of the org at the URL `org`: the token is for
    nobody else. Also for one that would go out in another form than the proof is made for."""
    try:
        parts = urlsplit(url)
        same = settings.okta_url(f"{parts.scheme}://{parts.netloc}") == org
        # OKTA_URL goes without the dot, and a proof would name another address than Okta's.
        same = same and not (parts.hostname or "").endswith(".")
    except (ValueError, WrongHere):
        same = False
    if not same or not re.fullmatch(r"[!-\[\]-~]+", url):
        raise WrongUsage(f"--for takes a URL that begins with {org}/")
    sent = okta.as_sent(url.partition("#")[0])
    if sent not in (url.partition("#")[0], f"{url}/"):
        raise WrongUsage("a request for that URL goes out in another form", f"write {sent}")


def refuse_bound(form: str, target: list[str] | None) -> None:
    """Raises WrongHere for a form in which nobody could use a DPoP-bound token."""
    if form == "token" or (form == "header" and not target):
        problem = "the token is bound to a key (DPoP): without a proof it is useless"
        raise WrongHere(problem, "ask for a request's own headers: -o header --for METHOD URL")
