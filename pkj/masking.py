"""What may be shown: text without secrets, and with control characters made visible."""

import functools
import json
import re
from collections.abc import Iterable
from itertools import chain
from urllib.parse import quote, quote_plus

MASK = "[secret]"

LEAST_SECRET = 4
"""Characters. Anything shorter is not a secret, and its letters would be masked everywhere."""

LONGEST_TEXT = 20_000
"""Characters of a server's text that are looked at; fewer are shown."""

# Each pattern takes time in proportion to the text: none looks at a character twice.
JWT = r"eyJ[A-Za-z0-9_-]{5,}(?:(?:\.[A-Za-z0-9_-]*){1,4}|(?=…)|(?P<other>))"
"""A JWT, or its beginning: an assertion, a proof or a token (RFC 7515 section 7.1). Letters
that are not followed by a dot or a cut match as `other`, to be skipped at once."""

PRIVATE_PEM = r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END[A-Z -]*|\Z)"

USER_INFO = r"(?<=://)[^/?#\s]+(?=@)"
"""The user name and password in the address of a proxy."""

CUT = r"… \([0-9]+ characters\)"
"""Marks where a text was cut."""


def masked(text: str, secrets: Iterable[str] = ()) -> str:
    """Return `text` without `secrets` in any form a server may echo, private keys or JWTs.

    If the text was cut within a secret, what is left of the secret is masked as well.
    """
    secrets = list(secrets)
    # No form of a secret is shorter than the secret. Compiling a private key takes 20 ms.
    fitting = (secret for secret in secrets if len(secret.strip()) <= len(text))
    for form in sorted(chain.from_iterable(map(_forms, fitting)), key=len, reverse=True):
        text = re.sub(re.escape(form), MASK, text, flags=re.IGNORECASE)
    text = _without_beginnings(text, secrets)
    for sign, pattern in (("-----BEGIN", PRIVATE_PEM), ("eyJ", JWT), ("://", USER_INFO)):
        if sign in text:  # avoids compiling the pattern for most texts
            text = re.sub(pattern, _mask, text)
    return text


def visible(text: str) -> str:
    """Return `text` with everything that is not printable, except line ends, as escapes."""
    if text.replace("\n", "").isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def shortened(text: str, limit: int = 300) -> str:
    """Return `text` as one line of at most about `limit` characters."""
    return _cut(" ".join(text.split()), limit)


def shown(text: str, secrets: Iterable[str] = (), limit: int = 300) -> str:
    """Return the text of a server, masked and shortened; quickly, however long it is."""
    line = " ".join(masked(_cut(text, LONGEST_TEXT), secrets).split())
    return _cut(line, limit, len(text))


def _cut(text: str, limit: int, length: int = 0) -> str:
    return text if len(text) <= limit else f"{text[:limit]}… ({length or len(text)} characters)"


def _mask(found: re.Match[str]) -> str:
    return found[0] if found.groupdict().get("other") is not None else MASK


def _without_beginnings(text: str, secrets: Iterable[str]) -> str:
    """Return `text` with the start of a secret before each cut masked."""
    cuts = list(re.finditer(CUT, text)) if "…" in text else []
    if not cuts:
        return text
    forms = [form.lower() for form in chain.from_iterable(map(_forms, secrets))]
    pieces, end = [], 0
    for cut in cuts:
        before = text[end : cut.start()]
        left = max((_left_of(form, before) for form in forms), default=0)
        pieces += [before[: len(before) - left], MASK if left else "", cut[0]]
        end = cut.end()
    return "".join([*pieces, text[end:]])


def _left_of(form: str, text: str) -> int:
    """Return how many characters at the end of `text` begin `form`, 0 if too few."""
    tail = text[-len(form) :].lower()
    start = tail.find(form[:LEAST_SECRET])
    while start >= 0:
        if form.startswith(tail[start:]):
            return len(tail) - start
        start = tail.find(form[:LEAST_SECRET], start + 1)
    return 0


@functools.cache
def _forms(secret: str) -> list[str]:
    """Return the forms in which a text may contain the secret."""
    secret = secret.strip()
    in_json = json.dumps(secret)[1:-1]
    # A value in the environment may not be UTF-8: Python has surrogates for such bytes.
    plain, quoted = (quote(secret, safe=safe, errors="surrogatepass") for safe in ("/", ""))
    in_form = quote_plus(secret, errors="surrogatepass")
    in_full = "".join(f"%{ord(c):02X}" if c in "-._~" else c for c in quoted)
    forms = {secret, plain, quoted, in_form, in_full, in_json}
    return [form for form in forms if len(form) >= LEAST_SECRET]
