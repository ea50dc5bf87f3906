"""What we raise, with which exit code: local error, Okta refused, no usable response."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class PkjError(Exception):
    """The root. `str(error)` is a sentence for a person, `hint` says what to do next.

    `exit_code` is what the process ends with.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class LocalError(PkjError):
    """Something on this machine is wrong: a setting, the key, the file, a CA path.

    `setting` is the name in `.env` that the message is about, if it is about one.
    """

    def __init__(self, message: str, hint: str = "", *, setting: str = "") -> None:
        super().__init__(message, hint)
        self.setting = setting


class UsageError(PkjError):
    """Options that do not go together, or an answer that only a terminal could give."""

    exit_code = 2


class OktaRefused(PkjError):
    """Okta said no, in one of its two error shapes, with a 4xx other than 429.

    `status` is the HTTP status, `headers` those of the answer (looked up in any case),
    `code` Okta's errorCode or OAuth error, `summary` its errorSummary or error_description.
    """

    exit_code = 3

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        status: int = 0,
        headers: Mapping[str, str] = NO_HEADERS,
        code: str = "",
        summary: str = "",
    ) -> None:
        super().__init__(message, hint)
        self.status, self.headers, self.code, self.summary = status, headers, code, summary


class NoUsableResponse(PkjError):
    """No answer (`status` is 0), or one that nobody can read: a later run might cure it."""

    exit_code = 4

    def __init__(self, message: str, hint: str = "", *, status: int = 0) -> None:
        super().__init__(message, hint)
        self.status = status


class LostResponse(NoUsableResponse):
    """The request may have been carried out at Okta although no answer says so.

    `in_time` is false where the time to wait was used up: then it is not sent again.
    """

    def __init__(
        self, message: str, hint: str = "", *, status: int = 0, in_time: bool = True
    ) -> None:
        super().__init__(message, hint, status=status)
        self.in_time = in_time


@contextmanager
def gathered(problem: str) -> Iterator[list[OktaRefused]]:
    """A list for refusals that stop nothing, for a `with` block.

    At its end they are raised as one OktaRefused, each thing to do once; or with the
    NoUsableResponse that ended the block early, as one of its kind.
    """
    refused: list[OktaRefused] = []
    try:
        yield refused
    except NoUsableResponse as error:
        if not refused:
            raise
        raise NoUsableResponse(*_listed(problem, [*refused, error])) from error
    if refused:
        raise OktaRefused(*_listed(problem, refused))


def _listed(problem: str, errors: Sequence[PkjError]) -> tuple[str, str]:
    hints = dict.fromkeys(error.hint for error in errors if error.hint)
    return "\n  ".join([f"{problem}:", *map(str, errors)]), "\n".join(hints)
