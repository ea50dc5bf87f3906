"""What came back: Okta's responses, its two shapes of errors, and its clock."""

import json
import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pkj import masking
from pkj.errors import LostResponse, NoUsableResponse, OktaRefused
from pkj.okta import hints

LEAST_OFFSET, MOST_OFFSET = 5.0, 24 * 3600.0
"""Seconds between the two clocks that are worth a correction; a larger difference is a fault."""


class Response:
    """A whole response. `doing` says what the request was for, and begins each message;
    `headers` are looked up in any case; `content` is the body; `hide` are the secrets of the
    request, which a response may quote."""

    def __init__(
        self,
        doing: str,
        url: str,
        status: int,
        headers: Mapping[str, str],
        content: bytes,
        hide: tuple[str, ...] = (),
    ) -> None:
        self.doing, self.url, self.status, self.headers = doing, url, status, headers
        self.content, self.hide = content, hide

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def limited_for(self) -> float | None:
        """Seconds until the rate limit resets, None if this is not a 429 that says so.

        Okta sends X-Rate-Limit-Reset in POSIX seconds and no Retry-After; reset and Date are
        both of Okta's clock, so the local one does not matter. With the concurrency limit
        the reset is a hint of the same form (developer.okta.com/docs/reference/rl2-monitor).
        """
        reset = self.headers.get("X-Rate-Limit-Reset", "")
        now = server_time(self.headers)
        if self.status != 429 or now is None or not re.fullmatch(r"[0-9]{1,15}", reset):
            return None
        return max(int(reset) - now, 0.0) + 1.0

    def shown(self, text: str, limit: int = 300) -> str:
        """Return some text of this response as it may be shown: masked and shortened."""
        return masking.shown(text, self.hide, limit)

    def json(self) -> Any:
        """Return the body, parsed. Raises ValueError if it is not JSON.

        Python would accept NaN and Infinity, which JSON lacks (RFC 8259 section 6), and read
        1e999 as Infinity.
        """
        try:
            return json.loads(self.content, parse_constant=_finite, parse_float=_finite)
        except RecursionError as cause:
            raise ValueError("nested too deeply") from cause

    def parsed(self) -> Any:
        """Return the body, parsed. Raises NoUsableResponse if it is not JSON, and OktaRefused if
        it is a refusal whatever the status."""
        try:
            body = self.json()
        except ValueError as cause:
            raise self._unreadable("expected JSON") from cause
        if refusal := _refusal_in(body):
            raise self._refused(refusal)
        return body

    def object(self) -> dict[str, Any]:
        """Return the body, which must be a JSON object. Raises as `parsed` does."""
        body = self.parsed()
        if not isinstance(body, dict):
            raise self._unreadable("expected a JSON object")
        return body

    def array(self) -> list[Any]:
        """Return the body, which must be a JSON array. Raises as `parsed` does."""
        body = self.parsed()
        if not isinstance(body, list):
            raise self._unreadable("expected a JSON array")
        return body

    def unusable(self, problem: str) -> NoUsableResponse:
        """Return the error for a response that is not what was asked for."""
        return NoUsableResponse(
            f"{self.doing}: {problem}", hints.OTHER_RESPONSE, status=self.status
        )

    def accepted(self) -> "Response":
        """Return the response if it is a 2xx. Raises OktaRefused for a 4xx in one of Okta's
        shapes, and NoUsableResponse otherwise, also for a fault at Okta (see hints.FAULTS)."""
        if 200 <= self.status < 300:
            return self
        if 300 <= self.status < 400:
            raise self._redirected()
        if refusal := self._refusal():
            raise self._refused(refusal)
        raise self._unreadable("expected a response from Okta")

    def _refusal(self) -> "Refusal | None":
        """Return the refusal in the body in one of Okta's error shapes, or in a header, where
        an API refuses a token (RFC 6750 section 3).

        One endpoint uses both shapes, at any status: `/oauth2/v1/clients` answers 400 in the
        OAuth shape and 403 in the management one (Okta's OpenAPI description).
        """
        try:
            body = self.json()
        except ValueError:
            body = None
        challenge = re.findall(r'\b(error\w*)="([^"]*)"', self.headers.get("WWW-Authenticate", ""))
        return _refusal_in(body) or _refusal_in(dict(challenge))

    def _refused(self, refusal: "Refusal") -> OktaRefused | NoUsableResponse:
        said = "; ".join([f"{refusal.code}: {refusal.summary}", *refusal.causes])
        message = f"{self.doing}: Okta answered {self.status} {self.shown(said, 600)}"
        if refusal.error_id:
            message += f" (errorId {self.shown(refusal.error_id, 60)})"
        hint = hints.for_refusal(self.doing, self.status, refusal.code, said)
        if self.status == 429:
            hint = f"{self._again() or 'run this again in a minute'}: {hint}"
        if refusal.code in hints.FAULTS:
            return LostResponse(message, hint, status=self.status, retry=True)
        if self.status == 429 or self.status >= 500:
            return self._failure(message, hint)
        return OktaRefused(
            message,
            hint,
            status=self.status,
            headers=self.headers,
            code=refusal.code,
            summary=refusal.summary,
        )

    def _redirected(self) -> NoUsableResponse:
        target = re.match(r"https?://(?:[^/?#]*@)?([^/?#]+)", self.headers.get("Location", ""))
        where = f" to {self.shown(target[1], 100)}" if target else ""
        message = f"{self.doing}: {self.host} answered {self.status}, a redirect{where}"
        return NoUsableResponse(message, hints.REDIRECT, status=self.status)

    def _unreadable(self, expected: str) -> NoUsableResponse:
        kind = self.headers.get("Content-Type", "no content type").split(";")[0]
        size = f"{len(self.content)} bytes" if self.content else "an empty body"
        message = f"{self.doing}: {expected}, but {self.host} answered {self.status} with {size}"
        hint = self._again() or hints.for_other(self.status, kind, self.content)
        return self._failure(f"{message} ({self.shown(kind, 60)})", hint)

    def _again(self) -> str:
        if self.limited_for is None:
            return ""
        return f"run this again in {self.limited_for:.0f} seconds"

    def _failure(self, message: str, hint: str) -> NoUsableResponse:
        if self.status >= 500:
            return LostResponse(message, hint, status=self.status, retry=True)
        # A 429 without a reset time is retried like a 5xx, but was certainly not carried out.
        retry = self.status == 429 and self.limited_for is None
        return NoUsableResponse(message, hint, status=self.status, retry=retry)


