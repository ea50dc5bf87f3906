"""One request, one answer, and the ways in which Okta says no."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl


@dataclass(frozen=True)
class Request:
    """What arrived. Header names are in lower case; `target` is the path with its query."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    # Cut by hand: urlsplit raises on targets like `//[`, and a client may send any.
    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))


@dataclass
class Answer:
    """What goes back. A `body` of None is sent as no body at all, bytes as they are."""

    status: int
    body: object = None
    headers: dict[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        if self.body is None:
            return b""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class Refusal(Exception):
    """An answer that says no; raised by a rule, turned into an answer at the org's door."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def management_refusal(
    status: int, code: str, summary: str, *causes: str, headers: dict[str, str] | None = None
) -> Refusal:
    """The shape of `/api/v1` (and of some OAuth failures): errorCode and its companions."""
    body = {
        "errorCode": code,
        "errorSummary": summary,
        "errorLink": code,
        "errorId": "oaePretendErrorIdentifier",
        "errorCauses": [{"errorSummary": cause} for cause in causes],
    }
    return Refusal(Answer(status, body, headers or {}))


def oauth_refusal(
    status: int, error: str, description: str, headers: dict[str, str] | None = None
) -> Refusal:
    """The shape of RFC 6749 section 5.2: error and error_description."""
    return Refusal(
        Answer(status, {"error": error, "error_description": description}, headers or {})
    )
