"""Misbehaviours (see `faults`) in which something else answers, and the org does no work."""

from collections.abc import Mapping
from typing import Literal

from pkj.sandbox.exchange import Answer, Request, management_refusal, oauth_refusal
from pkj.sandbox.wire import Action, Turn

PROXY_PAGE = b"""<!DOCTYPE html>
<html><head><title>Please sign in</title></head>
<body><h1>Web access is filtered here</h1></body></html>
"""


def status(code: int, body: object = None, headers: Mapping[str, str] | None = None) -> Action:
    """This answer. `body` is sent as JSON, bytes as they are, None as an empty body."""
    return lambda turn: turn.send(Answer(code, body, dict(headers or {})))


def html(code: int = 200) -> Action:
    """The page of a proxy."""
    return status(code, PROXY_PAGE, {"content-type": "text/html; charset=utf-8"})


def redirect(location: str, code: int = 302) -> Action:
    """Go somewhere else."""
    return status(code, None, {"location": location})


def empty() -> Action:
    """200 and nothing in it."""
    return status(200)


def huge(size: int) -> Action:
    """200 and one JSON object of `size` bytes (16 at least), sent without holding it in memory."""

    def act(turn: Turn) -> None:
        headers = {"content-type": "application/json", "content-length": str(size)}
        opening, closing = b'{"padding":"', b'"}'
        answer = Answer(200, None, headers)
        turn.begin(answer, turn.head(answer) + opening)
        left = size - len(opening) - len(closing)
        while left > 0:
            turn.connection.sendall(b"x" * min(left, 65536))
            left -= 65536
        turn.connection.sendall(closing)

    return act


def rate_limit(
    limit: int,
    remaining: int,
    seconds_to_reset: int,
    skew: float = 0,
    *,
    with_headers: bool = True,
) -> Action:
    """Okta's 429. `Date` and X-Rate-Limit-Reset are on one clock, `skew` seconds off the org's.

    `limit` 0 is the form for too many requests at a time. Shape as Okta sends it to its own
    Python SDK (tests/integration/cassettes of okta-sdk-python).
    """
    summary = "API call exceeded rate limit due to too many requests."

    def act(turn: Turn) -> None:
        headers = {"date": turn.date(skew)}
        if with_headers:
            headers["x-rate-limit-limit"] = str(limit)
            headers["x-rate-limit-remaining"] = str(remaining)
            headers["x-rate-limit-reset"] = str(int(turn.org.clock() + skew) + seconds_to_reset)
        turn.send(management_refusal(429, "E0000047", summary, headers=headers).answer)

    return act


def unavailable() -> Action:
    """Okta's 400 for an overload or maintenance (the error is that of RFC 6749 section 4.1.2.1)."""
    description = "The authorization server is currently unable to handle the request."
    return lambda turn: turn.send(oauth_refusal(400, "temporarily_unavailable", description).answer)


def echo(code: int, dialect: Literal["management", "oauth"]) -> Action:
    """A refusal with the request in its text, headers and body, as careless servers do it."""

    def act(turn: Turn) -> None:
        text = _told(turn.seen.request)
        if dialect == "oauth":
            refusal = oauth_refusal(code, "invalid_request", text)
        else:
            refusal = management_refusal(code, "E0000003", text, text)
        turn.send(refusal.answer)

    return act


def _told(request: Request) -> str:
    headers = "\n".join(f"{name}: {value}" for name, value in request.headers.items())
    return (
        f"{request.method} {request.target}\n{headers}\n\n{request.body.decode('utf-8', 'replace')}"
    )
