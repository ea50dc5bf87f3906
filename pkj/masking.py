"""What may be shown: secrets taken out of a text, control characters made visible."""

import functools
import json
import re
from collections.abc import Iterable
from itertools import chain
from urllib.parse import quote, quote_plus

MASK = "[secret]"

LEAST_SECRET = 4
"""Characters: a shorter one is no secret, and would take every such letter out of a text."""

SIGNED = re.compile(r"eyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*){1,4}")
"""A JWT, or its beginning: an assertion, a proof or a token (RFC 7515 section 7.1)."""

PRIVATE_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END[A-Z -]*|\Z)", re.DOTALL)

USER_INFO = re.compile(r"(?<=://)[^/?#\s]+(?=@)")
"""The name and password of a proxy, in the address of it."""


def masked(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` without the `secrets` in any form a server may echo, nor any key or signed token."""
    # No form of a secret is shorter than itself. To compile a private key costs 20 ms.
    fitting = (secret for secret in secrets if len(secret.strip()) <= len(text))
    for form in sorted(chain.from_iterable(map(_forms, fitting)), key=len, reverse=True):
        text = re.sub(re.escape(form), MASK, text, flags=re.IGNORECASE)
    for pattern in (PRIVATE_PEM, SIGNED, USER_INFO):
        text = pattern.sub(MASK, text)
    return text


def visible(text: str) -> str:
    """`text` with everything that is not printable, but for line ends, written as an escape."""
    if text.replace("\n", "").isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def shortened(text: str, limit: int = 300) -> str:
    """`text` in one line of at most about `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[:limit]}… ({len(line)} characters)"


@functools.cache
def _forms(secret: str) -> list[str]:
    """The ways in which a text may hold the secret."""
    secret = secret.strip()
    in_json = json.dumps(secret)[1:-1]
    quoted = quote(secret, safe="")
    in_full = "".join(f"%{ord(c):02X}" if c in "-._~" else c for c in quoted)
    forms = {secret, quote(secret), quoted, quote_plus(secret), in_full, in_json}
    return [form for form in forms if len(form) >= LEAST_SECRET]
