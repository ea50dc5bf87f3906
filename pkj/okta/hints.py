"""What to do about a refusal of Okta's, and about a response that did not come from Okta."""

from typing import NamedTuple

STEP_1 = "python generate_keys.py"
STEP_2 = "python create_okta_service_app.py"
TOKENS_PAGE = "Security > API > Tokens"
SCOPES_TAB = "Applications > the app > Okta API Scopes"
SUPER_ADMIN = f"put a Super Admin's API token in API_KEY and run `{STEP_2}` again"
SCOPE_NAMES = "the names are at developer.okta.com/docs/api/oauth2"
NO_KEY = f"the app has no usable key: run `{STEP_2}` to register it"
FAST_CLOCK = "this machine's clock is fast: correct it (NTP)"
SLOW_CLOCK = "this machine's clock is slow: correct it (NTP)"
WRONG_CLOCK = "this machine's clock is wrong: correct it (NTP)"
TOO_EARLY = "if `create_okta_service_app.py` ran only seconds ago, wait a little and run this again"
"""Grants and roles take seconds to arrive everywhere: the live tests of okta-sdk-dotnet
(OAuthApiTests.cs) wait three after a role, and five after a grant."""

OTHER_USE = "the app knows this key for another use than signatures: register one for `sig`"
OTHER_APP = f"empty CLIENT_ID and run `{STEP_2}` for a service app that uses a key"
SERVER_FAULT = "run this again later; see status.okta.com"


FAULTS = ("temporarily_unavailable", "server_error")
"""OAuth errors that are Okta's own, whatever the status: the first comes as 400, the second
also as 400 or 403 (developer.okta.com/docs/reference/error-codes)."""


class Cause(NamedTuple):
    """`code` is Okta's errorCode or OAuth error; `says` a part of its text, and `doing` of
    what was being done, where the code alone is too broad. The first row that fits counts."""

    code: str
    cure: str
    says: str = ""
    doing: str = ""


