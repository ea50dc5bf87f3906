"""A bound on how long a piece of work may take, whatever it is waiting for."""

import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


class NoThread(Exception):
    """The system has no thread left to do the work in."""


class TookTooLong(Exception):
    """The work was not done in time; it may still be going on, unheeded."""


def within(seconds: float, work: Callable[[], Result]) -> Result:
    """What `work()` returns or raises, or TookTooLong after `seconds`. Raises NoThread.

    The timeouts of requests bound each wait for a byte, not the whole: a body, or headers,
    that come a byte at a time pass them for ever, and a name look-up has none
    (requests.readthedocs.io/en/latest/user/advanced/#timeouts). So the work has a thread
    of its own, which is left behind when time is up, and ends with the process.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def carry_out() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - handed over, and raised below
            errors.append(error)

    thread = threading.Thread(target=carry_out, daemon=True)
    try:
        thread.start()
    except RuntimeError as cause:  # "can't start new thread"
        raise NoThread from cause
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TookTooLong
    return results[0]
