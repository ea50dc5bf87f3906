"""`GET /api/v1/users` and `/{id}`: the one API of the mock org that a token is good for."""

import re
from urllib.parse import unquote

from pkj.sandbox.access_token import claims_of
from pkj.sandbox.admins import admin_type, not_permitted
from pkj.sandbox.dpop_rules import BadProofError, check_binding, checked
from pkj.sandbox.exchange import Answer, Refusal, management_refusal, oauth_refusal
from pkj.sandbox.jwk import ALGORITHMS
from pkj.sandbox.state import Call, OrgState

NEEDED_SCOPE = "okta.users.read"
ENOUGH_SCOPES = {NEEDED_SCOPE, "okta.users.manage"}

BAD_TOKEN = "The access token is invalid."  # noqa: S105 - a message
TOO_FEW_SCOPES = "The access token provided does not contain the required scopes."
NOT_DPOP_BOUND = "The presented access_token is not DPoP bound."
NEEDS_NONCE = "Resource server requires nonce in DPoP proof."
NO_PROOF = "The resource request requires a DPoP proof."
WRONG_SCHEME = (
    "The resource request must use the DPoP authentication scheme when using a DPoP bound token."
)

Claims = dict[str, object]


def list_users(org: OrgState, call: Call) -> Answer:
    """200 with the users: for an API token, or an access token with the scope and a role."""
    _check_caller(org, call)
    limit = call.request.query.get("limit", "")
    users = org.users[: int(limit)] if re.fullmatch("[0-9]{1,3}", limit) else org.users
    return Answer(200, users, {"link": f'<{org.url}{call.request.target}>; rel="self"'})


def read_user(org: OrgState, call: Call) -> Answer:
    """200 with the user of this id or login; 404 E0000007 if there is none."""
    _check_caller(org, call)
    wanted = unquote(call.ids[0])
    for user in org.users:
        if wanted in (user["id"], user["profile"]["login"]):
            return Answer(200, user)
    summary = f"Not found: Resource not found: {wanted} (User)"
    raise management_refusal(404, "E0000007", summary)


def _check_caller(org: OrgState, call: Call) -> None:
    """An API token will do as well as an access token with the scope and a role."""
    scheme, _, token = call.request.headers.get("authorization", "").partition(" ")
    if scheme.lower() in ("bearer", "dpop"):
        _check_token(org, call, scheme.lower(), token.strip())
    else:
        admin_type(org, call.request)


def _check_token(org: OrgState, call: Call, scheme: str, token: str) -> None:
    claims = claims_of(org, token)
    if claims is None:
        header = _challenge(org, scheme, "invalid_token", BAD_TOKEN)
        raise management_refusal(401, "E0000011", "Invalid token provided", headers=header)
    _check_scheme(org, call, scheme, token, claims)
    scopes = claims["scp"]
    if not isinstance(scopes, list) or not ENOUGH_SCOPES & set(scopes):
        refusal = not_permitted()
        refusal.answer.headers |= _challenge(org, scheme, "insufficient_scope", TOO_FEW_SCOPES)
        raise refusal
    if org.role_needed and not org.clients[str(claims["cid"])].roles:
        raise not_permitted()


def _check_scheme(org: OrgState, call: Call, scheme: str, token: str, claims: Claims) -> None:
    """A bound token comes with a proof of its key, any other without (RFC 9449 section 7)."""
    binding = claims.get("cnf")
    if scheme == "bearer":
        if binding:
            raise _refused(org, "bearer", 400, "invalid_request", WRONG_SCHEME)
        return
    if not isinstance(binding, dict):
        raise _refused(org, scheme, 401, "invalid_token", NOT_DPOP_BOUND)
    proof = call.request.headers.get("dpop")
    if not proof:
        raise _refused(org, scheme, 400, "invalid_request", NO_PROOF)
    try:
        good = checked(org, proof, call.request.method, org.url + call.request.path)
        check_binding(good, token, binding["jkt"])
    except BadProofError as error:
        raise _refused(org, scheme, 400, "invalid_dpop_proof", str(error)) from None
    if org.api_nonces and good.claims.get("nonce") not in org.api_nonces:
        raise _refused(org, scheme, 401, "use_dpop_nonce", NEEDS_NONCE)


def _refused(org: OrgState, scheme: str, status: int, error: str, description: str) -> Refusal:
    challenge = _challenge(org, scheme, error, description)
    return oauth_refusal(status, error, description, challenge)


def _challenge(org: OrgState, scheme: str, error: str, description: str) -> dict[str, str]:
    """The `WWW-Authenticate` header of a resource (RFC 6750 section 3, RFC 9449 section 7.1)."""
    start = f'DPoP algs="{" ".join(ALGORITHMS)}", ' if scheme == "dpop" else "Bearer "
    text = (
        f'{start}authorization_uri="{org.url}/oauth2/v1/authorize", realm="{org.url}", '
        f'scope="{NEEDED_SCOPE}", error="{error}", error_description="{description}"'
    )
    return {"www-authenticate": text}
