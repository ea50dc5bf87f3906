"""The mock org's rules: what it accepts, and each refusal in Okta's words.

First apps (registration, lists, grants, roles, keys, and who may change what), then tokens
(assertions, forms, DPoP proofs), then the users API, where tokens are used.
"""

import base64
import copy
import hashlib
from typing import Any

import jwt
import pytest
from faults import Org
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import ECKey, RSAKey
from sandbox_requests import (
    NOW,
    READ,
    RS256,
    TOKEN_URL,
    URL,
    app_with,
    ask,
    assertion_of,
    b64,
    call,
    cases,
    changed,
    claims_of,
    each,
    ec_key,
    grant_of,
    jwk_of,
    new_org,
    proof_of,
    registration,
    rsa_key,
    signed,
    token_form,
    told,
)

from pkj.sandbox.exchange import Request, Response
from pkj.sandbox.state import APP_ADMIN, Client

Changes = dict[str, Any]
CLIENTS = "/oauth2/v1/clients"
MOMENT = "2027-01-15T08:00:00.000Z"
METHOD = "token_endpoint_auth_method"
FORBIDDEN = "403 E0000006 You do not have permission to perform the requested action"
INVALID = "400 E0000001 Api validation failed: "
FIRST = jwk_of(rsa_key(), kid="one")
OURS = FIRST | {"use": "sig", "alg": "RS256"}
SECOND = jwk_of(rsa_key("second"), kid="two", use="sig", alg="RS256")
POINT = jwk_of(ec_key())
N = rsa_key().public_key().public_numbers().n.to_bytes(256, "big")
OLD_N = base64.encodebytes(N).decode()
"""As the scripts of 2021 sent it."""


@pytest.fixture
def org() -> Org:
    return new_org()


def at(client: Client, rest: str = "") -> str:
    return f"/api/v1/apps/{client.id}{rest}"


def register(org: Org, **changes: Any) -> Response:
    return call(org, "POST", CLIENTS, registration(**changes))


def test_rate_limit_is_announced_by_the_clock_of_the_org(org: Org) -> None:
    for second, *expected in ((0, 599, 60), (0, 598, 60), (59, 597, 60), (60, 599, 120)):
        org.clock = lambda second=second: NOW + second
        headers = call(org, "GET", CLIENTS).headers
        announced = [int(headers[f"x-rate-limit-{n}"]) for n in ("limit", "remaining", "reset")]
        assert announced == [600, expected[0], NOW + expected[1]]


def test_every_response_has_its_own_id_and_is_not_cached(org: Org) -> None:
    responses = [call(org, "GET", path).headers for path in (CLIENTS, "/api/v1/x", CLIENTS)]
    assert len({headers["x-okta-request-id"] for headers in responses}) == 3
    assert {headers["cache-control"] for headers in responses} == {"no-cache, no-store"}
    response = org.answer(Request("GET", "/.well-known/okta-organization"))  # open to everyone
    assert response.body["_links"] == {"organization": {"href": URL}}
    assert (response.body["pipeline"], "x-rate-limit-limit" in response.headers) == ("idx", False)


CREDENTIALS = {
    "401 E0000011 Invalid token provided": ["", "SSWS nonsense", "SSWS", "Basic eA==", "mine"],
    "403 E0000005 Invalid session": ["Bearer x", "dpop x"],
}


@pytest.mark.parametrize(("credentials", "why"), cases(CREDENTIALS))
def test_api_token_is_needed(credentials: str, why: str) -> None:
    org = new_org(api_key="mine")
    response = org.answer(Request("GET", CLIENTS, {"authorization": credentials}))
    assert told(response) == why
    assert response.headers.get("www-authenticate") == ("SSWS" if "401" in why else None)
    assert org.answer(Request("GET", CLIENTS, {"authorization": "SSWSmine"})).status == 200


DEEPEST, DEEPER = (b'{"a":' + b"[" * n + b"]" * n + b"}" for n in (39, 40))
JSON = "application/json"
BROKEN = (b"{", b"[]", b"", b'{"a": NaN}', b"\xff{}", DEEPER, b"[" * 100_000)
BODIES = {
    "400 E0000021 Bad request. Accept and/or": [(b"{}", "text/plain"), (b"{}", "")],
    "400 E0000003 The request body was not well-formed.": [(body, JSON) for body in BROKEN],
    "400 invalid_client_metadata": [(DEEPEST, JSON), (b"{}", "Application/JSON; charset=utf-8")],
}


@pytest.mark.parametrize(("sent", "why"), cases(BODIES))
def test_body_must_be_a_json_object(org: Org, sent: tuple[bytes, str], why: str) -> None:
    response = call(org, "POST", CLIENTS, sent[0], **{"content-type": sent[1]})
    assert told(response).startswith(why)


# Registration


def test_new_app_is_shown_as_in_the_specification(org: Org) -> None:
    response = register(org)
    (client,) = org.clients.values()
    assert (response.status, client.id[:3], len(client.id)) == (201, "0oa", 20)
    assert response.body == {
        "client_id": client.id,
        "client_id_issued_at": NOW,
        "client_name": "An app",
        "client_uri": None,
        "logo_uri": None,
        "redirect_uris": [],
        "response_types": ["token"],
        "grant_types": ["client_credentials"],
        "token_endpoint_auth_method": "private_key_jwt",
        "application_type": "service",
        "jwks": {"keys": [OURS]},
    }
    assert call(org, "GET", f"{CLIENTS}/{client.id}").body == response.body


def jwks(*keys: Any, **members: Any) -> Changes:
    """A change of `jwks`: these keys, or ours with other members."""
    return {"jwks": {"keys": list(keys) or [changed(OURS, members)]}}


def numbered(count: int) -> list[Changes]:
    return [SECOND | {"kid": str(number)} for number in range(count)]


ACCEPTED = {
    "P-521": jwks(jwk_of(ec_key("P-521"), kid="x", use=None, alg="ES512")),
    "no-labels": jwks(jwk_of(rsa_key(), kid=None, use=None)),
    "two-keys": jwks(OURS, SECOND),
    "50-keys": jwks(*numbered(50)),
    "jwks_uri": {"jwks": None, "jwks_uri": "https://keys.example/jwks"},
    "no-response-types": {"response_types": []},
    "no-redirects": {"redirect_uris": []},
    "links": {"logo_uri": "https://x.example", "policy_uri": "https://y.example"},
}


@pytest.mark.parametrize("changes", ACCEPTED.values(), ids=ACCEPTED)
def test_other_service_apps_are_registered_as_sent(org: Org, changes: Changes) -> None:
    response = register(org, **changes)
    assert response.status == 201
    assert {name: response.body.get(name) for name in changes} == changes


