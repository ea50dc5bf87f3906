"""DPOP: the user's word on whether tokens are bound to a key (RFC 9449)."""

from pkj.errors import WrongHere


def read(text: str | None) -> bool | None:
    """What DPOP says, None where it says nothing. Raises WrongHere."""
    words = {"": None, "true": True, "false": False}
    word = (text or "").strip().lower()
    if word not in words:
        hint = "write DPOP=true or DPOP=false, or leave it out"
        raise WrongHere(f"DPOP has {text!r} in it", hint, setting="DPOP")
    return words[word]
