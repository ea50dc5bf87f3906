"""What each setting must look like: OKTA_URL, API_KEY, SCOPES, ADMIN_ROLES, DPOP, CLIENT_ID."""

import re
from argparse import Namespace
from collections.abc import Callable, Mapping
from urllib.parse import SplitResult, urlsplit

from pkj.errors import LocalError
from pkj.okta.hints import CREATE_APP
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
"""Okta's own domains (okta-sdk-python, config_validator.py); custom domains work too."""

HOST = r"(?:(?!-)[a-z0-9_-]{1,63}(?:\.(?!$)|$))+|\[[0-9a-f:.]+\]"
NOT_A_HOST = r"00[a-z0-9_-]{18,}|[a-z0-9_-]{36,}"
"""What looks like an API token rather than a host name without dots: Okta's have 42 characters
and begin with 00 (devforum.okta.com/t/api-token-length/5519)."""

RIGHT_FORM = "set OKTA_URL=https://{your_okta_domain} with your own domain"

EXAMPLE_SCOPES = "okta.users.read okta.users.manage"

PLAIN = r"(?=.*[A-Za-z0-9])[A-Za-z0-9._~+/=-]{1,512}"
"""A server's text is saved in `.env` only in this form, because shells source the file."""

CLIENT_ID = r"(?![^/]*/)" + PLAIN
"""The same without a slash: the ID is a segment of paths, even if a proxy decodes `%2F`."""


def org(
    settings: Mapping[str, str],
    options: Namespace,
    note: Callable[[str], None],
    longest_wait: float = FOR_AN_APP,
) -> Org:
    """Return the org of OKTA_URL, with API_KEY if it is among the settings. Raises LocalError."""
    key = api_key(settings["API_KEY"]) if "API_KEY" in settings else ""
    url = okta_url(settings["OKTA_URL"])
    if "://" not in settings["OKTA_URL"]:
        note(f"warning: set OKTA_URL={url}: without https://, curl would use http://")
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
    URL are built from this one form.

    Spaces and slashes around it are trimmed, the host is lower-cased, and a bare domain gets
    its scheme. Raises LocalError for anything that is not the URL of an org.
    """
    address = text.strip()
    if re.search(r"\s|\\|[\x00-\x1f\x7f]", address):
        raise _wrong_url("is not of the form https://host")
    if re.search(r"(?i)[{}<>]|your_?okta_?domain", address):
        raise _wrong_url("still contains a placeholder")
    if not re.match(r"[a-z][a-z0-9+.-]*://|https?:", address.lower()):
        address = f"https://{address}"
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as cause:
        raise _wrong_url("is not of the form https://host") from cause
    host = _host(parts)
    return f"https://{host}" if port in (None, 443) else f"https://{host}:{port}"


def api_key(text: str) -> str:
    """Return API_KEY without the prefix `SSWS `, which the header adds. Raises LocalError."""
    key = text.removeprefix("SSWS ")
    if re.fullmatch(r"{.*}|<.*>", key):
        hint = "create an API token at Security > API > Tokens, and set API_KEY to it"
        raise LocalError("API_KEY still contains a placeholder", hint)
    if "://" in key or key.strip().rstrip("/").lower().endswith(OKTA_DOMAINS):
        hint = "OKTA_URL and API_KEY look swapped: exchange their values"
        raise LocalError("API_KEY is a URL, not an API token", hint)
    if not re.fullmatch(r"[!-~]+", key):
        hint = "copy it again, in one line and without spaces"
        raise LocalError("API_KEY contains invalid characters", hint)
    return key


def scopes(text: str) -> list[str]:
    """Return the scopes, which are separated by spaces, in order and without repetitions.

    Raises LocalError for commas, and for what cannot be a scope (RFC 6749 section 3.3).
    """
    names = list(dict.fromkeys(text.split()))
    if "," in text:
        meant = " ".join(text.replace(",", " ").split())
        hint = f"set SCOPES='{meant or EXAMPLE_SCOPES}'"
        raise LocalError("separate SCOPES with spaces, not commas", hint)
    invalid = [scope for scope in names if not re.fullmatch(r"[!#-\[\]-~]+", scope)]
    if invalid or not names:
        problem = f"contains {invalid[0]!r}, which is not a scope" if invalid else "is empty"
        raise LocalError(f"SCOPES {problem}", f"set it like SCOPES='{EXAMPLE_SCOPES}'")
    return names


def admin_roles(text: str | None) -> list[str]:
    """Return the standard role types in ADMIN_ROLES, without repetitions. Raises LocalError."""
    roles = list(dict.fromkeys((text or "").split()))
    for role in roles:
        if not re.fullmatch(r"[A-Z][A-Z_]*", role) or role == "CUSTOM":
            problem = f"ADMIN_ROLES contains {role!r}, which is not a standard role type"
            raise LocalError(problem, "set it like ADMIN_ROLES='READ_ONLY_ADMIN REPORT_ADMIN'")
    return roles


def dpop(text: str | None) -> bool | None:
    """Return what DPOP says, None if it is not set. Raises LocalError."""
    words = {"": None, "true": True, "false": False}
    word = (text or "").strip().lower()
    if word not in words:
        raise LocalError(f"DPOP is {text!r}", "set DPOP=true or DPOP=false, or remove it")
    return words[word]


def client_id(text: str) -> str:
    """Return CLIENT_ID if it can be one. Raises LocalError."""
    if re.fullmatch(CLIENT_ID, text):
        return text
    hint = f"copy it again from Applications > the app, or clear it and run `{CREATE_APP}`"
    raise LocalError("CLIENT_ID contains invalid characters", hint)


def _host(parts: SplitResult) -> str:
    if parts.scheme != "https":
        raise _wrong_url(f"must begin with https://, not {parts.scheme}://")
    if "@" in parts.netloc:
        raise _wrong_url("must not include a user name or password")
    host = (parts.hostname or "").lower().removesuffix(".")
    host = f"[{host}]" if ":" in host else host
    if re.fullmatch(NOT_A_HOST, host):
        hint = "OKTA_URL and API_KEY look swapped: set OKTA_URL=https://{your_okta_domain}"
        raise LocalError("OKTA_URL looks like an API token", hint)
    for domain in OKTA_DOMAINS:
        if (org_name := host.removesuffix(f"-admin.{domain}")) not in ("", host):
            raise _wrong_url("is the Admin Console's URL", f"OKTA_URL=https://{org_name}.{domain}")
    if not re.fullmatch(HOST, host) or len(host) > 253 or parts.port == 0:
        raise _wrong_url("has no valid host name")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise _wrong_url("must not include a path", f"OKTA_URL=https://{parts.netloc.lower()}")
    return host


def _wrong_url(problem: str, meant: str = "") -> LocalError:
    return LocalError(f"OKTA_URL {problem}", f"you may have meant {meant}" if meant else RIGHT_FORM)
