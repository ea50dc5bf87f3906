"""Show requests and responses in full, for people who learn the flow: without any secret."""

import json
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Iterator, Mapping
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
"""The headers that matter."""

SIGNED = ("client_assertion", "access_token", "DPoP")
"""Where a JWT may be, which is shown decoded."""

SECRET = {"access_token", "refresh_token", "id_token", "client_secret"}
"""Members of a response that are never shown, whatever they hold."""

PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
"""Members of a JWK that are never shown (RFC 7518 sections 6.3.2 and 6.4)."""

LONGEST = 20_000
"""Characters of a body that are shown."""


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
        lines += ["", *_json(json.loads(text))]
    return _block(">", lines)


def response(answer: Response) -> str:
    """Return a response as lines that begin with `<`; a long body is cut."""
    phrases = {int(status): status.phrase for status in HTTPStatus}
    lines = [f"{answer.status} {phrases.get(answer.status, '')}".rstrip()]
    headers = _among(answer.headers, RECEIVED)
    lines += _fields((name, answer.shown(value, 1000)) for name, value in headers)
    secrets = [*answer.hide]
    try:
        body = answer.json()
    except ValueError:
        body = None
        shown: Iterable[str] = answer.content[: 5 * LONGEST].decode("utf-8", "replace").split("\n")
    else:
        shown = _json(body)
        if isinstance(body, dict):
            secrets += [v for name, v in body.items() if _is_secret(name, v) and v.isascii()]
    if answer.content:
        lines += ["", *_cut(shown, len(answer.content), secrets)]
    token = body.get("access_token") if isinstance(body, dict) else None
    if isinstance(token, str) and len(token) < LONGEST and (decoded := _decoded(token)):
        lines += ["", "access_token is a JWT:", *decoded]
    return _block("<", lines)


def _among(headers: Mapping[str, Any], names: Iterable[str]) -> list[tuple[str, str]]:
    return [(name, str(headers[name])) for name in names if name in headers]


def _fields(fields: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, value in fields:
        if name in SIGNED and (decoded := _decoded(value)):
            yield f"{name}:"
            yield from decoded
        else:
            yield f"{name}: {MASK if name in SIGNED else value}"


def _decoded(token: str) -> list[str]:
    """A JWT as header, claims and a word for its signature; empty if it is not one."""
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
    """The lines of JSON text, indented, one by one, so that nobody needs to wait for them all."""
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


def _cut(lines: Iterable[str], size: int, secrets: list[str]) -> list[str]:
    """As many lines as may be shown, masked. A secret may be cut in two at the end, so text of
    the length of its longest form (each character as %XX) is looked at and left out there."""
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
    """The lines behind a mark, so that nothing a server sends can look like a line of ours."""
    return "\n".join(f"{mark} {visible(line)}".rstrip() for line in lines)
