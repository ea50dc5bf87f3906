"""Why no response came: the exceptions of requests and the layers below it, explained."""

import os
import re
import socket
import ssl
from collections.abc import Sequence

import requests
from urllib3.exceptions import HTTPError, LocationParseError, ReadTimeoutError

from pkj.errors import LocalError, LostResponse, NoUsableResponse, PkjError
from pkj.masking import shown
from pkj.okta import hints

FAILURES = (requests.RequestException, HTTPError, OSError, UnicodeError)
"""Everything a request can fail with. requests lets through some exceptions of what it calls:
OSError for a missing CA bundle, urllib3's LocationParseError, UnicodeError of IDNA."""

LOST = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)

NO_REQUEST = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    LocationParseError,
    UnicodeError,
)
"""An impossible URL, or an impossible address of the proxy."""

MISSING_CA_FILE = "suitable TLS CA certificate bundle"
"""Part of the OSError that requests raises if REQUESTS_CA_BUNDLE names a missing file."""

PROXY = (
    r"(?i)(?:(?:(?:https?|socks[45][ah]?):)?//)?(?:[^\s/?#\\\[\]]*@)?"
    r"(?:[^\s/?#\\\[\]@:]+|\[[0-9a-f:.]+\])(?::[0-9]*)?/?"
)
"""The address of a proxy, perhaps with a user name and a password before an @."""


def check_proxy(url: str) -> None:
    """Raise LocalError if requests for `url` would go through a proxy with an impossible
    address. The address may hold a password, so it is not shown."""
    proxies = requests.utils.get_environ_proxies(url)
    proxy = requests.utils.select_proxy(url, proxies)
    if proxy and not re.fullmatch(PROXY, proxy):
        hint = (
            "write it as http://user:password@host:port, with the special characters of the"
            " password percent-encoded (%23 for #)"
        )
        raise LocalError("HTTPS_PROXY (or ALL_PROXY) is not the address of a proxy", hint)


def explained(doing: str, host: str, error: Exception, hide: Sequence[str] = ()) -> PkjError:
    """Return the error to raise instead: LocalError or NoUsableResponse, which is a LostResponse
    if the request may have reached Okta.

    It may quote what a server or a proxy sent: `hide` are the secrets of the request.
    """

    def innermost(kind: type[BaseException]) -> str:
        return shown(str(_innermost(error, kind)), hide)

    if isinstance(error, requests.exceptions.SSLError):
        return _insecure(doing, host, error)
    if isinstance(error, requests.exceptions.ProxyError):
        problem = f"{doing}: the proxy refused the connection to {host}: {innermost(OSError)}"
        return NoUsableResponse(problem, hints.NO_PROXY)
    if isinstance(error, requests.exceptions.ConnectTimeout):
        problem = f"{doing}: {host} did not accept the connection in time"
        return NoUsableResponse(problem, hints.NO_CONNECTION)
    if isinstance(_innermost(error, ReadTimeoutError), ReadTimeoutError):
        return LostResponse(f"{doing}: {host} did not respond in time", hints.NO_RESPONSE)
    if isinstance(unknown := _innermost(error, socket.gaierror), socket.gaierror):
        problem = f"{doing}: the name {host} does not resolve: {unknown.strerror}"
        return NoUsableResponse(problem, hints.NO_NAME)
    if isinstance(error, requests.exceptions.ContentDecodingError):
        problem = f"{doing}: the response of {host} cannot be decoded"
        return NoUsableResponse(problem, hints.OTHER_RESPONSE)
    if MISSING_CA_FILE in str(error):
        return _no_ca_file(doing)
    if isinstance(_innermost(error, ConnectionRefusedError), ConnectionRefusedError):
        problem = f"{doing}: {host} refused the connection"
        return NoUsableResponse(problem, hints.NOBODY_THERE, retry=True)
    if isinstance(error, LOST) or _is_of_the_socket(error):
        problem = f"{doing}: the connection to {host} was lost: {innermost(OSError)}"
        return LostResponse(problem, hints.LOST, retry=True)
    if isinstance(error, NO_REQUEST):
        problem = f"{doing}: the request cannot be sent: {innermost(type(error))}"
        return LocalError(problem, "check OKTA_URL, HTTPS_PROXY and NO_PROXY")
    problem = f"{doing}: the response of {host} cannot be read: {innermost(Exception)}"
    return NoUsableResponse(problem, hints.OTHER_RESPONSE)


def _insecure(doing: str, host: str, error: Exception) -> PkjError:
    if _is_about_ca_file(_innermost(error, OSError)):
        return _no_ca_file(doing)
    reason = shown(str(_innermost(error, ssl.SSLError)))
    problem = f"{doing}: no secure connection to {host}: {reason}"
    if named := _trusted_by():
        problem += f" (CA certificates from {named})"
    if re.search("not yet valid|has expired", reason):
        return NoUsableResponse(problem, hints.NOT_VALID_NOW)
    here = re.match(r"(127\.0\.0\.1|localhost)(:|$)", host)
    return NoUsableResponse(problem, hints.NOT_SECURE_HERE if here else hints.NOT_SECURE)


def _no_ca_file(doing: str) -> LocalError:
    named = _trusted_by()
    where = f" of {named} ({os.environ[named]})" if named else ""
    problem = f"{doing}: the CA certificates{where} cannot be read"
    return LocalError(problem, hints.NO_CA_FILE)


def _trusted_by() -> str:
    """Return the variable that names the CA certificates, if one does (requests.readthedocs.io/en/
    latest/user/advanced/#ssl-cert-verification)."""
    variables = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    return next((name for name in variables if os.environ.get(name)), "")


def _is_of_the_socket(error: Exception) -> bool:
    return isinstance(error, OSError) and not isinstance(error, requests.RequestException)


def _is_about_ca_file(error: BaseException) -> bool:
    """Return whether OpenSSL, or the file system below it, failed to load the file it was given."""
    if isinstance(error, ssl.SSLError):
        return getattr(error, "library", None) in ("X509", "PEM")
    return isinstance(error, PermissionError | FileNotFoundError | IsADirectoryError)


def _innermost(error: BaseException, kind: type[BaseException]) -> BaseException:
    """Return the deepest error of that kind below `error`, which requests wraps several times."""
    found, below = error, {id(error): error}
    pending = [error]
    while pending:
        current = pending.pop()
        if isinstance(current, kind):
            found = current
        reason = getattr(current, "reason", None)
        for inner in (*current.args, reason, current.__cause__, current.__context__):
            if isinstance(inner, BaseException) and id(inner) not in below:
                below[id(inner)] = inner
                pending.append(inner)
    return found
