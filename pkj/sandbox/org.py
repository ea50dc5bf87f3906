"""The mock Okta org: it answers requests, without sockets.

It refuses what Okta is documented to refuse, in Okta's words. Where it is known to differ:

- Rate limits are announced and counted down, never enforced; one bucket serves all paths.
- A duplicate grant is 409 E0000001; Okta's response is not documented (okta-sdk-java's live test
  accepts a success or a 400).
- Lists, deactivations: see `list_lag` and `deactivation_lag`; at Okta such delays just happen.
- With `okta_domain`, `url` is a custom domain of that org, and grants are for `okta_domain`.
- Registration takes service apps with private_key_jwt only; a missing `response_types`
  counts as `code`, and is refused. Whether Okta refuses private JWK members is not on record.
- JWKs must be strict RFC 7518; Okta's decoder looks lenient (see `lenient_jwk`). JWK members
  without a meaning here (`x5c`, `key_ops`) are dropped.
- A `jwks_uri` is kept but never fetched: such an app gets Okta's retrieval error.
- A registered client shows INACTIVE keys among the others; the app's own keys tell them apart.
- Bearer and DPoP tokens work for `/api/v1/users` only; elsewhere E0000005, whatever the scope.
- Any role is sufficient for `/api/v1/users`. Custom roles and role targets do not exist.
- PUT of a client, single grants and single roles cannot be read or deleted by id.
- Grants end with their app; at Okta they belong to the client id.
- DPoP nonces do not age: see `new_nonce` and `forget_nonces`. The API asks for one only
  if `api_nonces` holds any.
- A used-up jti of an assertion or a proof is remembered until the org stops.
"""

import copy
import re
import secrets
from collections.abc import Callable
from urllib.parse import unquote

from pkj.sandbox import apps, clients, tokens
from pkj.sandbox.exchange import Refusal, Request, Response, management_refusal, oauth_refusal
from pkj.sandbox.jose import ALGORITHMS
from pkj.sandbox.state import (
    Call,
    OrgState,
    admin_type,
    not_found,
    not_permitted,
)
from pkj.sandbox.tokens import BadProofError, check_binding, checked_proof, claims_of

# `GET /api/v1/users` and `/{id}`: the only API that accepts access tokens.

NEEDED_SCOPE = "okta.users.read"
ENOUGH_SCOPES = {NEEDED_SCOPE, "okta.users.manage"}

Claims = dict[str, object]


def list_users(org: OrgState, call: Call) -> Response:
    """Return 200 with the users: for an API token, or an access token with the scope and a role."""
    _check_caller(org, call)
    limit = call.request.query.get("limit", "")
    users = org.users[: int(limit)] if re.fullmatch("[0-9]{1,3}", limit) else org.users
    return Response(200, users, {"link": f'<{org.url}{call.request.target}>; rel="self"'})


def read_user(org: OrgState, call: Call) -> Response:
    """Return 200 with the user of this id or login; 404 E0000007 if there is none."""
    _check_caller(org, call)
    wanted = unquote(call.ids[0])
    for user in org.users:
        if wanted in (user["id"], user["profile"]["login"]):
            return Response(200, user)
    raise not_found(wanted, "User")


def _check_caller(org: OrgState, call: Call) -> None:
    """Accept an API token, or an access token with the scope and a role."""
    scheme, _, token = call.request.headers.get("authorization", "").partition(" ")
    if scheme.lower() in ("bearer", "dpop"):
        _check_token(org, call, scheme.lower(), token.strip())
    else:
        admin_type(org, call.request)


def _check_token(org: OrgState, call: Call, scheme: str, token: str) -> None:
    claims = claims_of(org, token)
    if claims is None:
        header = _challenge(org, scheme, "invalid_token", "The access token is invalid.")
        raise management_refusal(401, "E0000011", "Invalid token provided", headers=header)
    _check_scheme(org, call, scheme, token, claims)
    scopes = claims["scp"]
    if not isinstance(scopes, list) or not ENOUGH_SCOPES & set(scopes):
        refusal = not_permitted()
        text = "The access token provided does not contain the required scopes."
        refusal.response.headers |= _challenge(org, scheme, "insufficient_scope", text)
        raise refusal
    if org.role_needed and not org.clients[str(claims["cid"])].roles:
        raise not_permitted()


def _check_scheme(org: OrgState, call: Call, scheme: str, token: str, claims: Claims) -> None:
    """Require a proof for a bound token, and none for others (RFC 9449 section 7)."""
    binding = claims.get("cnf")
    if scheme == "bearer":
        if binding:
            text = (
                "The resource request must use the DPoP authentication scheme when using a DPoP "
                "bound token."
            )
            raise _refused(org, "bearer", 400, "invalid_request", text)
        return
    if not isinstance(binding, dict):
        raise _refused(
            org, scheme, 401, "invalid_token", "The presented access_token is not DPoP bound."
        )
    proof = call.request.headers.get("dpop")
    if not proof:
        raise _refused(
            org, scheme, 400, "invalid_request", "The resource request requires a DPoP proof."
        )
    try:
        good = checked_proof(org, proof, call.request.method, org.url + call.request.path)
        check_binding(good, token, binding["jkt"])
    except BadProofError as error:
        raise _refused(org, scheme, 400, "invalid_dpop_proof", str(error)) from None
    if org.api_nonces and good.claims.get("nonce") not in org.api_nonces:
        raise _refused(
            org, scheme, 401, "use_dpop_nonce", "Resource server requires nonce in DPoP proof."
        )


