"""What to do next: hints for refusals by Okta, and for responses that are not Okta's.

Errors that this toolkit raises itself have their hint where they are raised.
"""

from typing import NamedTuple

GENERATE_KEYS = "python generate_keys.py"
CREATE_APP = "python create_okta_service_app.py"

TOKENS_PAGE = "Security > API > Tokens"
SCOPES_TAB = "Applications > the app > Okta API Scopes"
SUPER_ADMIN = f"set API_KEY to a Super Admin's API token and run `{CREATE_APP}` again"
SCOPE_NAMES = "correct SCOPES; the names are at developer.okta.com/docs/api/oauth2"
FAST_CLOCK = "this machine's clock is fast: correct it (NTP)"
SLOW_CLOCK = "this machine's clock is slow: correct it (NTP)"
WRONG_CLOCK = "this machine's clock is wrong: correct it (NTP)"
TOO_EARLY = "if `create_okta_service_app.py` ran only seconds ago, wait a little and run this again"
"""Grants and roles take seconds to arrive everywhere: the live tests of okta-sdk-dotnet
(OAuthApiTests.cs) wait three after a role, and five after a grant."""

OTHER_USE = "the app has this key for encryption, not for signatures: add a key with the use `sig`"
OTHER_APP = f"clear CLIENT_ID and run `{CREATE_APP}` for a service app that uses a key"
SERVER_FAULT = "run this again later; see status.okta.com"

FAULTS = ("temporarily_unavailable", "server_error")
"""OAuth errors that are faults at Okta, whatever the status: the first comes as 400, the second
also as 400 or 403 (developer.okta.com/docs/reference/error-codes)."""


class Row(NamedTuple):
    """`code` is Okta's errorCode or OAuth error. Where the code alone is too broad, `says` is
    part of its text, and `doing` of what was being done. The first row that fits counts."""

    code: str
    hint: str
    says: str = ""
    doing: str = ""


