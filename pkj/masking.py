"""What may be shown: secrets taken out of a text, control characters made visible."""

import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MASK = "[secret]"

SIGNED = re.compile(r"eyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*){1,4}")
"""A JWT, or its beginning: an assertion, a proof or a token (RFC 7515 section 7.1)."""

PRIVATE_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END[A-Z -]*|\Z)", re.DOTALL)


def masked(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` without the `secrets` in any form a server may echo, nor any key or signed token."""
    for secret in sorted(_forms(secrets), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return SIGNED.sub(MASK, PRIVATE_PEM.sub(MASK, text))


def visible(text: str) -> str:
    """`text` with everything that is not printable, but for line ends, written as an escape."""
    if text.replace("\n", "").isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def shortened(text: str, limit: int = 300) -> str:
    """`text` in one line of at most about `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[:limit]}… ({len(line)} characters)"


def _forms(secrets: Iterable[str]) -> set[str]:
    forms = set()
    for secret in filter(None, map(str.strip, secrets)):
        in_json = json.dumps(secret)[1:-1]
        forms |= {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), in_json}
    return forms