# developer.okta.com/docs/reference/error-codes, and Okta's OAuth error catalogue
TABLE = (
    Cause(
        "E0000011",
        "the API token is wrong, revoked, or expired after 30 days without use: make one as a"
        f" Super Admin ({TOKENS_PAGE}) and put it in API_KEY, without quotes of its own",
    ),
    Cause("E0000004", f"the API token does not authenticate: make a new one ({TOKENS_PAGE})"),
    Cause("E0000005", f"API_KEY is not an API token of this org: create one ({TOKENS_PAGE})"),
    Cause(
        "E0000006",
        f"only a Super Admin may grant scopes: {SUPER_ADMIN}, or grant them in {SCOPES_TAB}",
        doing="granting",
    ),
    Cause(
        "E0000006",
        f"only a Super Admin may assign roles: {SUPER_ADMIN}, or use Security > Administrators",
        doing="assigning",
    ),
    Cause(
        "E0000006",
        f"it may take a Super Admin to read the grants of an app: {SUPER_ADMIN}",
        doing="reading the grants",
    ),
    Cause(
        "E0000006",
        "the admin whose API token this is may not do that; an app that has scopes or a role"
        f" can be changed by a Super Admin only: {SUPER_ADMIN}",
    ),
    Cause("E0000015", "this org's edition lacks the feature; the token is not the problem"),
    Cause(
        "E0000001",
        "the org may hold no more apps: delete one that is not needed (Applications)",
        says="Maximum number of instances",
    ),
    Cause(
        "E0000001", f"Okta does not know this scope: correct SCOPES, {SCOPE_NAMES}", says="scopeId"
    ),
    Cause(
        "E0000001",
        f"the key is too short: run `{STEP_1} --force`, then `{STEP_2}`",
        says="2,048",
    ),
    Cause(
        "E0000001",
        "the app's existing keys prevent this (Applications > the app > General > Public Keys):"
        " give each a key ID, or remove those you do not need",
        says="JsonWebKey",
    ),
    Cause("E0000007", f"not found, or deleted: check OKTA_URL, or run `{STEP_2}`"),
    Cause(
        "E0000056",
        f"the app still counts as active: run `{STEP_2} --delete` again in a minute, or deactivate"
        " it at Applications > the app",
    ),
    Cause("E0000091", "ADMIN_ROLES takes standard role types such as READ_ONLY_ADMIN"),
    Cause("E0000227", f"only service apps can hold a role: {OTHER_APP}"),
    Cause("invalid_client_metadata", "Okta does not take the app as described: check --name"),
    Cause(
        "invalid_client",
        f"the app knows no key by this KEY_ID: run `{STEP_2}`, which puts it right",
        says="kid is invalid",
    ),
    Cause(
        "invalid_client",
        f"the app does not trust PRIVATE_KEY: run `{STEP_2}` to register it",
        says="signature is invalid",
    ),
    Cause(
        "invalid_client",
        "OKTA_URL is not the address that this org goes by: use its own okta.com domain",
        says="audience claim",
    ),
    Cause("invalid_client", FAST_CLOCK, says="too far into the future"),
    Cause("invalid_client", FAST_CLOCK, says="before the current time"),
    Cause(
        "invalid_client",
        SLOW_CLOCK,
        says="is expired",
    ),
    Cause(
        "invalid_client",
        "something sent the request a second time: run this again",
        says="already been used",
    ),
    Cause(
        "invalid_client",
        "the app takes its keys from a jwks_uri that Okta cannot read: set that right at"
        " Applications > the app > General",
        says="jwks_uri",
    ),
    Cause("invalid_client", NO_KEY, says="JWKSet"),
    Cause("invalid_client", OTHER_USE, says="signing key"),
    Cause("invalid_client", OTHER_USE, says="'use' parameter"),
    Cause(
        "invalid_client",
        "the app's key is for another algorithm than RS256: register an RSA key",
        says="signature algorithm",
    ),
    Cause(
        "invalid_client",
        f"the app authenticates by a client secret: {OTHER_APP}",
        says="private_key_jwt",
    ),
    Cause("invalid_client", f"it is another kind of app: {OTHER_APP}", says="application_type"),
    Cause(
        "invalid_client",
        "no active app of this org has this CLIENT_ID: if the app is deactivated, activate it at"
        f" Applications > the app; else check OKTA_URL, or run `{STEP_2}`",
        says="client_id",
    ),
    Cause(
        "invalid_client",
        "Okta does not accept the app or its key: check CLIENT_ID, PRIVATE_KEY and this machine's"
        f" clock, and run `{STEP_2}`, which registers the key",
    ),
    Cause(
        "consent_required",
        f"one or more of these scopes are not granted: run `{STEP_2}`, or grant them in"
        f" {SCOPES_TAB}; {TOO_EARLY}",
        says="require user consent",
    ),
    Cause(
        "consent_required",
        f"none of these scopes is granted: run `{STEP_2}`, or grant them in {SCOPES_TAB};"
        f" {TOO_EARLY}",
    ),
    Cause(
        "invalid_scope",
        "openid, profile and the like need a person to sign in: take them out of SCOPES",
        says="openid",
    ),
    Cause(
        "invalid_scope",
        "an org issues tokens only for Okta's own scopes (okta.*): remove the others from SCOPES",
        says="Custom scopes are not allowed",
    ),
    Cause("invalid_scope", f"Okta does not know all of these: correct SCOPES, {SCOPE_NAMES}"),
    Cause(
        "client_credentials_self_scope_requested",
        "scopes that end in .self need a person to sign in: take them out of SCOPES",
    ),
    Cause("unauthorized_client", f"it is another kind of app: {OTHER_APP}"),
    Cause(
        "access_denied",
        "the app may be used from certain networks only (Applications > the app > General)",
        says="network zone",
    ),
    Cause("access_denied", "a policy forbids it: check Security > API > Authorization Servers"),
    Cause(
        "invalid_dpop_proof",
        "DPoP is required and DPOP=false rules it out: set DPOP=true in .env. If only the app"
        f" requires it, and not the whole org, `{STEP_2}` with DPOP=false lifts that instead",
        says="header is missing",
    ),
    Cause("invalid_dpop_proof", FAST_CLOCK, says="in the future"),
    Cause("invalid_dpop_proof", SLOW_CLOCK, says="in the past"),
    Cause("invalid_dpop_proof", SLOW_CLOCK, says="JWT is expired"),
    Cause("invalid_dpop_proof", WRONG_CLOCK, says="'iat' claim"),
    Cause(
        "invalid_dpop_proof",
        "Okta was called at another address than the proof names: check OKTA_URL, and any proxy"
        " that changes addresses; write the path without percent-escapes if you can",
        says="'htu' claim",
    ),
    Cause("invalid_dpop_proof", "Okta does not take the proof: run this again"),
    Cause("use_dpop_nonce", "Okta changes its nonce too fast to follow: run this again"),
    *(Cause(error, f"a fault at Okta: {SERVER_FAULT}") for error in FAULTS),
    Cause("E0000047", "the org's rate limit is used up for now; wait until it is reset"),
    Cause("E0000009", f"a fault at Okta: {SERVER_FAULT}"),
    Cause("E0000010", f"Okta is in read-only mode: {SERVER_FAULT}"),
)

UNKNOWN = "see developer.okta.com/docs/reference/error-codes for what Okta says here"


def cure(doing: str, status: int, code: str, said: str) -> str:
    """Return the hint for a refusal, or a general one if the table has no row for it."""
    for row in TABLE:
        if row.code == code and row.says in said and row.doing in doing:
            return row.cure
    return SERVER_FAULT if status >= 500 else UNKNOWN


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
    NOT_SECURE_HERE: "if this is the mock org, run the `export` lines that `python -m"
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


def cure_without_okta(status: int, kind: str, content: bytes) -> str:
    """Return a hint for a response that did not come from Okta; `kind` is its Content-Type."""
    if status >= 500:
        return CURES[FAULT]
    if status == 403 and not content:
        return CURES[EMPTY_403]
    if status == 404:
        return CURES[OTHER_404]
    return CURES[WEB_PAGE if "html" in kind else OTHER_ANSWER]