METADATA = {
    "`client_name`: The field can't be left blank.": each("client_name", None, " \t", 7),
    "`application_type`: Only apps of type 'service'": each("application_type", None, "native"),
    "`grant_types`: A 'service' app may have": each("grant_types", None, ["implicit"]),
    "`response_types`: 'client_credentials' allows": each("response_types", None, ["code"]),
    "`redirect_uris`: A 'service' app has no": each("redirect_uris", ["https://x.example"]),
    f"`{METHOD}`: A 'service' app for the org must use": each(METHOD, None, "none"),
    "`jwks`: Exactly one of": [{"jwks": None}, {"jwks_uri": "https://keys.example"}],
    "`jwks_uri`: The field must be": [{"jwks": None, "jwks_uri": uri} for uri in ("http://x", 1)],
    "`logo_uri`: The field must be a string.": each("logo_uri", 1),
    "`client_id`: The field is chosen by the server.": each("client_id", "mine"),
    "`client_secret`: The field is chosen by the server.": each("client_secret", "mine"),
    "`dpop_bound_access_tokens`: The field is not one": each("dpop_bound_access_tokens", True),
    "`initiate_login_uri`: The field is not one": each("initiate_login_uri", "https://x"),
}
LONG_X = b64(b"\0" + base64.urlsafe_b64decode(POINT["x"] + "="))
NOT_URL_SAFE = base64.b64encode(b"\xff\xef\xbe" * 90).decode()
MODULI = (b64(b"\0" + N), b64(N) + "==", OLD_N, NOT_URL_SAFE, b64(N)[:-1] + "1", 7, "")
SMALL = (None, b64(b"\xff" * 128), b64(b"\x7f" + b"\xff" * 255))
PRIVATE = "The key must not have private members."
NO_KID = "A 'kid' is required for every key when the 'jwks' has more than one."
SAME_KID = "All keys in the 'jwks' must have a unique `kid`."
SHORT = "RSA key length in the 'jwks' is less than '2,048' bits for the given key."
NOT_UINT = "'n' and 'e' must be Base64urlUInt-encoded values (RFC 7518)."
KEYS = {
    SHORT: [jwks(n=n) for n in SMALL],
    NOT_UINT: [*(jwks(n=n) for n in MODULI), jwks(e=None), jwks(e="AAEAAQ")],
    "'n' and 'e' are not an RSA public key.": [jwks(e="Ag")],
    "'kty' must be 'RSA' or 'EC'.": [jwks(kty="oct"), jwks(kty=None)],
    PRIVATE: [jwks(d="AQAB"), jwks(qi="AQAB"), jwks(POINT | {"d": "AQAB"})],
    "'use' must be 'sig'.": [jwks(use="enc")],
    "'alg' must be": [jwks(alg="ES256"), jwks(alg="HS256"), jwks(alg=["RS256"])],
    "'alg' must be a signature algorithm of the key's type.": [jwks(POINT | {"alg": "ES384"})],
    "'kid' must be a string that is not blank.": [jwks(kid=" "), jwks(kid=1)],
    "'status' must be 'ACTIVE' or 'INACTIVE'.": [jwks(status="OLD")],
    "'crv' must be": [jwks(POINT | {"crv": crv}) for crv in (None, "P-1", ["P-256"])],
    "'x' and 'y' are not a point on P-384.": [jwks(POINT | {"crv": "P-384"})],
    "'x' and 'y'": [jwks(POINT | {"y": POINT["x"]}), jwks(POINT | {"x": LONG_X})],
    SAME_KID: [jwks(SECOND, SECOND)],
    NO_KID: [jwks(SECOND, jwk_of(rsa_key())), jwks(jwk_of(rsa_key()), SECOND)],
    "A key must be a JSON object.": [jwks("x")],
    "The 'jwks' can't have more than 50 keys.": [jwks(*numbered(51))],
    "The 'jwks' must have": each("jwks", {"keys": []}, [SECOND], {"keys": SECOND}),
}


@pytest.mark.parametrize(("changes", "why"), [*cases(METADATA), *cases(KEYS)])
def test_registration_is_refused(org: Org, changes: Changes, why: str) -> None:
    start = "400 invalid_client_metadata " if why in METADATA else f"{INVALID}JsonWebKey | "
    assert told(register(org, **changes)).startswith(start + why)
    assert not org.clients


def test_org_can_accept_the_encoding_of_2021_and_be_full(org: Org) -> None:
    org.lenient_jwk, org.max_apps = True, 1
    assert told(register(org, **jwks(n=OLD_N, e=7))).endswith(NOT_UINT)
    assert register(org, **jwks(n=OLD_N)).body["jwks"]["keys"][0]["n"] == OLD_N
    why = "generalSettings | Cannot create application instance. Maximum number of instances"
    assert told(register(org)).startswith(INVALID + why)


# Lists, and the end of an app


def pages(org: Org, target: str = CLIENTS) -> list[list[str]]:
    """The IDs page by page, following `rel="next"` as a client does."""
    found = []
    while target:
        response = call(org, "GET", target)
        found.append([client["client_id"] for client in response.body])
        links = [link[1:].split('>; rel="') for link in response.headers["link"].split(", ")]
        assert links[0] == [URL + target, 'self"']
        assert [relation for _, relation in links[1:]] in ([], ['next"'])
        target = links[1][0].removeprefix(URL) if links[1:] else ""
    return found


def test_pages_follow_each_other_in_order_of_creation(org: Org) -> None:
    ids = [app_with(org).id for _ in range(21)]
    assert pages(org) == [ids[:20], ids[20:]]
    assert pages(org, CLIENTS + "?limit=1") == [[app_id] for app_id in ids]
    assert pages(org, CLIENTS + "?limit=8") == [ids[:8], ids[8:16], ids[16:]]
    assert pages(org, CLIENTS + "?limit=21") == pages(org, CLIENTS + "?limit=200") == [ids]
    next_page = call(org, "GET", CLIENTS).headers["link"].split("<")[2].split(">")[0]
    call(org, "DELETE", f"{CLIENTS}/{ids[19]}")  # the cursor outlives the app it was made for
    assert pages(org, next_page.removeprefix(URL)) == [ids[20:]]
    one = org.add_client("Private one", [])
    assert pages(org, CLIENTS + "?q=private") == [[one.id]]


def test_client_is_deleted_at_once(org: Org) -> None:
    app = app_with(org)
    responses = [call(org, method, f"{CLIENTS}/{app.id}") for method in ("DELETE", "GET", "DELETE")]
    assert [response.status for response in responses] == [204, 404, 404]


def test_app_is_deactivated_before_it_is_deleted(org: Org) -> None:
    app = app_with(org, status="INACTIVE")
    assert call(org, "POST", at(app, "/lifecycle/activate")).body == {}
    assert call(org, "DELETE", at(app)).status == 403
    response = call(org, "POST", at(app, "/lifecycle/deactivate"))
    assert (response.status, response.body, app.status) == (200, {}, "INACTIVE")
    response = call(org, "DELETE", at(app))
    assert (response.status, response.body, org.clients) == (204, None, {})


