"""The org that the settings name: OKTA_URL, and API_KEY where a step needs it."""

import re
from argparse import Namespace
from collections.abc import Callable, Mapping

from pkj import org_url
from pkj.errors import WrongHere
from pkj.okta.org import Org
from pkj.okta.retries import FOR_AN_APP


def org(
    settings: Mapping[str, str],
    options: Namespace,
    note: Callable[[str], None],
    longest_wait: float = FOR_AN_APP,
) -> Org:
    """The org of OKTA_URL, with API_KEY if that is among the settings. Raises WrongHere."""
    key = api_key(settings["API_KEY"]) if "API_KEY" in settings else ""
    url = org_url.normal(settings["OKTA_URL"])
    return Org(
        url,
        api_key=key,
        timeout=options.timeout,
        verbose=options.verbose,
        explain=options.explain,
        note=note,
        longest_wait=longest_wait,
    )


def api_key(text: str) -> str:
    """API_KEY as it goes into a header; its `SSWS ` prefix is ours to write. Raises WrongHere."""
    key = text.removeprefix("SSWS ")
    if re.fullmatch(r"{.*}|<.*>", key):
        problem = "API_KEY still has the placeholder in it"
        hint = "make a token at Security > API > Tokens, and put it there"
        raise WrongHere(problem, hint, setting="API_KEY")
    if org_url.is_address(key):
        problem = "API_KEY is an address, not an API token"
        hint = "OKTA_URL and API_KEY look swapped: put each in the other's place"
        raise WrongHere(problem, hint, setting="API_KEY")
    if not re.fullmatch(r"[!-~]+", key):
        problem = "API_KEY has characters in it that no API token has"
        hint = "copy it again, in one line and without blanks"
        raise WrongHere(problem, hint, setting="API_KEY")
    return key
