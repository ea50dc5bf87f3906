"""What each setting must look like: OKTA_URL, API_KEY, SCOPES, ADMIN_ROLES, DPOP, CLIENT_ID."""

import re
from argparse import Namespace
from collections.abc import Callable, Mapping
from urllib.parse import SplitResult, urlsplit

from pkj.errors import LocalError
from pkj.okta.org import FOR_AN_APP, Org

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

EXAMPLE_SCOPES = "okta.users.read okta.users.manage"

PLAIN = re.compile(r"(?=.*[A-Za-z0-9])[A-Za-z0-9._~+/=-]{1,512}")
"""What a server sends is stored in `.env` only in this form: the file is sourced by shells."""

CLIENT_ID = re.compile(r"(?![^/]*/)" + PLAIN.pattern)
"""The same without a slash: the id is a segment of paths, also where a proxy decodes `%2F`."""


def org(
    settings: Mapping[str, str],
    options: Namespace,
    note: Callable[[str], None],
    longest_wait: float = FOR_AN_APP,
) -> Org:
    """The org of OKTA_URL, with API_KEY if that is among the settings. Raises LocalError."""
    key = api_key(settings["API_KEY"]) if "API_KEY" in settings else ""
    url = okta_url(settings["OKTA_URL"])
    return Org(
        url,
        api_key=key,
        timeout=options.timeout,
        verbose=options.verbose,
        explain=options.explain,
        note=note,
        longest_wait=longest_wait,
    )


def okta_url(text: str) -> str:
    """Return OKTA_URL as `https://host` or `https://host:port`: audience, issuer and every
    address are built from this one form.

    Spaces and slashes around it are trimmed, the host is lower-cased, a bare domain gets
    its scheme. Raises LocalError for everything that is not an address of an org.
    """
    address = text.strip()
    if re.search(r"\s|\\|[\x00-\x1f\x7f]", address):
        raise _wrong_url("is not an address of the form https://host")
    if re.search(r"[{}<>]|your_?okta_?domain", address, re.IGNORECASE):
        raise _wrong_url("still contains a placeholder")
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://|https?:", address, re.IGNORECASE):
        address = f"https://{address}"
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as cause:
        raise _wrong_url("is not an address of the form https://host") from cause
    host = _host(parts)
    return f"https://{host}" if port in (None, 443) else f"https://{host}:{port}"


def is_address(text: str) -> bool:
    """Whether the text is meant as the address of an org rather than as an API token."""
    return "://" in text or text.strip().rstrip("/").lower().endswith(OKTA_DOMAINS)


def api_key(text: str) -> str:
    """API_KEY as it goes into a header; its `SSWS ` prefix is ours to write. Raises LocalError."""
    key = text.removeprefix("SSWS ")
    if re.fullmatch(r"{.*}|<.*>", key):
        problem = "API_KEY still contains the placeholder"
        hint = "make a token at Security > API > Tokens, and put it there"
        raise LocalError(problem, hint, setting="API_KEY")
    if is_address(key):
        problem = "API_KEY is an address, not an API token"
        hint = "OKTA_URL and API_KEY look swapped: put each in the other's place"
        raise LocalError(problem, hint, setting="API_KEY")
    if not re.fullmatch(r"[!-~]+", key):
        problem = "API_KEY contains invalid characters"
        hint = "copy it again, in one line and without spaces"
        raise LocalError(problem, hint, setting="API_KEY")
    return key


def scopes(text: str) -> list[str]:
    """The scopes of a text that separates them with spaces, each once, in order.

    Raises LocalError for commas, and for what cannot be a scope (RFC 6749 section 3.3).
    """
    names = list(dict.fromkeys(text.split()))
    if "," in text:
        meant = " ".join(text.replace(",", " ").split())
        hint = f"write it as SCOPES='{meant or EXAMPLE_SCOPES}'"
        raise LocalError("separate SCOPES with spaces, not commas", hint, setting="SCOPES")
    strange = [scope for scope in names if not re.fullmatch(r"[!#-\[\]-~]+", scope)]
    if strange or not names:
        problem = (
            f"SCOPES contains {strange[0]!r}, which is not a scope"
            if strange
            else "SCOPES is empty"
        )
        hint = f"write it like SCOPES='{EXAMPLE_SCOPES}'"
        raise LocalError(problem, hint, setting="SCOPES")
    return names


def admin_roles(text: str | None) -> list[str]:
    """The standard role types in ADMIN_ROLES, each once. Raises LocalError."""
    roles = list(dict.fromkeys((text or "").split()))
    strange = [
        role for role in roles if not re.fullmatch(r"[A-Z][A-Z_]*", role) or role == "CUSTOM"
    ]
    if strange:
        problem = f"ADMIN_ROLES contains {strange[0]!r}, which is not a standard role type"
        hint = "write it like ADMIN_ROLES='READ_ONLY_ADMIN REPORT_ADMIN'"
        raise LocalError(problem, hint, setting="ADMIN_ROLES")
    return roles


def dpop(text: str | None) -> bool | None:
    """What DPOP says, None where it says nothing. Raises LocalError."""
    words = {"": None, "true": True, "false": False}
    word = (text or "").strip().lower()
    if word not in words:
        hint = "set DPOP=true or DPOP=false, or remove it"
        raise LocalError(f"DPOP is {text!r}", hint, setting="DPOP")
    return words[word]


def client_id(text: str) -> str:
    """CLIENT_ID, if it can be one. Raises LocalError."""
    if CLIENT_ID.fullmatch(text):
        return text
    problem = "CLIENT_ID contains characters that no client ID has"
    hint = (
        "copy it again from Applications > the app, or clear it and run"
        " `python create_okta_service_app.py`"
    )
    raise LocalError(problem, hint, setting="CLIENT_ID")


def _host(parts: SplitResult) -> str:
    if parts.scheme != "https":
        raise _wrong_url(f"must begin with https://, not {parts.scheme}://")
    if "@" in parts.netloc:
        raise _wrong_url("must not include a user name or password")
    host = (parts.hostname or "").lower().removesuffix(".")
    host = f"[{host}]" if ":" in host else host
    if TOKEN.fullmatch(host):
        hint = "OKTA_URL and API_KEY look swapped: set OKTA_URL=https://{your_okta_domain}"
        raise LocalError("OKTA_URL looks like an API token", hint, setting="OKTA_URL")
    if admin := ADMIN_HOST.fullmatch(host):
        meant = f"https://{admin[1]}.{admin[2]}"
        raise _wrong_url("is the address of the Admin Console", f"OKTA_URL={meant}")
    if not HOST.fullmatch(host) or len(host) > 253 or parts.port == 0:
        raise _wrong_url("has no valid host name")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise _wrong_url("must not include a path", f"OKTA_URL=https://{parts.netloc.lower()}")
    return host


def _wrong_url(problem: str, meant: str = "") -> LocalError:
    hint = f"you may have meant {meant}" if meant else RIGHT_FORM
    return LocalError(f"OKTA_URL {problem}", hint, setting="OKTA_URL")
