"""Reading an answer of Okta's: its two error shapes, and everything that is neither."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pkj import causes
from pkj.errors import NoUsableAnswer, OktaRefused
from pkj.masking import shortened

Wanted = TypeVar("Wanted")


@dataclass(frozen=True)
class Answer:
    """One whole answer. `headers` are looked up in any case; `content` is the body."""

    url: str
    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def date(self) -> float | None:
        """The server's clock in POSIX seconds, None if the answer has no usable Date."""
        try:
            return parsedate_to_datetime(self.headers.get("Date", "")).timestamp()
        except (TypeError, ValueError, OverflowError):
            return None

    def json(self) -> Any:
        """The body as JSON; raises ValueError if it is none."""
        try:
            return json.loads(self.content)
        except RecursionError as cause:
            raise ValueError("nested too deeply") from cause


@dataclass(frozen=True)
class Refusal:
    """What Okta said, in either of its shapes."""

    code: str
    summary: str
    causes: tuple[str, ...] = ()
    error_id: str = ""


def accept(doing: str, answer: Answer) -> Answer:
    """The answer if it is a 2xx. Raises OktaRefused for a 4xx in one of Okta's shapes,
    NoUsableAnswer for the rest. `doing` begins the message: "registering the app"."""
    if 200 <= answer.status < 300:
        return answer
    if 300 <= answer.status < 400:
        raise _redirected(doing, answer)
    refusal = read_refusal(answer)
    if refusal is None:
        raise _unreadable(doing, answer, f"HTTP {answer.status} without an Okta error")
    said = [f"{refusal.code}: {refusal.summary}", *refusal.causes]
    message = f"{doing}: Okta answered {answer.status} {'; '.join(map(shortened, said))}"
    if refusal.error_id:
        message += f" (errorId {shortened(refusal.error_id, 60)})"
    hint = causes.cure(doing, answer.status, refusal.code, " ".join(said))
    if answer.status >= 500 or answer.status == 429:
        raise NoUsableAnswer(message, hint)
    raise OktaRefused(
        message,
        hint,
        status=answer.status,
        code=refusal.code,
        summary=refusal.summary,
        causes=refusal.causes,
    )


def read_refusal(answer: Answer) -> Refusal | None:
    """What an answer refuses with, None if it has neither of Okta's error shapes.

    One endpoint speaks both, and at any status: `/oauth2/v1/clients` answers 400 in the
    OAuth shape and 403 in the management one (Okta's OpenAPI description).
    """
    try:
        body = answer.json()
    except ValueError:
        return None
    if not isinstance(body, dict):
        return None
    if isinstance(code := body.get("errorCode"), str):
        listed = body.get("errorCauses")
        found = (
            [c.get("errorSummary") for c in listed if isinstance(c, dict)]
            if isinstance(listed, list)
            else []
        )
        reasons = tuple(c for c in found if isinstance(c, str))
        return Refusal(code, _text(body, "errorSummary"), reasons, _text(body, "errorId"))
    if isinstance(code := body.get("error"), str):
        return Refusal(code, _text(body, "error_description"))
    return None


def body_of(doing: str, answer: Answer, shape: type[Wanted]) -> Wanted:
    """The JSON body, which has to be a `shape` (dict or list). Raises NoUsableAnswer."""
    wanted = "a JSON list" if shape is list else "a JSON object"
    try:
        body = answer.json()
    except ValueError as cause:
        raise _unreadable(doing, answer, f"expected {wanted}") from cause
    if not isinstance(body, shape):
        raise _unreadable(doing, answer, f"expected {wanted}")
    return body


def text_in(doing: str, body: Mapping[str, Any], name: str) -> str:
    """The non-empty text `body[name]`. Raises NoUsableAnswer."""
    value = body.get(name)
    if isinstance(value, str) and value:
        return value
    raise NoUsableAnswer(f"{doing}: the answer has no {name} in it, as text", causes.NO_ORG)


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    return value if isinstance(value, str) else ""


def _redirected(doing: str, answer: Answer) -> NoUsableAnswer:
    target = urlsplit(answer.headers.get("Location", "")).netloc.rpartition("@")[2]
    where = f" to {shortened(target, 100)}" if target else ""
    message = f"{doing}: {_host(answer)} answered {answer.status}, a redirect{where}"
    return NoUsableAnswer(message, causes.REDIRECTED)


def _unreadable(doing: str, answer: Answer, expected: str) -> NoUsableAnswer:
    kind = answer.headers.get("Content-Type", "no content type").split(";")[0]
    size = f"{len(answer.content)} bytes" if answer.content else "an empty body"
    message = f"{doing}: {expected}, but {_host(answer)} answered {answer.status} with {size}"
    return NoUsableAnswer(
        f"{message} ({shortened(kind, 60)})", causes.of_no_okta(answer.status, kind, answer.content)
    )


def _host(answer: Answer) -> str:
    return urlsplit(answer.url).netloc
