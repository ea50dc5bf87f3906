"""SCOPES: the names in it, and how they are granted to the app."""

import re

from pkj.errors import WrongHere

EXAMPLE = "okta.users.read okta.users.manage"


def read(text: str) -> list[str]:
    """The scopes of a text that separates them by spaces, each once, in order.

    Raises WrongHere for commas, and for what cannot be a scope (RFC 6749 section 3.3).
    """
    scopes = list(dict.fromkeys(text.split()))
    if "," in text:
        meant = " ".join(text.replace(",", " ").split())
        hint = f"separate them by spaces: SCOPES='{meant or EXAMPLE}'"
        raise WrongHere("SCOPES has commas in it", hint, setting="SCOPES")
    strange = [scope for scope in scopes if not re.fullmatch(r"[!#-\[\]-~]+", scope)]
    if strange or not scopes:
        problem = f"SCOPES has {strange[0]!r} in it" if strange else "SCOPES names no scope"
        hint = f"write it like SCOPES='{EXAMPLE}'"
        raise WrongHere(problem, hint, setting="SCOPES")
    return scopes