def test_grant_is_shown_as_recorded_and_listed_without_embedded(org: Org) -> None:
    app = app_with(org)
    response = call(org, "POST", at(app, "/grants"), grant_of(READ))
    own, grant_id = f"{URL}/api/v1/apps/{app.id}", response.body["id"]
    assert (response.status, grant_id[:3]) == (200, "oag")
    links = {
        "app": {"href": own, "title": "An app"},
        "self": {"href": f"{own}/grants/{grant_id}", "hints": {"allow": ["GET", "DELETE"]}},
        "client": {"href": f"{URL}/oauth2/v1/clients/{app.id}", "title": "An app"},
    }
    listed = {"id": grant_id, "status": "ACTIVE", "created": MOMENT, "lastUpdated": MOMENT}
    listed |= {"createdBy": {"id": "00upretendadmin00000", "type": "User"}, "source": "ADMIN"}
    listed |= {"issuer": URL, "clientId": app.id, "scopeId": READ, "_links": links}
    assert response.body == listed | {"_embedded": {"scope": {"id": READ}}}
    assert call(org, "GET", at(app, "/grants")).body == [listed]


def test_role_is_shown_as_recorded_and_listed_and_for_service_apps_only(org: Org) -> None:
    app = app_with(org)
    target, kind = f"{CLIENTS}/{app.id}/roles", "HELP_DESK_ADMIN"
    shown = {"id": "JBCUYUC7IRCVGS27IFCE2SKO", "label": "Help Desk Administrator", "type": kind}
    shown |= {"status": "ACTIVE", "created": MOMENT, "lastUpdated": MOMENT}
    assignee = {"assignee": {"href": f"{URL}/oauth2/v1/clients/{app.id}"}}
    shown |= {"assignmentType": "CLIENT", "_links": assignee}
    response = call(org, "POST", target, {"type": kind})
    assert (response.status, response.body) == (201, shown)
    assert call(org, "GET", target).body == [shown]
    app.metadata["application_type"] = "web"
    refusal = told(call(org, "POST", target, {"type": "ORG_ADMIN"}))
    assert refusal == "400 E0000227 Roles are assigned to service apps only."


def test_second_key_is_listed_with_an_id(org: Org) -> None:
    app = app_with(org)
    response = call(org, "POST", at(app, "/credentials/jwks"), SECOND)
    assert (response.status, response.body["id"][:3]) == (201, "pks")
    assert response.body == SECOND | {"id": app.keys[1]["id"], "status": "ACTIVE"}
    assert call(org, "GET", at(app, "/credentials/jwks")).body == app.keys


def test_key_is_added_up_to_50_and_not_beside_a_jwks_uri(org: Org) -> None:
    full, elsewhere = app_with(org, keys=numbered(49)), app_with(org, keys=[], jwks_uri="https://x")
    assert call(org, "POST", at(full, "/credentials/jwks"), OURS).status == 201
    for app, why in (
        (full, "50 keys."),
        (elsewhere, "The keys of this app are at its 'jwks_uri'."),
    ):
        assert told(call(org, "POST", at(app, "/credentials/jwks"), SECOND)).endswith(why)


def test_key_is_deactivated_before_it_is_deleted(org: Org) -> None:
    app = app_with(org, keys=[FIRST, FIRST | {"kid": "two", "use": "enc"}])
    key = at(app, f"/credentials/jwks/{app.keys[0]['id']}")
    assert call(org, "POST", key + "/lifecycle/deactivate").status == 400  # the other cannot sign
    app.metadata[METHOD] = "none"  # nobody signs
    assert call(org, "POST", key + "/lifecycle/deactivate").body["status"] == "INACTIVE"
    assert call(org, "POST", key + "/lifecycle/activate").body["status"] == "ACTIVE"
    assert told(call(org, "DELETE", key)).endswith("An active key can't be deleted.")
    assert call(org, "POST", key + "/lifecycle/deactivate").body == app.keys[0]
    assert call(org, "DELETE", key).status == 204
    assert [key["kid"] for key in app.keys] == ["two"]


DPOP = {"dpop_bound_access_tokens": True}


def put(org: Org, app: Client, whole: Any = (), credentials: Any = (), **changes: Any) -> Response:
    """Send the app back as it is, with changes as a whole and in its `oauthClient` objects."""
    body = call(org, "GET", at(app)).body
    body["settings"]["oauthClient"] |= changes
    body["credentials"]["oauthClient"] |= dict(credentials)
    return call(org, "PUT", at(app), body | dict(whole))


def test_app_sent_back_as_it_was_read_does_not_change(org: Org) -> None:
    app = app_with(org, READ, keys=[FIRST | {"n": OLD_N}, SECOND | {"status": "INACTIVE"}])
    app.sections["settings"]["notes"] = {"admin": "ours", "enduser": None}
    app.sections["visibility"]["autoLaunch"] = True
    before = call(org, "GET", at(app)).body
    assert [before[name] for name in ("id", "label", "status")] == [app.id, "An app", "ACTIVE"]
    own = {"client_id": app.id, "token_endpoint_auth_method": "private_key_jwt"}
    assert own.items() <= before["credentials"]["oauthClient"].items()
    oauth = before["settings"]["oauthClient"]
    assert (oauth["application_type"], oauth["dpop_bound_access_tokens"]) == ("service", False)
    assert (oauth["jwks"], "deactivate" in before["_links"]) == ({"keys": app.keys}, True)
    assert put(org, app).body == before
    assert ([key["status"] for key in app.keys], [*app.grants]) == (["ACTIVE", "INACTIVE"], [READ])


def test_what_is_not_sent_back_is_lost_and_what_is_changed_is_shown(org: Org) -> None:
    app = app_with(org, keys=[FIRST, SECOND | {"status": "INACTIVE"}], dpop_bound=True)
    second = app.keys[1]["id"]
    app.sections["settings"]["notes"] = {"admin": "ours"}
    app.sections["visibility"]["autoLaunch"] = True
    body = call(org, "GET", at(app)).body
    del body["settings"]["oauthClient"]["dpop_bound_access_tokens"]
    del body["settings"]["notes"], body["visibility"]
    body["settings"]["oauthClient"]["jwks"]["keys"] = [SECOND]
    after = call(org, "PUT", at(app), body).body
    assert ("notes" in after["settings"], after["visibility"]["autoLaunch"]) == (False, False)
    ((kept, status),) = ((key["id"], key["status"]) for key in app.keys)
    assert (kept, status, app.dpop_bound) == (second, "ACTIVE", False)
    oauth = put(org, app, jwks=None, jwks_uri="x:", **DPOP).body["settings"]["oauthClient"]
    assert ("jwks" in oauth, oauth["jwks_uri"], app.keys) == (False, "x:", [])
    oauth = put(org, app, jwks_uri=None).body["settings"]["oauthClient"]
    assert ("jwks_uri" in oauth, app.dpop_bound) == (False, True)


