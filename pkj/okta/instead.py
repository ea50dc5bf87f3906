"""What may come instead of an answer of Okta's, and what to do: README repeats this too."""

from pkj.okta.causes import SERVER_FAULT

REDIRECT = "a redirect"
EMPTY_403 = "an empty 403"
OTHER_404 = "a 404 that did not come from Okta"
WEB_PAGE = "a web page"
OTHER_ANSWER = "another response that did not come from Okta"
FAULT = "a 5xx"
NOT_SECURE = "no secure connection"
NOT_SECURE_HERE = "no secure connection to 127.0.0.1"
NO_CA_FILE = "no readable CA certificates"
NO_NAME = "a name that does not resolve"
NO_PROXY = "a proxy that refuses the connection"
NO_CONNECTION = "no connection in time"
NOBODY_THERE = "a refused connection"
NO_ANSWER = "no answer in time"
LOST = "a lost connection"

CURES = {
    REDIRECT: "OKTA_URL is not the address of the org itself: use where it leads, if that is yours",
    EMPTY_403: "OKTA_URL may be the Admin Console's address (-admin): use the org's own",
    OTHER_404: "this host is not an Okta org: check OKTA_URL",
    WEB_PAGE: "something other than Okta responded, perhaps a proxy: check HTTPS_PROXY and"
    " OKTA_URL",
    OTHER_ANSWER: "something other than Okta responded: check OKTA_URL",
    FAULT: SERVER_FAULT,
    NOT_SECURE: "if a proxy opens TLS connections here, point REQUESTS_CA_BUNDLE at a file with its"
    " CA certificate; Python 3.13 and later refuse a CA without the extensions of RFC 5280",
    NOT_SECURE_HERE: "if this is the pretend org, run the `export` lines that `python -m"
    " pkj.sandbox serve` printed last, in this shell",
    NO_CA_FILE: "check REQUESTS_CA_BUNDLE, or CURL_CA_BUNDLE where only that is set: it names the"
    " PEM file of CA certificates to trust",
    NO_NAME: "check OKTA_URL, the network, and HTTPS_PROXY",
    NO_PROXY: "check HTTPS_PROXY, or name the host in NO_PROXY",
    NO_CONNECTION: "check the network and HTTPS_PROXY; --timeout waits longer",
    NOBODY_THERE: "check OKTA_URL and HTTPS_PROXY: nothing is listening there",
    NO_ANSWER: "run this again later; --timeout waits longer",
    LOST: "run this again; if it goes on, check the network",
}


def cure(status: int, kind: str, content: bytes) -> str:
    """What to do about an answer that is not of Okta's making; `kind` is its Content-Type."""
    if status >= 500:
        return CURES[FAULT]
    if status == 403 and not content:
        return CURES[EMPTY_403]
    if status == 404:
        return CURES[OTHER_404]
    return CURES[WEB_PAGE if "html" in kind else OTHER_ANSWER]
