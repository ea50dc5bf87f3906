"""When the local clock is wrong: told by what Okta says, and by the Date of its answer."""

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

LEAST, MOST = 5.0, 24 * 3600.0
"""Seconds off that are worth a correction; beyond a day something else is wrong."""


def server_time(headers: Mapping[str, str]) -> float | None:
    """The Date of an answer in POSIX seconds, None if it has no usable one."""
    try:
        return parsedate_to_datetime(headers.get("Date", "")).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


def offset(headers: Mapping[str, str], sent: float) -> float | None:
    """Seconds to add to the local clock for the server's; None if they agree well enough.

    `sent` is when the request went out, in POSIX seconds by the local clock: an answer may
    take its time, and any moment since then may be its Date.
    """
    theirs = server_time(headers)
    if theirs is None:
        return None
    difference = theirs - min(max(theirs, sent), time.time())
    return difference if LEAST < abs(difference) <= MOST else None


def described(offset: float) -> str:
    """How far the local clock is off, in words."""
    return f"this machine's clock is {abs(offset):.0f} s {'slow' if offset > 0 else 'fast'}"