# developer.okta.com/docs/reference/error-codes, and Okta's OAuth error catalogue
TABLE = (
    Row(
        "E0000011",
        "the API token is wrong, revoked, or expired after 30 days without use: create one as a"
        f" Super Admin at {TOKENS_PAGE}, and set API_KEY to it",
    ),
    Row("E0000004", f"the API token does not authenticate: create a new one at {TOKENS_PAGE}"),
    Row("E0000005", f"API_KEY is not an API token of this org: create one at {TOKENS_PAGE}"),
    Row(
        "E0000006",
        f"only a Super Admin can grant scopes: {SUPER_ADMIN}, or grant them at {SCOPES_TAB}",
        doing="granting",
    ),
    Row(
        "E0000006",
        f"only a Super Admin can assign roles: {SUPER_ADMIN}, or use Security > Administrators",
        doing="assigning",
    ),
    Row(
        "E0000006",
        f"reading the grants of an app may take a Super Admin: {SUPER_ADMIN}",
        doing="reading the grants",
    ),
    Row(
        "E0000006",
        "only a Super Admin can change the keys of an app that has scopes or an admin role: set"
        " API_KEY to a Super Admin's API token and run this again",
        doing="the key ",
    ),
    Row(
        "E0000006",
        "the admin whose API token this is may not do that; only a Super Admin can change an app"
        f" that has scopes or a role: {SUPER_ADMIN}",
    ),
    Row("E0000015", "this org's edition does not have the feature; the API token is fine"),
    Row(
        "E0000001",
        "the org has reached its limit of apps: delete one you do not need, at Applications",
        says="Maximum number of instances",
    ),
    Row("E0000001", f"Okta does not know this scope: {SCOPE_NAMES}", says="scopeId"),
    Row(
        "E0000001",
        f"the key is too short: run `{GENERATE_KEYS} --force`, then `{CREATE_APP}`",
        says="2,048",
    ),
    Row(
        "E0000001",
        "the app's existing keys prevent this (Applications > the app > General > Public Keys):"
        " give each a key ID, or remove those you do not need",
        says="JsonWebKey",
    ),
    Row("E0000007", f"not found, or deleted: check OKTA_URL, or run `{CREATE_APP}`"),
    Row(
        "E0000056",
        f"the app still counts as active: run `{CREATE_APP} --delete` again in a minute, or"
        " deactivate it at Applications",
    ),
    Row("E0000091", "set ADMIN_ROLES to standard role types, such as READ_ONLY_ADMIN"),
    Row("E0000227", f"only service apps can have a role: {OTHER_APP}"),
    Row("invalid_client_metadata", "Okta does not accept the app's settings: check --name"),
    Row(
        "invalid_client",
        f"the app has no key with this KEY_ID: run `{CREATE_APP}`, which corrects it",
        says="kid is invalid",
    ),
    Row(
        "invalid_client",
        f"the app does not trust PRIVATE_KEY: run `{CREATE_APP}` to register it",
        says="signature is invalid",
    ),
    Row(
        "invalid_client",
        "OKTA_URL is not the org's own URL: use its okta.com domain",
        says="audience claim",
    ),
    Row("invalid_client", FAST_CLOCK, says="too far into the future"),
    Row("invalid_client", FAST_CLOCK, says="before the current time"),
    Row("invalid_client", SLOW_CLOCK, says="is expired"),
    Row(
        "invalid_client",
        "something sent the request a second time: run this again",
        says="already been used",
    ),
    Row(
        "invalid_client",
        "the app gets its keys from a jwks_uri that Okta cannot read: correct it at"
        " Applications > the app > General",
        says="jwks_uri",
    ),
    Row(
        "invalid_client",
        f"the app has no usable key: run `{CREATE_APP}` to register it",
        says="JWKSet",
    ),
    Row("invalid_client", OTHER_USE, says="signing key"),
    Row("invalid_client", OTHER_USE, says="'use' parameter"),
    Row(
        "invalid_client",
        "the app's key is for another algorithm than RS256: register an RSA key",
        says="signature algorithm",
    ),
    Row(
        "invalid_client",
        f"the app authenticates with a client secret: {OTHER_APP}",
        says="private_key_jwt",
    ),
    Row("invalid_client", f"it is another kind of app: {OTHER_APP}", says="application_type"),
    Row(
        "invalid_client",
        "the org has no active app with this CLIENT_ID: if the app is deactivated, activate it at"
        f" Applications > the app; otherwise check OKTA_URL, or run `{CREATE_APP}`",
        says="client_id",
    ),
    Row(
        "invalid_client",
        "Okta does not accept the app or its key: check CLIENT_ID, PRIVATE_KEY, KEY_ID and this"
        f" machine's clock, and run `{CREATE_APP}`, which registers the key",
    ),
    Row(
        "consent_required",
        f"one or more of these scopes are not granted: run `{CREATE_APP}`, or grant them at"
        f" {SCOPES_TAB}; {TOO_EARLY}",
        says="require user consent",
    ),
    Row(
        "consent_required",
        f"these scopes are not granted: run `{CREATE_APP}`, or grant them at {SCOPES_TAB};"
        f" {TOO_EARLY}",
    ),
    Row(
        "invalid_scope",
        "openid, profile and the like need a person to sign in: remove them from SCOPES",
        says="openid",
    ),
    Row(
        "invalid_scope",
        "an org issues tokens only for Okta's own scopes (okta.*): remove the others from SCOPES",
        says="Custom scopes are not allowed",
    ),
    Row("invalid_scope", f"Okta does not know all of these scopes: {SCOPE_NAMES}"),
    Row(
        "client_credentials_self_scope_requested",
        "scopes that end in .self need a person to sign in: remove them from SCOPES",
    ),
    Row("unauthorized_client", f"it is another kind of app: {OTHER_APP}"),
    Row(
        "access_denied",
        "the app can be used only from certain networks (Applications > the app > General)",
        says="network zone",
    ),
    Row("access_denied", "a policy forbids it: check Security > API > Authorization Servers"),
    Row(
        "invalid_dpop_proof",
        "DPoP is required, and DPOP=false rules it out: set DPOP=true in .env. If only the app"
        f" requires it, and not the whole org, `{CREATE_APP}` with DPOP=false lifts that instead",
        says="header is missing",
    ),
    Row("invalid_dpop_proof", FAST_CLOCK, says="in the future"),
    Row("invalid_dpop_proof", SLOW_CLOCK, says="in the past"),
    Row("invalid_dpop_proof", SLOW_CLOCK, says="JWT is expired"),
    Row("invalid_dpop_proof", WRONG_CLOCK, says="'iat' claim"),
    Row(
        "invalid_dpop_proof",
        "Okta was called at another URL than the proof names: check OKTA_URL, and any proxy that"
        " rewrites URLs; write the path without percent-escapes if you can",
        says="'htu' claim",
    ),
    Row("invalid_dpop_proof", "Okta does not accept the proof: run this again"),
    Row("use_dpop_nonce", "Okta rejected the nonce that it had just issued: run this again"),
    *(Row(error, f"a fault at Okta: {SERVER_FAULT}") for error in FAULTS),
    Row("E0000047", "the org's rate limit is used up; wait until it is reset"),
    Row("E0000009", f"a fault at Okta: {SERVER_FAULT}"),
    Row("E0000010", f"Okta is in read-only mode: {SERVER_FAULT}"),
)

