"""Request bodies: JSON that a parser survives, and forms without surprises."""

import json
from typing import NoReturn
from urllib.parse import parse_qsl

from pkj.sandbox.exchange import Request, management_refusal, oauth_refusal

DEEPEST_JSON = 40
MOST_FORM_FIELDS = 100


def strict_json(raw: bytes) -> object:
    """The value of a JSON text in UTF-8. ValueError for anything else, and for NaN or Infinity."""
    try:
        value: object = json.loads(raw.decode(), parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if _is_deeper_than(DEEPEST_JSON, value):
        raise ValueError("nested too deeply")
    return value


def json_object(request: Request) -> dict[str, object]:
    """The JSON object in a request's body; E0000021 for another type, E0000003 if malformed."""
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
    """The fields of a form, empty ones left out; a body that is not a form has no fields."""
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
