"""Why there is no answer: what requests and what lies under it raise, in words."""

import socket
import ssl

import requests
from urllib3.exceptions import HTTPError

from pkj.errors import LostAnswer, NoUsableAnswer, PkjError, WrongHere

FAILURES = (requests.RequestException, HTTPError, OSError, UnicodeError)
"""All that a request can fail with. requests lets some of what it calls through: OSError
for a CA bundle that is not there, urllib3's LocationParseError, UnicodeError of IDNA."""

CA_FILE_HINT = "check REQUESTS_CA_BUNDLE: it names the PEM file of CA certificates to trust"

CA_HINT = (
    "if a proxy opens TLS connections here, point REQUESTS_CA_BUNDLE at a file with its CA"
    " certificate; Python 3.13 and later refuse a CA without the extensions of RFC 5280"
)


def explained(doing: str, host: str, error: Exception) -> PkjError:
    """The error to raise in its place: WrongHere, LostAnswer or NoUsableAnswer."""
    if isinstance(error, requests.exceptions.SSLError):
        if _is_about_ca_file(_innermost(error, OSError)):
            return WrongHere(f"{doing}: the CA certificates cannot be read", CA_FILE_HINT)
        problem = f"{doing}: no secure connection to {host}: {_innermost(error, ssl.SSLError)}"
        return NoUsableAnswer(problem, CA_HINT)
    if isinstance(error, requests.exceptions.ProxyError):
        problem = f"{doing}: the proxy gave no way to {host}: {_innermost(error, OSError)}"
        return NoUsableAnswer(problem, "check HTTPS_PROXY, or name the host in NO_PROXY")
    if isinstance(error, requests.exceptions.ConnectTimeout):
        problem = f"{doing}: {host} did not take the connection in time"
        return NoUsableAnswer(problem, "check the network and the proxy; --timeout waits longer")
    if isinstance(error, requests.exceptions.Timeout):
        problem = f"{doing}: {host} did not answer in time"
        return LostAnswer(problem, "run this again later; --timeout waits longer")
    if isinstance(unknown := _innermost(error, socket.gaierror), socket.gaierror):
        problem = f"{doing}: the name {host} does not resolve: {unknown.strerror}"
        return NoUsableAnswer(problem, "check OKTA_URL, the network, and HTTPS_PROXY")
    if isinstance(error, requests.ConnectionError | requests.exceptions.ChunkedEncodingError):
        problem = f"{doing}: the connection to {host} was lost: {_innermost(error, OSError)}"
        return LostAnswer(problem, "run this again; if it goes on, check the network")
    if isinstance(error, requests.exceptions.ContentDecodingError):
        problem = f"{doing}: the answer of {host} cannot be decoded"
        return NoUsableAnswer(problem, "check whether a proxy changes what Okta sends")
    return _wrong_here(doing, error)


def _wrong_here(doing: str, error: Exception) -> WrongHere:
    if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        return WrongHere(f"{doing}: {error}", CA_FILE_HINT)
    hint = "check OKTA_URL, HTTPS_PROXY and NO_PROXY"
    return WrongHere(f"{doing}: no request can be made: {error}", hint)


def _is_about_ca_file(error: BaseException) -> bool:
    """Whether OpenSSL, or the file system below it, failed to load the file it was given."""
    if isinstance(error, ssl.SSLError):
        return error.library in ("X509", "PEM")
    return isinstance(error, PermissionError | FileNotFoundError | IsADirectoryError)


def _innermost(error: BaseException, kind: type[BaseException]) -> BaseException:
    """The deepest error of that kind below `error`, which requests wraps several times."""
    found, below = error, {id(error): error}
    pending = [error]
    while pending:
        current = pending.pop()
        if isinstance(current, kind) and current is not error:
            found = current
        reason = getattr(current, "reason", None)
        for inner in (*current.args, reason, current.__cause__, current.__context__):
            if isinstance(inner, BaseException) and id(inner) not in below:
                below[id(inner)] = inner
                pending.append(inner)
    return found
