"""What came back: Okta's responses, its two shapes of errors, and its clock."""

import json
import math
import re
import time
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from pkj import masking
from pkj.errors import LostResponse, NoUsableResponse, OktaRefused
from pkj.okta import hints

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


Wanted = TypeVar("Wanted")

DEEPEST = 50
"""Levels of JSON. What is read has to be shown again, and Python's writer with indentation
ends in a RecursionError before its reader does (seen with 3.12)."""


class Response:
    """One whole response. `headers` are looked up in any case; `content` is the body; `hide`
    are the secrets of the request, which a response may quote."""

    def __init__(
        self,
        url: str,
        status: int,
        headers: Mapping[str, str],
        content: bytes,
        hide: tuple[str, ...] = (),
    ) -> None:
        self.url, self.status, self.headers = url, status, headers
        self.content, self.hide = content, hide

    @property
    def limited_for(self) -> float | None:
        """Seconds until a 429 says that requests are welcome again, None if it does not say.

        Okta sends X-Rate-Limit-Reset in POSIX seconds and no Retry-After; reset and Date are
        both of Okta's clock, so the local one does not matter. With the concurrency limit
        the reset is a hint of the same form (developer.okta.com/docs/reference/rl2-monitor).
        """
        reset = self.headers.get("X-Rate-Limit-Reset", "")
        now = server_time(self.headers)
        if now is None or not re.fullmatch(r"[0-9]{1,15}", reset):
            return None
        return max(int(reset) - now, 0.0) + 1.0

    def shown(self, text: str, limit: int = 300) -> str:
        """Some text of this answer as it may be shown: masked and cut."""
        return masking.shown(text, self.hide, limit)

    def json(self) -> Any:
        """The body as JSON; raises ValueError if it is none.

        Python would read NaN and Infinity, which JSON lacks (RFC 8259 section 6), make an
        Infinity of 1e999, and write them.
        """
        try:
            body = json.loads(self.content, parse_constant=_finite, parse_float=_finite)
        except RecursionError as cause:
            raise ValueError("nested too deeply") from cause
        level = [body]
        for _ in range(DEEPEST):
            level = [inner for outer in level for inner in _inside(outer)]
        if level:
            raise ValueError("nested too deeply")
        return body


class Refusal(NamedTuple):
    """What Okta said, in either of its shapes."""

    code: str
    summary: str
    causes: tuple[str, ...] = ()
    error_id: str = ""


def accept(doing: str, answer: Response) -> Response:
    """The answer if it is a 2xx. Raises OktaRefused for a 4xx in one of Okta's shapes,
    NoUsableResponse for the rest, a fault at Okta's (see hints.FAULTS) among them.

    `doing` begins the message: "registering the app".
    """
    if 200 <= answer.status < 300:
        return answer
    if 300 <= answer.status < 400:
        raise _redirected(doing, answer)
    if refusal := read_refusal(answer):
        raise _refused(doing, answer, refusal)
    raise _unreadable(doing, answer, "expected a response from Okta")


def read_refusal(answer: Response) -> Refusal | None:
    """What an answer refuses with, None if it has neither of Okta's error shapes, nor the
    challenge in a header in which an API refuses a token (RFC 6750 section 3).

    One endpoint speaks both, and at any status: `/oauth2/v1/clients` answers 400 in the
    OAuth shape and 403 in the management one (Okta's OpenAPI description).
    """
    try:
        body = answer.json()
    except ValueError:
        body = None
    return _refusal_in(body) or _refusal_in(_challenge(answer.headers))


def _refusal_in(body: object) -> Refusal | None:
    if not isinstance(body, dict):
        return None
    if isinstance(code := body.get("errorCode"), str):
        listed = body.get("errorCauses")
        found = [c for c in listed if isinstance(c, dict)] if isinstance(listed, list) else []
        reasons = tuple(filter(None, (_text(c, "errorSummary") for c in found)))
        return Refusal(code, _text(body, "errorSummary"), reasons, _text(body, "errorId"))
    if isinstance(code := body.get("error"), str):
        return Refusal(code, _text(body, "error_description"))
    return None


