"""OKTA_URL in its one normal form, from which audience, issuer and every address are built."""

import re
from urllib.parse import SplitResult, urlsplit

from pkj.errors import WrongHere

OKTA_DOMAINS = (
    "okta.com",
    "oktapreview.com",
    "okta-emea.com",
    "okta-gov.com",
    "okta.mil",
    "okta-miltest.com",
    "trex-govcloud.com",
)
"""Okta's own domains (okta-sdk-python, config_validator.py); custom ones are as good."""

ADMIN_HOST = re.compile(rf"(.+)-admin\.({'|'.join(map(re.escape, OKTA_DOMAINS))})")
HOST = re.compile(r"(?:(?!-)[a-z0-9_-]{1,63}(?:\.(?!$)|$))+|\[[0-9a-f:.]+\]")
TOKEN = re.compile(r"00[a-z0-9_-]{18,}|[a-z0-9_-]{36,}", re.IGNORECASE)
"""What looks like an API token rather than a host name of one label: Okta's have 42
characters and begin with 00 (devforum.okta.com/t/api-token-length/5519)."""

RIGHT_FORM = "write it as OKTA_URL=https://{your_okta_domain} with your own domain"


def normal(text: str) -> str:
    """`https://host` or `https://host:port`, without a slash at its end.

    Blanks and slashes around it are trimmed, the host is lower-cased, a bare domain gets
    its scheme. Raises WrongHere for everything that is not an address of an org.
    """
    address = text.strip()
    if re.search(r"\s|\\|[\x00-\x1f\x7f]", address):
        raise _wrong("is not an address of the form https://host")
    if re.search(r"[{}<>]|your_?okta_?domain", address, re.IGNORECASE):
        raise _wrong("still has a placeholder in it")
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://|https?:", address, re.IGNORECASE):
        address = f"https://{address}"
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as cause:
        raise _wrong("is not an address of the form https://host") from cause
    host = _host(parts)
    return f"https://{host}" if port in (None, 443) else f"https://{host}:{port}"


def is_address(text: str) -> bool:
    """Whether the text is meant as the address of an org rather than as an API token."""
    return "://" in text or text.strip().rstrip("/").lower().endswith(OKTA_DOMAINS)


def _host(parts: SplitResult) -> str:
    if parts.scheme != "https":
        raise _wrong(f"begins with {parts.scheme}://: only https:// works")
    if "@" in parts.netloc:
        raise _wrong("has a user name or password in it")
    host = (parts.hostname or "").lower().removesuffix(".")
    host = f"[{host}]" if ":" in host else host
    if TOKEN.fullmatch(host):
        hint = "OKTA_URL and API_KEY look swapped: set OKTA_URL=https://{your_okta_domain}"
        raise WrongHere("OKTA_URL looks like an API token", hint, setting="OKTA_URL")
    if admin := ADMIN_HOST.fullmatch(host):
        meant = f"https://{admin[1]}.{admin[2]}"
        raise _wrong("is the address of the Admin Console", f"OKTA_URL={meant}")
    if not HOST.fullmatch(host) or len(host) > 253 or parts.port == 0:
        raise _wrong("has no valid host name")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise _wrong("has something behind the domain", f"OKTA_URL=https://{parts.netloc.lower()}")
    return host


def _wrong(problem: str, meant: str = "") -> WrongHere:
    hint = f"you may have meant {meant}" if meant else RIGHT_FORM
    return WrongHere(f"OKTA_URL {problem}", hint, setting="OKTA_URL")