def _refused(org: OrgState, scheme: str, status: int, error: str, description: str) -> Refusal:
    challenge = _challenge(org, scheme, error, description)
    return oauth_refusal(status, error, description, challenge)


def _challenge(org: OrgState, scheme: str, error: str, description: str) -> dict[str, str]:
    """Return the `WWW-Authenticate` header (RFC 6750 section 3, RFC 9449 section 7.1)."""
    start = f'DPoP algs="{" ".join(ALGORITHMS)}", ' if scheme == "dpop" else "Bearer "
    text = (
        f'{start}authorization_uri="{org.url}/oauth2/v1/authorize", realm="{org.url}", '
        f'scope="{NEEDED_SCOPE}", error="{error}", error_description="{description}"'
    )
    return {"www-authenticate": text}


# Which rule answers which method and path.

Rule = Callable[[OrgState, Call], Response]


def organization(org: OrgState, _: Call) -> Response:
    """`/.well-known/okta-organization`, as recorded; pipeline idx is Identity Engine."""
    settings = {"analyticsCollectionEnabled": False, "bugReportingEnabled": True, "omEnabled": True}
    links = {"organization": {"href": org.issuer}}
    if org.issuer != org.url:
        links["alternate"] = {"href": org.url}
    body = {
        "id": "00opretendorg0000000",
        "cell": "pretend",
        "_links": links,
        "pipeline": "idx",
        "settings": settings,
    }
    return Response(200, body)


# These check the caller themselves, or are for everyone.
OPEN: dict[str, dict[str, Rule]] = {
    "/.well-known/okta-organization": {"GET": organization},
    tokens.PATH: {"POST": tokens.issue},
    "/api/v1/users": {"GET": list_users},
    "/api/v1/users/ID": {"GET": read_user},
}
# These take an API token (SSWS).
FOR_ADMINS: dict[str, dict[str, Rule]] = {
    "/oauth2/v1/clients": {"GET": clients.list_page, "POST": clients.register},
    "/oauth2/v1/clients/ID": {"GET": clients.read, "DELETE": clients.delete},
    "/oauth2/v1/clients/ID/roles": {"GET": clients.list_roles, "POST": clients.assign_role},
    "/api/v1/apps/ID": {"GET": apps.read, "PUT": apps.replace, "DELETE": apps.delete},
    "/api/v1/apps/ID/lifecycle/activate": {"POST": apps.activate},
    "/api/v1/apps/ID/lifecycle/deactivate": {"POST": apps.deactivate},
    "/api/v1/apps/ID/grants": {"GET": apps.list_grants, "POST": apps.grant},
    "/api/v1/apps/ID/credentials/jwks": {"GET": apps.list_keys, "POST": apps.add_key},
    "/api/v1/apps/ID/credentials/jwks/ID": {"DELETE": apps.delete_key},
    "/api/v1/apps/ID/credentials/jwks/ID/lifecycle/activate": {"POST": apps.activate_key},
    "/api/v1/apps/ID/credentials/jwks/ID/lifecycle/deactivate": {"POST": apps.deactivate_key},
}


def _routed(org: OrgState, request: Request) -> Response:
    """Return the response of the rule for this request. Raises Refusal."""
    for table, for_admins in ((OPEN, False), (FOR_ADMINS, True)):
        for path, rules in table.items():
            found = re.fullmatch(path.replace(".", r"\.").replace("ID", "([^/]+)"), request.path)
            if found:
                rule = _rule(rules, request.method)
                admin = admin_type(org, request) if for_admins else ""
                return rule(org, Call(request, found.groups(), admin))
    raise management_refusal(404, "E0000008", "The requested path was not found")


def _rule(rules: dict[str, Rule], method: str) -> Rule:
    if method not in rules:
        summary = "The endpoint does not support the provided HTTP method"
        raise management_refusal(405, "E0000022", summary)
    return rules[method]


RATE_LIMIT = 600
RATE_WINDOW = 60
COUNTED = ("/api/v1/", "/oauth2/v1/")


class Org(OrgState):
    """The org with its rules. Its settings are attributes of `OrgState`."""

    _window_end = 0
    _remaining = RATE_LIMIT

    def answer(self, request: Request) -> Response:
        """Answer one request; safe to call from many threads. Never raises."""
        with self.lock:
            try:
                response = _routed(self, request)
            except Refusal as refusal:
                response = refusal.response
            # A copy: another thread may change the app before this response is sent.
            response.body = copy.deepcopy(response.body)
            response.headers["x-okta-request-id"] = secrets.token_hex(16)
            if self.api_nonces and request.path.startswith("/api/v1/"):
                response.headers["dpop-nonce"] = self.api_nonces[-1]  # RFC 9449 section 8.2
            if request.path.startswith(COUNTED):
                response.headers |= {"cache-control": "no-cache, no-store"} | self._rate_headers()
        return response

    def _rate_headers(self) -> dict[str, str]:
        now = self.now()
        if not now < self._window_end <= now + RATE_WINDOW:
            self._window_end, self._remaining = now + RATE_WINDOW, RATE_LIMIT
        self._remaining = max(self._remaining - 1, 1)
        return {
            "x-rate-limit-limit": str(RATE_LIMIT),
            "x-rate-limit-remaining": str(self._remaining),
            "x-rate-limit-reset": str(self._window_end),
        }
