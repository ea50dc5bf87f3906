"""What is repeated, how often, and after how long a pause."""

import time
from collections.abc import Callable

from pkj.errors import LostAnswer
from pkj.okta import answers
from pkj.okta.answers import Answer

PAUSES = (0.5, 1.5)
"""Seconds before the second and the third attempt, after a lost connection or a 5xx."""

FOR_A_TOKEN, FOR_AN_APP = 65.0, 600.0
"""Seconds that one run waits for rate limits, in all. Okta's windows are a minute long
(developer.okta.com/docs/reference/rate-limits), and a free org allows ten calls of some kinds
in each: a token takes one window at most, an app with many scopes several.
"""


class Patience:
    """How long one run goes on trying. `note` takes a line for people; `longest_wait` is in
    seconds, for rate limits in all."""

    def __init__(self, note: Callable[[str], None], longest_wait: float) -> None:
        self._note, self._left = note, longest_wait

    def answer_to(self, doing: str, attempt: Callable[[], Answer], *, repeat: bool) -> Answer:
        """The answer of an attempt, if that is a 2xx.

        After a 429 there is another one, when Okta welcomes it; with `repeat` (sending twice
        does no harm) also after a lost answer. Raises what attempt() and accept() raise.
        """
        pauses = iter(PAUSES)
        while True:
            try:
                answer = attempt()
                if not self._another_after(doing, answer):
                    return answers.accept(doing, answer)
            except LostAnswer as lost:
                pause = next(pauses, None) if repeat and lost.in_time else None
                if pause is None:
                    raise
                self._note(f"{lost}; trying again")
                time.sleep(pause)

    def _another_after(self, doing: str, answer: Answer) -> bool:
        """Wait as a 429 asks, if that is not too long; one that names no time is like a 5xx."""
        wait = answer.limited_for
        if answer.status != 429 or wait is None or wait > self._left:
            return False
        self._note(f"{doing}: Okta's rate limit is reached; trying again in {wait:.0f} seconds")
        self._left -= wait
        time.sleep(wait)
        return True
