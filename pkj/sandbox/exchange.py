"""Requests and responses of the mock org: how bodies are read, and how Okta refuses."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn
from urllib.parse import parse_qsl


@dataclass(frozen=True)
class Request:
    """An HTTP request. Header names are in lower case; `target` is the path with its query."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    # Not urlsplit: it raises on targets such as `//[`.
    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))


@dataclass
class Response:
    """An HTTP response. A `body` of None is not sent; bytes are sent unchanged."""

    status: int
    body: object = None
    headers: dict[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        if self.body is None:
            return b""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class Refusal(Exception):
    """An error response; a rule raises it, and the org sends it."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


def management_refusal(
    status: int, code: str, summary: str, *causes: str, headers: dict[str, str] | None = None
) -> Refusal:
    """Return the shape of `/api/v1` (and of some OAuth errors): errorCode and so on."""
    body = {
        "errorCode": code,
        "errorSummary": summary,
        "errorLink": code,
        "errorId": "oaePretendErrorIdentifier",
        "errorCauses": [{"errorSummary": cause} for cause in causes],
    }
    return Refusal(Response(status, body, headers or {}))


def oauth_refusal(
    status: int, error: str, description: str, headers: dict[str, str] | None = None
) -> Refusal:
    """Return the shape of RFC 6749 section 5.2: error and error_description."""
    return Refusal(
        Response(status, {"error": error, "error_description": description}, headers or {})
    )


# Request bodies: JSON of limited depth, and forms without repeated fields.

DEEPEST_JSON = 40
MOST_FORM_FIELDS = 100


def strict_json(raw: bytes) -> object:
    """Return the value of JSON text in UTF-8. Raises ValueError, also for NaN and Infinity."""
    try:
        value: object = json.loads(raw.decode(), parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if _is_deeper_than(DEEPEST_JSON, value):
        raise ValueError("nested too deeply")
    return value


def json_object(request: Request) -> dict[str, object]:
    """Return the JSON object in a body; E0000021 for another type, E0000003 if malformed."""
    if _media_type(request) != "application/json":
        summary = "Bad request. Accept and/or Content-Type headers likely do not match supported "
        raise management_refusal(400, "E0000021", summary + "values.")
    try:
        value = strict_json(request.body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise management_refusal(400, "E0000003", "The request body was not well-formed.")
    return value


def form(request: Request) -> dict[str, str]:
    """Return the fields of a form that are not empty; another body has no fields."""
    if _media_type(request) != "application/x-www-form-urlencoded":
        return {}
    text = request.body.decode("utf-8", "replace")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FORM_FIELDS)
    except ValueError:
        raise oauth_refusal(400, "invalid_request", "Invalid request") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        description = "The request contained multiple parameters with the same name."
        raise oauth_refusal(400, "invalid_request", description)
    return {name: value for name, value in fields.items() if value}


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _is_deeper_than(levels: int, value: object) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return False
    return levels == 0 or any(_is_deeper_than(levels - 1, child) for child in value)