UNKNOWN = "see developer.okta.com/docs/reference/error-codes for the meaning of this error"

REDIRECT = "OKTA_URL is not the org's own URL: use the one it redirects to, if that is yours"
EMPTY_403 = "OKTA_URL may be the Admin Console's URL (-admin): use the org's own"
OTHER_404 = "this host is not an Okta org: check OKTA_URL"
WEB_PAGE = "something other than Okta responded, perhaps a proxy: check HTTPS_PROXY and OKTA_URL"
OTHER_RESPONSE = "something other than Okta responded: check OKTA_URL"
NOT_SECURE = (
    "if a proxy inspects TLS connections here, point REQUESTS_CA_BUNDLE at a file with its CA"
    " certificate; Python 3.13 and later refuse a CA without the extensions of RFC 5280"
)
NOT_SECURE_HERE = (
    "if this is the mock org, run the `export` lines that `python -m pkj.sandbox serve` printed"
    " last, in this shell"
)
NOT_VALID_NOW = "check this machine's clock: by it, the server's certificate is not valid now"
NO_CA_FILE = (
    "check REQUESTS_CA_BUNDLE, or CURL_CA_BUNDLE if only that is set: it names the PEM file of"
    " CA certificates to trust"
)
NO_NAME = "check OKTA_URL, the network, and HTTPS_PROXY"
NO_PROXY = "check HTTPS_PROXY, or name the host in NO_PROXY"
NO_CONNECTION = "check the network and HTTPS_PROXY; --timeout waits longer"
NOBODY_THERE = "check OKTA_URL and HTTPS_PROXY: nothing is listening there"
NO_RESPONSE = "run this again later; --timeout waits longer"
LOST = "run this again; if it keeps happening, check the network"


def for_refusal(doing: str, status: int, code: str, said: str) -> str:
    """Return the hint for a refusal, or a general one if the table has no row for it."""
    for row in TABLE:
        if row.code == code and row.says in said and row.doing in doing:
            return row.hint
    return SERVER_FAULT if status >= 500 else UNKNOWN


def for_other(status: int, kind: str, content: bytes) -> str:
    """Return the hint for a response that did not come from Okta; `kind` is its Content-Type."""
    if status >= 500:
        return SERVER_FAULT
    if status == 403 and not content:
        return EMPTY_403
    if status == 404:
        return OTHER_404
    return WEB_PAGE if "html" in kind else OTHER_RESPONSE