CHANGES = {
    "name: The field must be 'oidc_client'": [{"whole": {"name": None}}],
    "signOnMode: The field must be 'OPENID_CONNECT'": [{"whole": {"signOnMode": "SAML"}}],
    "label: The field cannot be left blank": [{"whole": {"label": name}} for name in (None, " ")],
    "settings.oauthClient: The field cannot": [{"whole": {"settings": x}} for x in (None, {})],
    "credentials.oauthClient: The field cannot": [{"whole": {"credentials": None}}],
    "application_type: The field cannot be changed": [{"application_type": "web"}],
    "client_id: The field cannot be changed": [{"credentials": {"client_id": "0oaOther"}}],
    f"{METHOD}: The field cannot be left blank": [{"credentials": {METHOD: "handshake"}}],
    "dpop_bound_access_tokens: The field must be true": [{"dpop_bound_access_tokens": 1}],
    "grant_types: The field must be a list of strings": [{"grant_types": None}],
    "response_types: The field must be a list of strings": [{"response_types": [1]}],
    "jwks_uri: Exactly one of": [{"jwks_uri": "https://x"}, {"jwks": None, "jwks_uri": 1}],
    SAME_KID: [jwks(SECOND, SECOND)],
    NOT_UINT: [jwks(SECOND | {"n": OLD_N})],
}


@pytest.mark.parametrize(("changes", "why"), cases(CHANGES))
def test_change_of_an_app_is_refused(org: Org, changes: Changes, why: str) -> None:
    app = app_with(org)
    before = call(org, "GET", at(app)).body
    field = "JsonWebKey" if why in (SAME_KID, NOT_UINT) else why.partition(":")[0]
    assert told(put(org, app, **changes)).startswith(f"{INVALID}{field} | {why}")
    assert call(org, "GET", at(app)).body == before


def grant(scope: Any, issuer: Any = URL) -> tuple[str, Any]:
    return "POST /api/v1/apps/ID/grants", changed(grant_of(scope), {"issuer": issuer})


def role(kind: Any) -> tuple[str, Any]:
    return "POST /oauth2/v1/clients/ID/roles", {"type": kind}


def key(**members: Any) -> tuple[str, Any]:
    return "POST /api/v1/apps/ID/credentials/jwks", changed(SECOND, members)


KEY = "/api/v1/apps/ID/credentials/jwks/KEY"
SCOPES = (None, "profile", "okta.users", f"{READ} okta.apps.read", "okta.users.unknown", [READ])
CURSORS, LIMITS = ("nonsense", "", "abcde", "%C3%A9"), (0, 201, "x")
BAD_KEY = f"{INVALID}JsonWebKey | "
REFUSALS = {
    "404 E0000008 The": ["GET /api/v1/nothing", "GET //[", "GET /xwell-known/okta-organization"],
    "405 E0000022": ["PUT /oauth2/v1/clients/ID", f"DELETE {CLIENTS}", "GET /oauth2/v1/token"],
    "404 E0000007 Not found: Resource not found: 0oaX (Pu": [f"GET {CLIENTS}/0oaX"],
    "404 E0000007 Not found: Resource not found: 0oaX (App": ["GET /api/v1/apps/0oaX"],
    "404 E0000007 Not found: Resource not found: pksX (Json": [f"DELETE {KEY[:-3]}pksX"],
    "400 E0000029 Invalid paging request. |": [f"GET {CLIENTS}?after={c}" for c in CURSORS],
    f"{INVALID}limit | limit: The field": [f"GET {CLIENTS}?limit={limit}" for limit in LIMITS],
    f"{INVALID}issuer | issuer:": [grant(READ, x) for x in (URL + "/", f"{URL}/oauth2/x", None)],
    f"{INVALID}scopeId | scopeId: The field must be": [grant(scope) for scope in SCOPES],
    "409 E0000001 Api validation failed: scopeId | The scope is": [grant("okta.logs.read")],
    "409 E0000090 Duplicate role exception": [role("REPORT_ADMIN")],
    "400 E0000091 Invalid role type": [role(kind) for kind in ("KING", "CUSTOM", ["ORG_ADMIN"])],
    BAD_KEY + NO_KID: [key(kid=None)],
    BAD_KEY + SAME_KID: [key(kid="one"), key(kid="off")],
    BAD_KEY + SHORT: [key(n=None, e=None, alg=None)],
    BAD_KEY + PRIVATE: [key(d="AQAB")],
    f"{BAD_KEY}An active key can't be deleted.": [f"DELETE {KEY}"],
    f"{BAD_KEY}The only active key of the app": [f"POST {KEY}/lifecycle/deactivate"],
    "403 E0000056 Delete application forbidden. | The application": ["DELETE /api/v1/apps/ID"],
}


def filled_in(target: str, app: Client) -> str:
    return target.replace("ID", app.id).replace("KEY", app.keys[0]["id"])


@pytest.mark.parametrize(("sent", "why"), cases(REFUSALS))
def test_request_is_refused_and_changes_nothing(org: Org, sent: Any, why: str) -> None:
    keys = [FIRST, FIRST | {"kid": "off", "status": "INACTIVE"}]
    app = app_with(org, "okta.logs.read", keys=keys)
    app.roles["REPORT_ADMIN"] = {"type": "REPORT_ADMIN"}
    before = copy.deepcopy(app)
    line, body = (sent, None) if isinstance(sent, str) else sent
    method, _, target = filled_in(line, app).partition(" ")
    assert told(call(org, method, target, body)).startswith(why)
    assert list(org.clients.values()) == [before]


# What an app admin may do

ADMIN = (
    ("", "POST /oauth2/v1/clients", registration(), 201),
    ("", "GET /oauth2/v1/clients", None, 200),
    ("", "GET /oauth2/v1/clients/ID", None, 200),
    ("", "GET /oauth2/v1/clients/ID/roles", None, 200),
    ("", "GET /api/v1/apps/ID/grants", None, 200),
    ("", "POST /api/v1/apps/ID/credentials/jwks", SECOND, 201),
    ("", "POST /api/v1/apps/ID/lifecycle/deactivate", None, 200),
    ("grant", "DELETE /oauth2/v1/clients/ID", None, 204),
    ("", *role("ORG_ADMIN"), 403),
    ("", *grant("okta.apps.read"), 403),
    ("role", "POST /api/v1/apps/ID/lifecycle/deactivate", None, 403),
    ("role", "POST /api/v1/apps/ID/lifecycle/activate", None, 403),
    ("role", "DELETE /oauth2/v1/clients/ID", None, 403),
    ("role", "DELETE /api/v1/apps/ID", None, 403),
    ("role", "PUT /api/v1/apps/ID", {}, 403),
    *((has, *key(), 403) for has in ("role", "grant")),
    *((has, f"POST {KEY}/lifecycle/deactivate", None, 403) for has in ("role", "grant")),
    *((has, f"POST {KEY}/lifecycle/activate", None, 403) for has in ("role", "grant")),
    *((has, f"DELETE {KEY}", None, 403) for has in ("role", "grant")),
)
IDS = [" ".join(row[:2]) for row in ADMIN]


