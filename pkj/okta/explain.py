"""Show requests and responses in full, without secrets, for people who learn the flow."""

import json
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import requests

from pkj.masking import MASK, masked, visible
from pkj.okta.responses import Response

SENT = ("Authorization", "DPoP", "Accept", "Content-Type")
RECEIVED = (
    *("Content-Type", "Date", "Location", "Link", "WWW-Authenticate", "DPoP-Nonce"),
    *("X-Rate-Limit-Limit", "X-Rate-Limit-Remaining", "X-Rate-Limit-Reset", "Retry-After"),
    "X-Okta-Request-Id",
)
"""The headers to show, of requests and of responses."""

JWT_FIELDS = ("client_assertion", "access_token", "DPoP")
"""Fields that may hold a JWT, which is shown decoded."""

SECRET = {"access_token", "refresh_token", "id_token", "client_secret"}
"""Members of a response that are never shown."""

PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
"""Members of a JWK that are never shown (RFC 7518 sections 6.3.2 and 6.4)."""

LONGEST = 20_000
"""Characters of a body that are shown, at most."""


def request(prepared: requests.PreparedRequest) -> str:
    """Return a request as lines that begin with `>`."""
    headers = dict(_among(prepared.headers, SENT))
    if scheme := headers.get("Authorization", "").partition(" ")[0]:
        headers["Authorization"] = f"{scheme} {MASK}"
    body = prepared.body or b""
    text = body if isinstance(body, str) else bytes(body).decode("utf-8", "replace")
    lines = [f"{prepared.method} {prepared.url}", *_fields(headers.items())]
    if "form" in headers.get("Content-Type", ""):
        lines += ["", *_fields(parse_qsl(text, keep_blank_values=True))]
    elif text:
        try:
            lines += ["", *_json(json.loads(text))]
        except RecursionError:
            lines += ["", text]
    return _block(">", lines)


def response(received: Response) -> str:
    """Return a response as lines that begin with `<`; a long body is cut."""
    phrases = {int(status): status.phrase for status in HTTPStatus}
    lines = [f"{received.status} {phrases.get(received.status, '')}".rstrip()]
    headers = _among(received.headers, RECEIVED)
    lines += _fields((name, received.shown(value, 1000)) for name, value in headers)
    try:
        body = received.json()
        shown = _body(body, received)
    except (ValueError, RecursionError):
        body = None
        text = received.content[: 5 * LONGEST].decode("utf-8", "replace").split("\n")
        shown = _cut(text, len(received.content), received.hide)
    if received.content:
        lines += ["", *shown]
    token = body.get("access_token") if isinstance(body, dict) else None
    if isinstance(token, str) and len(token) < LONGEST and (decoded := _decoded(token)):
        lines += ["", "access_token is a JWT:", *decoded]
    return _block("<", lines)


def _body(body: object, received: Response) -> list[str]:
    secrets = [*received.hide]
    if isinstance(body, dict):
        secrets += [v for name, v in body.items() if _is_secret(name, v) and v.isascii()]
    return _cut(_json(body), len(received.content), secrets)


def _among(headers: Mapping[str, Any], names: Iterable[str]) -> list[tuple[str, str]]:
    return [(name, str(headers[name])) for name in names if name in headers]


def _fields(fields: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, value in fields:
        if name in JWT_FIELDS and (decoded := _decoded(value)):
            yield f"{name}:"
            yield from decoded
        else:
            yield f"{name}: {MASK if name in JWT_FIELDS else value}"


def _decoded(token: str) -> list[str]:
    """Return the lines of a JWT, header, claims and a placeholder; empty if it is not one."""
    try:
        header, claims, _ = token.split(".")
        parts = [json.loads(urlsafe_b64decode(part + "==")) for part in (header, claims)]
        lines = [json.dumps(part, indent=2, ensure_ascii=False).split("\n") for part in parts]
    except (ValueError, RecursionError):
        return []
    if not all(isinstance(part, dict) for part in parts):
        return []
    return [f"  {line}" for line in (*lines[0], ".", *lines[1], ".", "[signature]")]


def _json(value: object, name: str | None = None, *, comma: str = "") -> Iterator[str]:
    """Yield the lines of indented JSON text one by one, so that a long text can be cut early."""
    start = "" if name is None else f"{json.dumps(name, ensure_ascii=False)}: "
    brackets = "{}" if isinstance(value, dict) else "[]"
    if not isinstance(value, (dict, list)) or not value:
        yield start + json.dumps(value, ensure_ascii=False) + comma
        return
    yield start + brackets[0]
    key = isinstance(value, dict) and "kty" in value
    members = value.items() if isinstance(value, dict) else ((None, item) for item in value)
    for number, (inner, item) in enumerate(members, 1):
        hidden = _is_secret(inner, item) or (key and inner in PRIVATE)
        more = "," if number < len(value) else ""
        for line in _json(MASK if hidden else item, inner, comma=more):
            yield f"  {line}"
    yield brackets[1] + comma


def _is_secret(name: str | None, value: object) -> bool:
    return name in SECRET and isinstance(value, str) and bool(value)


def _cut(lines: Iterable[str], size: int, secrets: Sequence[str]) -> list[str]:
    """Return as many lines as may be shown, masked.

    The end may cut a secret in two: so more text is masked than is shown, by the length of the
    longest form of a secret (each character as %XX).
    """
    margin = 3 * max(map(len, secrets), default=0)
    text, limit = "", LONGEST + margin
    for line in lines:
        text += f"{line}\n"
        if len(text) > limit:
            safe = masked(text[:limit], secrets)
            shown = safe[: min(LONGEST, max(0, len(safe) - margin))]
            return [*shown.split("\n"), f"… (cut here: {size} bytes in all)"]
    return masked(text, secrets).rstrip("\n").split("\n")


def _block(mark: str, lines: Iterable[str]) -> str:
    """Return the lines with a prefix, so that a server cannot imitate the toolkit's output."""
    return "\n".join(f"{mark} {visible(line)}".rstrip() for line in lines)
