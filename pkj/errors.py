"""What we raise, and with which exit code: local error, Okta refused, no usable response."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class PkjError(Exception):
    """The base class. `str(error)` says what failed, and `hint` what to do next.

    `exit_code` is what the process ends with.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class LocalError(PkjError):
    """Something on this machine is wrong: a setting, the key, the file, a CA path."""


class UsageError(PkjError):
    """Options that cannot be combined, or a question that needs a terminal."""

    exit_code = 2


class OktaRefused(PkjError):
    """Okta refused, in one of its two error shapes, with a 4xx other than 429.

    `status` is the HTTP status, `headers` those of the response (looked up in any case),
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
    """No response (`status` is 0), or one that cannot be used; a later run may succeed.

    `retry` says that another attempt in this run is worthwhile.
    """

    exit_code = 4

    def __init__(
        self, message: str, hint: str = "", *, status: int = 0, retry: bool = False
    ) -> None:
        super().__init__(message, hint)
        self.status, self.retry = status, retry


class LostResponse(NoUsableResponse):
    """Okta may have carried out the request although no response says so."""


Failure = OktaRefused | NoUsableResponse


@contextmanager
def gathered(problem: str) -> Iterator[list[OktaRefused]]:
    """Yield a list for refusals that do not end the `with` block.

    When the block ends they are raised as one OktaRefused, with each hint once; or as one
    NoUsableResponse, together with the one that ended the block early.
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