@pytest.mark.parametrize(("has", "line", "body", "status"), ADMIN, ids=IDS)
def test_app_admin_may_not_pass_on_rights(
    org: Org, has: str, line: str, body: Any, status: int
) -> None:
    org.api_keys["app-admin"] = APP_ADMIN
    app = app_with(org, *[READ] * (has == "grant"))
    app.roles.update({"REPORT_ADMIN": {}} if has == "role" else {})
    method, _, target = filled_in(line, app).partition(" ")
    response = call(org, method, target, body, api_key="app-admin")
    assert response.status == status
    if status == 403:
        assert told(response) == FORBIDDEN
        assert call(org, method, target, body).body != response.body


def test_app_admin_may_not_change_keys_by_sending_the_app_back(org: Org) -> None:
    org.api_keys["app-admin"] = APP_ADMIN
    app = app_with(org, READ)
    body = call(org, "GET", at(app)).body
    assert call(org, "PUT", at(app), body, api_key="app-admin").status == 200
    body["settings"]["oauthClient"]["jwks"]["keys"].append(SECOND)
    assert told(call(org, "PUT", at(app), body, api_key="app-admin")) == FORBIDDEN
    assert len(app.keys) == 1


# Tokens

LOGS = "okta.logs.read"
USERS = "/api/v1/users"
NAMELESS = {"alg": "RS256"}
ES256 = {"alg": "ES256", "kid": "one"}
P384, P521 = ec_key("P-384"), ec_key("P-521")
SIGNERS = {"RS384": rsa_key(), "RS512": rsa_key(), "ES256": ec_key(), "ES384": P384, "ES512": P521}


@pytest.fixture
def app(org: Org) -> Client:
    return app_with(org, READ)


@pytest.fixture
def bound(org: Org) -> Client:
    return app_with(org, READ, LOGS, dpop_bound=True)


def unverified(token: str) -> dict[str, Any]:
    return dict(jwt.decode(token, options={"verify_signature": False}))


def ath_of(token: str) -> str:
    return b64(hashlib.sha256(token.encode()).digest())


def test_good_assertion_gets_a_token(org: Org, app: Client) -> None:
    kind = "application/x-www-form-urlencoded; charset=UTF-8"
    response = ask(org, token_form(assertion_of(app), client_id=app.id), content_type=kind)
    assert (response.status, "dpop-nonce" in response.headers) == (200, False)
    token = response.body.pop("access_token")
    assert response.body == {"token_type": "Bearer", "expires_in": 3600, "scope": READ}
    typ = "application/okta-internal-at+jwt"
    assert jwt.get_unverified_header(token) == {"alg": "ES256", "kid": "pretend", "typ": typ}
    claims = unverified(token)
    assert next(iter(claims)) == "pretend"
    assert claims["iss"] == claims["aud"] == URL
    assert claims["cid"] == claims["sub"] == app.id
    assert (claims["iat"], claims["exp"], claims["scp"]) == (NOW, NOW + 3600, [READ])
    assert claims["jti"].startswith("AT.")


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_every_algorithm_of_okta_is_accepted(org: Org, algorithm: str) -> None:
    key, kind = SIGNERS[algorithm], RSAKey if algorithm.startswith("R") else ECKey
    app = app_with(org, READ, keys=[jwk_of(key, kid="one")], dpop_bound=True)
    assertion = jwt.encode(claims_of(app), key, algorithm, {"kid": "one"})
    claims = {"htm": "POST", "htu": TOKEN_URL, "iat": NOW, "jti": "x", "nonce": org.nonces[-1]}
    header = {"alg": algorithm, "typ": "dpop+jwt", "jwk": jwk_of(key)}
    by_joserfc = kind.import_key(jwk_of(key))
    proof = joserfc_jwt.encode(header, claims, kind.import_key(key), algorithms=[algorithm])
    response = ask(org, token_form(assertion), dpop=proof)
    assert (response.status, response.body["token_type"]) == (200, "DPoP")
    assert unverified(response.body["access_token"])["cnf"] == {"jkt": by_joserfc.thumbprint()}


GOOD = (*each("exp", NOW + 1, NOW + 3599, NOW + 300.5), {"jti": None, "iat": None})


@pytest.mark.parametrize("changes", GOOD)
def test_good_assertion_is_accepted(org: Org, app: Client, changes: Changes) -> None:
    form = token_form(assertion_of(app, **changes))
    statuses = [ask(org, form).status for _ in range(2)]
    assert statuses == [200, 401 if changes.get("jti", True) else 200]  # it tells a replay


def test_only_granted_scopes_come_back_once_each_in_the_requested_order(org: Org) -> None:
    form = token_form(assertion_of(app_with(org, READ, LOGS)))
    response = ask(org, form | {"scope": f"{LOGS} okta.apps.read {READ}  {READ}"})
    assert response.body["scope"] == f"{LOGS} {READ}"


# Assertions

CLIENT = "401 invalid_client "
BAD_ISSUER = CLIENT + "The issuer claim for client_assertion is not a valid client_id."
BAD_AUDIENCE = CLIENT + "The audience claim for client_assertion must be the endpoint invoked"
TOO_LATE = CLIENT + "The client_assertion token has an expiration too far into the future."
EXPIRED = CLIENT + "The client_assertion token is expired."
BAD_SIGNATURE = CLIENT + "The client_assertion signature is invalid."
BAD_KID = CLIENT + "The client_assertion JWT kid is invalid."
BAD_ALG = CLIENT + "The client_assertion JWT signature algorithm is invalid."
UNPARSABLE = CLIENT + "The parsing of the client_assertion failed."
BAD_CLIENT = CLIENT + "Client authentication failed. Either the client or the client"
USED = CLIENT + "The client_assertion token has already been used."
ALGORITHMS = ("none", "HS256", "PS256", "ES256", ["RS256"], None)
HEADERS = (RS256 | {"crit": ["x"]}, b"[]", b"{" * 5000)
ASSERTIONS = {
    BAD_ISSUER: each("iss", None, "0oaNobody", ["x"]),
    CLIENT + "The subject claim for client_assertion": each("sub", None, "0oaNobody"),
    BAD_AUDIENCE: each("aud", None, URL, TOKEN_URL + "/", [TOKEN_URL]),
    CLIENT + "The client_assertion must contain the 'exp'": each("exp", None, "1800000300", True),
    EXPIRED: each("exp", NOW),
    TOO_LATE: each("exp", NOW + 3600, (NOW + 300) * 1000),
    CLIENT + "The client_assertion token must be issued before": each("iat", NOW + 1),
    BAD_KID: each("header", *(RS256 | change for change in each("kid", "two", None, ["one"]))),
    BAD_ALG: each("header", *(RS256 | change for change in each("alg", *ALGORITHMS))),
    BAD_SIGNATURE: each("key", rsa_key("other")),
    UNPARSABLE: [{"exp": 1e400}, {"iat": "now"}, {"jti": 7}, *each("header", *HEADERS)],
}