class Refusal(NamedTuple):
    """What Okta said, in either of its shapes."""

    code: str
    summary: str
    causes: tuple[str, ...] = ()
    error_id: str = ""


def text_in(doing: str, body: Mapping[str, Any], name: str) -> str:
    """Return the text `body[name]`. Raises NoUsableResponse, also if it is empty or not ASCII:
    Okta's IDs, kids and tokens are never either."""
    value = body.get(name)
    if isinstance(value, str) and value and value.isascii():
        return value
    raise NoUsableResponse(f"{doing}: the response has no text named {name}", hints.OTHER_RESPONSE)


def written(doing: str, body: Mapping[str, Any], *, ascii_only: bool = False) -> str:
    """Return JSON text, indented. Raises NoUsableResponse for what is nested too deeply:
    Python writes fewer levels than it reads (seen with 3.12)."""
    try:
        return json.dumps(body, indent=2, ensure_ascii=ascii_only)
    except RecursionError as cause:
        problem = f"{doing}: the response is nested too deeply"
        raise NoUsableResponse(problem, hints.OTHER_RESPONSE) from cause


def server_time(headers: Mapping[str, str]) -> float | None:
    """Return the Date of a response in POSIX seconds, None if it has no usable one."""
    try:
        return parsedate_to_datetime(headers.get("Date", "")).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


def clock_offset(headers: Mapping[str, str], sent: float) -> float | None:
    """Return the seconds to add to the local clock; None if negligible or absurd.

    `sent` is when the request went out, in POSIX seconds by the local clock. The server may
    have written its Date at any moment from then on: within that time, the clocks agree.
    """
    theirs, now = server_time(headers), time.time()
    if theirs is None or sent <= theirs <= now:
        return None
    offset = theirs - (sent if theirs < sent else now)
    return offset if LEAST_OFFSET < abs(offset) <= MOST_OFFSET else None


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


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    return value if isinstance(value, str) else ""


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is not a number of JSON")
    return number