def body_of(doing: str, answer: Response, shape: type[Wanted]) -> Wanted:
    """The JSON body, which has to be a `shape` (dict or list). Raises NoUsableResponse, and
    OktaRefused where it refuses whatever the status says."""
    wanted = "a JSON list" if shape is list else "a JSON object"
    try:
        body = answer.json()
    except ValueError as cause:
        raise _unreadable(doing, answer, f"expected {wanted}") from cause
    if refusal := _refusal_in(body):
        raise _refused(doing, answer, refusal)
    if not isinstance(body, shape):
        raise _unreadable(doing, answer, f"expected {wanted}")
    return body


def text_in(doing: str, body: Mapping[str, Any], name: str) -> str:
    """The non-empty text `body[name]`. Raises NoUsableResponse, also for one that no request can
    hold: JSON has escapes for half a character (RFC 8259 section 8.2)."""
    value = body.get(name)
    if isinstance(value, str) and value and not re.search(r"[\ud800-\udfff]", value):
        return value
    problem = f"{doing}: the response has no text named {name}"
    raise NoUsableResponse(problem, hints.CURES[hints.OTHER_ANSWER])


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is not a number of JSON")
    return number


def _inside(body: object) -> Iterable[Any]:
    if isinstance(body, dict):
        return body.values()
    return body if isinstance(body, list) else ()


def _challenge(headers: Mapping[str, str]) -> dict[str, str]:
    return dict(re.findall(r'\b(error\w*)="([^"]*)"', headers.get("WWW-Authenticate", "")))


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    return value if isinstance(value, str) else ""


def _refused(doing: str, answer: Response, refusal: Refusal) -> OktaRefused | NoUsableResponse:
    said = "; ".join([f"{refusal.code}: {refusal.summary}", *refusal.causes])
    message = f"{doing}: Okta answered {answer.status} {answer.shown(said, 600)}"
    if refusal.error_id:
        message += f" (errorId {answer.shown(refusal.error_id, 60)})"
    hint = hints.cure(doing, answer.status, refusal.code, said)
    if answer.status == 429:
        hint = f"{_again(answer) or 'run this again in a minute'}: {hint}"
    if refusal.code in hints.FAULTS:
        return LostResponse(message, hint, status=answer.status)
    if answer.status == 429 or answer.status >= 500:
        return _no_answer(answer, message, hint)
    return OktaRefused(
        message,
        hint,
        status=answer.status,
        headers=answer.headers,
        code=refusal.code,
        summary=refusal.summary,
    )


def _redirected(doing: str, answer: Response) -> NoUsableResponse:
    target = re.match(r"https?://(?:[^/?#]*@)?([^/?#]+)", answer.headers.get("Location", ""))
    where = f" to {answer.shown(target[1], 100)}" if target else ""
    message = f"{doing}: {_host(answer)} answered {answer.status}, a redirect{where}"
    return NoUsableResponse(message, hints.CURES[hints.REDIRECT], status=answer.status)


def _unreadable(doing: str, answer: Response, expected: str) -> NoUsableResponse:
    kind = answer.headers.get("Content-Type", "no content type").split(";")[0]
    size = f"{len(answer.content)} bytes" if answer.content else "an empty body"
    message = f"{doing}: {expected}, but {_host(answer)} answered {answer.status} with {size}"
    hint = _again(answer) or hints.cure_without_okta(answer.status, kind, answer.content)
    return _no_answer(answer, f"{message} ({answer.shown(kind, 60)})", hint)


def _again(answer: Response) -> str:
    """When to ask again, if it is a 429 that says so."""
    if answer.status != 429 or answer.limited_for is None:
        return ""
    return f"run this again in {answer.limited_for:.0f} seconds"


def _no_answer(answer: Response, message: str, hint: str) -> NoUsableResponse:
    """A 5xx, and a 429 that names no time, is a lost answer: it may be asked for again."""
    lost = answer.status >= 500 or (answer.status == 429 and not _again(answer))
    return (LostResponse if lost else NoUsableResponse)(message, hint, status=answer.status)


def _host(answer: Response) -> str:
    return urlsplit(answer.url).netloc