@pytest.mark.parametrize(("changes", "why"), cases(ASSERTIONS))
def test_bad_assertion_is_refused(org: Org, app: Client, changes: Changes, why: str) -> None:
    assert told(ask(org, token_form(assertion_of(app, **changes)))).startswith(why)


@pytest.mark.parametrize("form", ["b'{}'", "{}.", ".{}", "{}é", "{}=", "x", ".."])
def test_what_is_not_a_jwt_is_refused(org: Org, app: Client, form: str) -> None:
    assert told(ask(org, token_form(form.format(assertion_of(app))))) == UNPARSABLE


def test_changed_claims_and_half_a_signature_are_refused(org: Org, app: Client) -> None:
    first, second, third = assertion_of(app).split(".")
    changed = assertion_of(app, exp=NOW + 301).split(".")[1]
    for spoiled in (f"{first}.{changed}.{third}", f"{first}.{second}.{third[:-10]}"):
        assert told(ask(org, token_form(spoiled))) == BAD_SIGNATURE


@pytest.mark.parametrize("size", [0, 63, 64, 65])
def test_ec_signature_has_two_coordinates_of_full_size(org: Org, size: int) -> None:
    app = app_with(org, READ, keys=[jwk_of(ec_key(), kid="one")])
    text, _, good = assertion_of(app, ec_key(), ES256).rpartition(".")
    octets = base64.urlsafe_b64decode(good + "==")
    spoiled = octets[:32] + bytes(1) + octets[32:] if size == 65 else bytes(size)
    assert told(ask(org, token_form(f"{text}.{b64(spoiled)}"))) == BAD_SIGNATURE


def test_kid_chooses_among_active_keys(org: Org) -> None:
    keys = [jwk_of(rsa_key(), kid="one"), jwk_of(rsa_key("second"), kid="two")]
    app = app_with(org, READ, keys=keys)
    assert told(ask(org, token_form(assertion_of(app, header=NAMELESS)))) == BAD_KID
    assert ask(org, token_form(assertion_of(app))).status == 200
    app.keys[1]["status"] = "INACTIVE"
    assert ask(org, token_form(assertion_of(app, header=NAMELESS))).status == 200
    app.keys[0]["status"] = "INACTIVE"
    assert told(ask(org, token_form(assertion_of(app)))) == BAD_KID


@pytest.mark.parametrize("first", [{}, {"aud": URL}, {"exp": NOW}, {"client_id": "other"}])
def test_jti_is_used_up_whatever_came_of_it(org: Org, app: Client, first: Changes) -> None:
    other, assertion = app_with(org, READ), assertion_of(app, **{"jti": "once", **first})
    response = ask(org, token_form(assertion, client_id=other.id if "client_id" in first else None))
    assert "client_id" not in first or told(response).startswith(BAD_CLIENT)
    assert told(ask(org, token_form(assertion_of(app, jti="once")))) == USED
    assert ask(org, token_form(assertion_of(other, jti="once"))).status == 200


APPS = {
    BAD_ISSUER: [{"status": "INACTIVE"}],
    CLIENT + "The client does not have a JWKSet configured": [{"keys": []}],
    CLIENT + "Error retrieving the client JWKSet from jwks_uri.": [{"jwks_uri": "https://x"}],
    CLIENT + "Only clients with 'application_type' of 'service'": [{"application_type": "web"}],
    CLIENT + "Client Credentials requests to": [{"token_endpoint_auth_method": "none"}],
    CLIENT + "The public key being used": [{"keys": [jwk_of(rsa_key(), kid="one", use="enc")]}],
    CLIENT + "The client JWKSet is invalid": [{"keys": [jwk_of(rsa_key(), kid="one", n="AQAB")]}],
    BAD_ALG: [{"keys": [jwk_of(rsa_key(), kid="one", alg="RS512")]}],
    "400 unauthorized_client The client is not": [{"grant_types": ["implicit", "password"]}],
}


@pytest.mark.parametrize(("changes", "why"), cases(APPS))
def test_other_apps_get_no_token(org: Org, changes: Changes, why: str) -> None:
    response = ask(org, token_form(assertion_of(app_with(org, READ, **changes))))
    assert told(response).startswith(why)


REQUEST, SCOPE = "400 invalid_request ", "400 invalid_scope "
NO_GRANT_TYPE = REQUEST + "The token request must specify a 'grant_type'."
BASIC = {"authorization": "Basic eDp4"}
QUERIES = each("query", "?client_assertion=x", "?client_secret=x")
F100, F101 = (b"&".join(b"%d=" % number for number in range(count)) for count in (100, 101))
FORMS = {
    NO_GRANT_TYPE: [*each("grant_type", None, ""), {"sent": {"content_type": "text/x"}}, F100],
    CLIENT + "No client credentials found.": [{"client_assertion": None}, b"\xff&grant_type=%zz"],
    BAD_CLIENT: [{"client_assertion": None} | x for x in ({"client_secret": "x"}, {"sent": BASIC})],
    "401 invalid_request Cannot supply multiple": [{"client_secret": "x"}, {"sent": BASIC}],
    REQUEST + "The client_assertion_type is": each("client_assertion_type", None, "urn:x"),
    "400 invalid_client Invalid value for 'client_id' parameter.": each("client_id", "0oaNobody"),
    "400 unsupported_grant_type The authorization grant type": each("grant_type", "password"),
    SCOPE + "No scopes were requested.": each("scope", None, " "),
    SCOPE + "Cannot request 'openid' scopes": each("scope", f"{READ} openid"),
    SCOPE + "Cannot request 'profile' scopes": each("scope", "profile"),
    SCOPE + "Cannot request 'email' scopes": each("scope", "email"),
    SCOPE + "Cannot request 'offline_access' scopes": each("scope", "offline_access"),
    SCOPE + "One or more scopes are not": each("scope", f"{READ},{LOGS}", "okta.x.unknown"),
    "400 client_credentials_self_scope_requested": each("scope", "okta.users.read.self"),
    "400 consent_required You are not allowed any of": each("scope", "okta.apps.read"),
    REQUEST + "Client credentials cannot be supplied via query": each("sent", *QUERIES),
    REQUEST + "The request contained multiple parameters with": [b"grant_type=x&grant_type=x"],
    REQUEST + "Invalid request": [F101],
}


