"""`POST /oauth2/v1/token`: the client credentials grant, in the order in which Okta looks."""

from pkj.sandbox import access_token, assertion_rules, dpop_rules
from pkj.sandbox.assertion_rules import BAD_CLIENT, invalid_client
from pkj.sandbox.body import form
from pkj.sandbox.exchange import Answer, Refusal, Request, management_refusal, oauth_refusal
from pkj.sandbox.grants import is_okta_scope
from pkj.sandbox.state import Call, Client, OrgState

PATH = "/oauth2/v1/token"
GRANT_TYPE = "client_credentials"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
OPENID_SCOPES = ("openid", "profile", "email", "offline_access")

CREDENTIALS_IN_QUERY = "Client credentials cannot be supplied via query parameters."
NO_GRANT_TYPE = "The token request must specify a 'grant_type'. Valid values: [client_credentials]"
BAD_CLIENT_ID = "Invalid value for 'client_id' parameter."
NO_CREDENTIALS = "No client credentials found."
SEVERAL_CREDENTIALS = (
    "Cannot supply multiple client credentials. Use one of the following: credentials in the "
    "Authorization header, credentials in the post body, or a client_assertion in the post body."
)
BAD_ASSERTION_TYPE = "The client_assertion_type is invalid."
UNSUPPORTED_GRANT_TYPE = (
    "The authorization grant type is not supported by the authorization server. "
    "Configured grant types: [client_credentials]."
)
NO_SCOPES = "No scopes were requested."
UNKNOWN_SCOPES = "One or more scopes are not configured for the authorization server resource."
SELF_SCOPES = "The 'client_credentials' grant type may not request .self scopes."
NOTHING_GRANTED = "You are not allowed any of the requested scopes."


def issue(org: OrgState, call: Call) -> Answer:
    """200 with a token for those of the requested scopes that the app was granted."""
    fields = _fields(org, call.request)
    url = org.url + PATH
    assertion, client_id = fields["client_assertion"], fields.get("client_id")
    client = assertion_rules.authenticated(org, assertion, client_id, url)
    jkt = None
    if client.dpop_bound or org.require_dpop:
        jkt = dpop_rules.at_token_endpoint(org, call.request.headers.get("dpop"), url)
    _check_grant_type(client, fields["grant_type"])
    scopes = _granted(client, fields.get("scope", ""))
    body = {
        "token_type": "DPoP" if jkt else "Bearer",
        "expires_in": access_token.LIFETIME,
        "access_token": access_token.mint(org, client, scopes, jkt),
        "scope": " ".join(scopes),
    }
    return Answer(200, body, {"dpop-nonce": org.nonces[-1]} if jkt else {})


def _fields(org: OrgState, request: Request) -> dict[str, str]:
    """The form, when it holds a grant type and an assertion, and no other credentials."""
    if request.query.keys() & {"client_assertion", "client_secret"}:
        raise oauth_refusal(400, "invalid_request", CREDENTIALS_IN_QUERY)
    fields = form(request)
    if "grant_type" not in fields:
        raise oauth_refusal(400, "invalid_request", NO_GRANT_TYPE)
    if "client_id" in fields and fields["client_id"] not in org.clients:
        raise _unknown_client()
    _check_credentials(request, fields)
    return fields


def _check_credentials(request: Request, fields: dict[str, str]) -> None:
    basic = request.headers.get("authorization", "").lower().startswith("basic ")
    secret = basic or "client_secret" in fields
    if "client_assertion" not in fields:
        raise invalid_client(BAD_CLIENT if secret else NO_CREDENTIALS)
    if secret:
        raise oauth_refusal(401, "invalid_request", SEVERAL_CREDENTIALS)
    if fields.get("client_assertion_type") != ASSERTION_TYPE:
        raise oauth_refusal(400, "invalid_request", BAD_ASSERTION_TYPE)


def _unknown_client() -> Refusal:
    """Here, and only here, this endpoint speaks the management dialect."""
    return management_refusal(400, "invalid_client", BAD_CLIENT_ID)


def _check_grant_type(client: Client, grant_type: str) -> None:
    if grant_type != GRANT_TYPE:
        raise oauth_refusal(400, "unsupported_grant_type", UNSUPPORTED_GRANT_TYPE)
    configured = client.metadata["grant_types"]
    if GRANT_TYPE not in configured:
        description = (
            "The client is not authorized to use the provided grant type. "
            f"Configured grant types: [{', '.join(configured)}]."
        )
        raise oauth_refusal(400, "unauthorized_client", description)


def _granted(client: Client, requested: str) -> list[str]:
    """The granted ones among the requested scopes, each once, in the order of the request."""
    scopes = list(dict.fromkeys(scope for scope in requested.split(" ") if scope))
    if not scopes:
        raise oauth_refusal(400, "invalid_scope", NO_SCOPES)
    for scope in scopes:
        _check_scope(scope)
    granted = [scope for scope in scopes if scope in client.grants]
    if not granted:
        raise oauth_refusal(400, "consent_required", NOTHING_GRANTED)
    return granted


def _check_scope(scope: str) -> None:
    if scope in OPENID_SCOPES:
        description = f"Cannot request '{scope}' scopes using client credentials."
        raise oauth_refusal(400, "invalid_scope", description)
    if not is_okta_scope(scope):
        raise oauth_refusal(400, "invalid_scope", UNKNOWN_SCOPES)
    if scope.endswith(".self"):
        raise oauth_refusal(400, "client_credentials_self_scope_requested", SELF_SCOPES)