@pytest.mark.parametrize(("case", "why"), cases(FORMS))
def test_bad_form_is_refused(org: Org, app: Client, case: Any, why: str) -> None:
    changes = {} if isinstance(case, bytes) else dict(case)
    sent = changes.pop("sent", {})
    form = case if isinstance(case, bytes) else token_form(assertion_of(app), **changes)
    assert told(ask(org, form, **sent)).startswith(why)


# DPoP proofs for a token

PROOF = "400 invalid_dpop_proof "
MISSING = PROOF + "The DPoP proof JWT header is missing."
BAD_PROOF = PROOF + "The DPoP proof JWT cannot be parsed."
BAD_HTM = PROOF + "'htm' claim in the DPoP proof JWT is invalid."
BAD_HTU = PROOF + "'htu' claim in the DPoP proof JWT is invalid."
BAD_JTI = PROOF + "'jti' claim in the DPoP proof JWT is invalid."
BAD_ATH = PROOF + "'ath' claim in the DPoP proof does not match the presented access_token."
NOT_BOUND = PROOF + "The access_token is not bound to the provided DPoP proof."
FUTURE = PROOF + "The DPoP proof JWT is issued in the future."
PROOF_USED = PROOF + "The DPoP proof JWT has already been used."
NONCE = "400 use_dpop_nonce Authorization server requires nonce in DPoP proof."


def ask_with(org: Org, app: Client, proof: str, **form: Any) -> Response:
    return ask(org, token_form(assertion_of(app), **form), dpop=proof)


def test_nonce_leads_to_a_bound_token(org: Org, bound: Client) -> None:
    response = ask(org, token_form(assertion_of(bound)))
    assert (told(response), "dpop-nonce" in response.headers) == (MISSING, False)
    proof, assertion = proof_of(), assertion_of(bound)
    response = ask(org, token_form(assertion), dpop=proof)
    assert told(response) == NONCE
    nonce = response.headers["dpop-nonce"]
    assert told(ask(org, token_form(assertion), dpop=proof_of(nonce=nonce))) == USED
    assert told(ask_with(org, bound, proof)) == PROOF_USED
    response = ask_with(org, bound, proof_of(nonce=nonce))
    assert (response.status, response.body["token_type"]) == (200, "DPoP")
    assert response.headers["dpop-nonce"] == nonce


def test_org_can_require_dpop_and_otherwise_no_proof_is_looked_at(org: Org, app: Client) -> None:
    response = ask_with(org, app, "rubbish")
    assert (response.body["token_type"], "dpop-nonce" in response.headers) == ("Bearer", False)
    org.require_dpop = True
    assert told(ask(org, token_form(assertion_of(app)))) == MISSING


def test_old_nonce_works_until_it_is_forgotten(org: Org, bound: Client) -> None:
    old, new = org.nonces[-1], org.new_nonce()
    response = ask_with(org, bound, proof_of(nonce=old))
    assert (response.status, response.headers["dpop-nonce"]) == (200, new)
    newest = org.forget_nonces()
    for unknown in (old, new, "mine", "", 7, ["x"]):
        response = ask_with(org, bound, proof_of(nonce=unknown))
        assert (told(response), response.headers["dpop-nonce"]) == (NONCE, newest)
    assert ask_with(org, bound, proof_of(nonce=newest)).status == 200


ODD_MEMBERS = ({"d": "AQAB"}, {"x5c": None}, {"n": "AQAB"}, {"y": "AAAA"}, {"kty": "oct"})
ODD_JWKS = ("x", None, *(jwk_of(ec_key(), **odd) for odd in ODD_MEMBERS))
ODD_HEADERS = (*each("jwk", *ODD_JWKS), {"crit": ["x"]})
OTHER_KEY = jwk_of(ec_key(name="other"))
WRONG_ALGORITHMS = each("alg", "none", "HS256", "RS256", "ES384", ["ES256"])
PROOFS = {
    MISSING: [""],
    PROOF + "Multiple DPoP proof JWT headers are not allowed.": [f"{proof_of()}, {proof_of()}"],
    PROOF + "'typ' must be 'dpop+jwt'": each("header", {"typ": "JWT"}, {"typ": None}),
    PROOF + "The DPoP proof JWT signature algorithm is": each("header", *WRONG_ALGORITHMS),
    PROOF + "The DPoP proof JWT signature is": each("header", {"jwk": OTHER_KEY}),
    BAD_PROOF: [*each("header", *ODD_HEADERS), "x", "a.b.c", "é.é.é"],
    BAD_HTM: each("htm", None, "GET", "post"),
    BAD_HTU: each("htu", None, URL, URL + "//oauth2/v1/token", TOKEN_URL + "?a=b"),
    PROOF + "'iat' claim in the DPoP proof JWT": each("iat", None, "1800000000", True),
    FUTURE: each("iat", NOW + 1),
    PROOF + "The DPoP proof JWT is issued more than five": each("iat", NOW - 301),
    PROOF + "The DPoP proof JWT is expired.": each("exp", NOW),
    PROOF + "The DPoP proof JWT is invalid.": each("exp", "x"),
    BAD_JTI: each("jti", None, "", 7),
}


@pytest.mark.parametrize(("case", "why"), cases(PROOFS))
def test_bad_proof_is_refused(org: Org, bound: Client, case: Any, why: str) -> None:
    proof = case if isinstance(case, str) else proof_of(nonce=org.nonces[-1], **case)
    assert told(ask_with(org, bound, proof)).startswith(why)


LABELS = {"header": {"jwk": jwk_of(ec_key(), alg="ES256", use="sig", kid="x")}}


@pytest.mark.parametrize("changes", [*each("iat", NOW - 300, NOW - 0.5), {"exp": NOW + 1}, LABELS])
def test_good_proof_is_accepted_once(org: Org, bound: Client, changes: Changes) -> None:
    proof = proof_of(nonce=org.nonces[-1], **changes)
    assert ask_with(org, bound, proof).status == 200
    assert told(ask_with(org, bound, proof)) == PROOF_USED


# The users API

AT_URL = f'authorization_uri="{URL}/oauth2/v1/authorize", realm="{URL}", scope="{READ}", error='
DPOP_CHALLENGE = f'DPoP algs="RS256 RS384 RS512 ES256 ES384 ES512", {AT_URL}'
CHALLENGES = {"Bearer": f"Bearer {AT_URL}", "DPoP": DPOP_CHALLENGE}
NOT_KNOWN = "401 E0000011 Invalid token provided"


def users(org: Org, credentials: str, rest: str = "", **headers: str) -> Response:
    return org.answer(Request("GET", USERS + rest, {"authorization": credentials, **headers}))


def token_for(org: Org, app: Client, scope: str = READ) -> str:
    """A token, bound to our EC key if the app asks for that."""
    response = ask_with(org, app, proof_of(nonce=org.nonces[-1]), scope=scope)
    return str(response.body["access_token"])


@pytest.mark.parametrize("granted", [READ, "okta.users.manage"])
def test_token_with_a_scope_gets_the_users(org: Org, granted: str) -> None:
    token = token_for(org, app_with(org, granted), granted)
    response = users(org, f"Bearer {token}")
    assert (response.status, response.body) == (200, org.users)
    assert response.headers["link"] == f'<{URL}/api/v1/users>; rel="self"'
    assert users(org, f"bearer {token}", "?limit=1").body == org.users[:1]
    for rubbish in ("x", "-1", "9" * 5000, "%C2%B2"):
        assert users(org, f"Bearer {token}", f"?limit={rubbish}").body == org.users


def test_api_token_gets_the_users_but_nobody_without_a_token(org: Org) -> None:
    token = f"SSWS {org.api_key}"
    ada = users(org, token, "/ada%40pretend.example").body
    assert [ada] == users(org, token, "?limit=1").body
    assert ada == users(org, token, f"/{ada['id']}").body
    assert told(users(org, token, "/x%40y")).endswith("Resource not found: x@y (User)")
    assert told(users(org, "SSWS nonsense")) == told(users(org, "")) == NOT_KNOWN


def test_token_needs_a_scope_and_a_role_unless_told_otherwise(org: Org, app: Client) -> None:
    org.role_needed = Org(URL).role_needed
    token = token_for(org, app)
    response = users(org, f"Bearer {token}")
    assert (told(response), "www-authenticate" in response.headers) == (FORBIDDEN, False)
    call(org, "POST", f"/oauth2/v1/clients/{app.id}/roles", {"type": "READ_ONLY_ADMIN"})
    assert users(org, f"Bearer {token}").status == 200
    response = users(org, f"Bearer {token_for(org, app_with(org, LOGS), LOGS)}")
    assert told(response) == FORBIDDEN
    words = '"The access token provided does not contain the required scopes."'
    challenge = f'Bearer {AT_URL}"insufficient_scope", error_description={words}'
    assert response.headers["www-authenticate"] == challenge


@pytest.mark.parametrize("scheme", CHALLENGES)
def test_foreign_token_is_refused(org: Org, app: Client, scheme: str) -> None:
    token, other = token_for(org, app), new_org()
    header, claims = jwt.get_unverified_header(token), unverified(token)
    for wrong in (
        *("garbage", "", token_for(other, app_with(other, READ))),
        *(signed(header, claims, ec_key()), token.rpartition(".")[0] + ".AAAA"),
        signed(header | {"alg": "none"}, claims, org.signing_key),
        signed(header, claims | {"aud": "https://x"}, org.signing_key),
    ):
        response = users(org, f"{scheme} {wrong}")
        assert told(response) == NOT_KNOWN, wrong
        challenge = f'{CHALLENGES[scheme]}"invalid_token", '
        assert response.headers["www-authenticate"].startswith(challenge)


def test_token_is_valid_for_an_hour_and_while_its_app_is_active(org: Org, app: Client) -> None:
    token, statuses = token_for(org, app), []
    for method, path in (
        ("POST", f"/api/v1/apps/{app.id}/lifecycle/deactivate"),
        ("POST", f"/api/v1/apps/{app.id}/lifecycle/activate"),
        ("DELETE", f"/oauth2/v1/clients/{app.id}"),
    ):
        call(org, method, path)
        statuses.append(users(org, f"Bearer {token}").status)
    assert statuses == [401, 200, 401]
    token = token_for(org, app_with(org, READ))
    org.clock = lambda: NOW + 3599.9
    assert users(org, f"Bearer {token}").status == 200
    org.clock = lambda: NOW + 3600
    assert told(users(org, f"Bearer {token}")) == NOT_KNOWN


def proof_for(token: str, key: Any = None, **changes: Any) -> str:
    return proof_of(key, **{"htm": "GET", "htu": URL + USERS, "ath": ath_of(token), **changes})


PATHS = (
    ("?limit=1", "", 200),
    ("/ada%40pretend.example", "/ada@pretend.example", 200),
    ("/ada%40pretend.example", "/ada%40pretend.example", 400),
    ("/nobody%25%20%22%23", "/nobody%25%20%22%23", 404),
    ("/nobody%25", "/nobody%", 400),
)


@pytest.mark.parametrize(("path", "htu", "status"), PATHS)
def test_htu_is_the_decoded_path(org: Org, bound: Client, path: str, htu: str, status: int) -> None:
    token = token_for(org, bound)
    response = users(org, f"DPoP {token}", path, dpop=proof_for(token, htu=URL + USERS + htu))
    assert response.status == status
    assert status != 400 or told(response) == BAD_HTU


OTHER_PROOFS = {
    BAD_ATH: each("ath", None, ath_of("another token")),
    BAD_HTM: each("htm", "POST"),
    BAD_HTU: each("htu", f"{URL}{USERS}?limit=1", TOKEN_URL, f"{URL}/api/v1/%75sers"),
    FUTURE: each("iat", NOW + 1),
    NOT_BOUND: each("key", ec_key(name="other")),
}


@pytest.mark.parametrize(("changes", "why"), cases(OTHER_PROOFS))
def test_proof_for_something_else_is_refused(
    org: Org, bound: Client, changes: Changes, why: str
) -> None:
    token = token_for(org, bound)
    response = users(org, f"DPoP {token}", "?limit=1", dpop=proof_for(token, **changes))
    assert told(response) == why
    words = f'"invalid_dpop_proof", error_description="{why.removeprefix(PROOF)}"'
    assert response.headers["www-authenticate"] == DPOP_CHALLENGE + words


def test_scheme_fits_the_token(org: Org, app: Client, bound: Client) -> None:
    bearer, token = token_for(org, app), token_for(org, bound)
    why = "401 invalid_token The presented access_token is not DPoP bound."
    assert told(users(org, f"DPoP {bearer}", dpop=proof_for(bearer))) == why
    why = REQUEST + "The resource request requires a DPoP proof."
    assert told(users(org, f"DPoP {token}")) == why
    response = users(org, f"Bearer {token}", dpop=proof_for(token))
    assert told(response).startswith(REQUEST + "The resource request must use the DPoP auth")
    assert response.headers["www-authenticate"].startswith("Bearer ")


def test_bound_token_needs_its_scope_and_role_too(org: Org, bound: Client) -> None:
    token, other = token_for(org, bound), token_for(org, bound, LOGS)
    response = users(org, f"DPoP {other}", dpop=proof_for(other))
    challenge = response.headers["www-authenticate"]
    assert (told(response), challenge.startswith(DPOP_CHALLENGE)) == (FORBIDDEN, True)
    org.role_needed = True
    response = users(org, f"DPoP {token}", dpop=proof_for(token))
    assert (told(response), "www-authenticate" in response.headers) == (FORBIDDEN, False)
