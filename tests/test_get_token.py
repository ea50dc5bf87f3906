"""get_access_token.py: its request, its output, and what it says when Okta refuses a token."""

import json
import re
import time
from typing import Any
from urllib.parse import parse_qsl

import pytest
from conftest import GET_TOKEN, SCOPES, EnvFile, Run, public_jwk
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from dpop_requests import TOKEN, call, header_of, headers_in
from faults import Action, Fault, Sandbox, patch, status
from joserfc import jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import RSAKey
from sandbox_requests import reason

import pkj
from pkj.sandbox.exchange import Response
from pkj.sandbox.state import Client
from pkj.token import assertion

pytestmark = pytest.mark.usefixtures("app")
ASKING = "asking for a token for "
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
NOW = 1_700_000_000


def pem(key: rsa.RSAPrivateKey) -> str:
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, plain).decode()


def form_of(sandbox: Sandbox, place: int = -1) -> dict[str, str]:
    """The form of a token request; fails where a field is there twice."""
    fields = parse_qsl(sandbox.seen[place].request.body.decode("ascii"), strict_parsing=True)
    assert len(dict(fields)) == len(fields)
    return dict(fields)


def claims_of(signed: str, key: rsa.RSAPrivateKey) -> dict[str, Any]:
    """Return the claims of an assertion, verified by a second JOSE library."""
    return jwt.decode(signed, RSAKey.import_key(public_jwk(key)), algorithms=["RS256"]).claims


def changed(**members: object) -> Action:
    """The org's response with these members; None removes one."""

    def change(response: Response) -> Response:
        assert isinstance(response.body, dict)
        body = {name: v for name, v in (response.body | members).items() if v is not None}
        return Response(response.status, body, response.headers)

    return patch(change)


# The request


def test_request_is_the_documented_form_with_a_new_assertion(
    env_with_key: EnvFile, run: Run, sandbox: Sandbox, key: rsa.RSAPrivateKey
) -> None:
    env_with_key.write(API_KEY="", MODULUS="not read", PUBLIC_KEY="not read")
    before, began = env_with_key.path.read_bytes(), int(time.time())
    first, second = run(GET_TOKEN), run(GET_TOKEN)

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    heading, blank, token, end = second.stdout.split("\n")
    assert (heading, blank, end) == ("///////////////// Access Token:", "", "")
    assert token.count(".") == 2
    assert "3600 seconds" in second.stderr
    assert "eyJ" not in second.stderr
    request, form = sandbox.seen[-1].request, form_of(sandbox)
    assert (request.method, request.target) == ("POST", "/oauth2/v1/token")
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    agent = rf"okta-private-key-jwt/{re.escape(pkj.__version__)} python-requests/[0-9.]+"
    assert re.fullmatch(agent, request.headers["user-agent"])
    assert "authorization" not in request.headers
    signed, client_id = form.pop("client_assertion"), env_with_key["CLIENT_ID"]
    assert form == {
        "grant_type": "client_credentials",
        "scope": SCOPES,
        "client_id": client_id,
        "client_assertion_type": ASSERTION_TYPE,
    }
    claims = claims_of(signed, key)
    jti, exp = claims.pop("jti"), claims.pop("exp")
    audience = f"{sandbox.url}/oauth2/v1/token"
    assert claims == {"iss": client_id, "sub": client_id, "aud": audience}
    assert began + 300 <= exp <= time.time() + 300
    assert claims_of(form_of(sandbox, -2)["client_assertion"], key)["jti"] != jti
    assert header_of(signed) == {"alg": "RS256", "typ": "JWT", "kid": public_jwk(key)["kid"]}
    again = sandbox.org.answer(request)
    assert (again.status, "already been used" in reason(again)) == (401, True)
    assert env_with_key.path.read_bytes() == before


def test_assertion_is_signed_by_this_key_for_whole_seconds(
    key: rsa.RSAPrivateKey, other_key: rsa.RSAPrivateKey
) -> None:
    audience = "https://acme.okta.com/oauth2/v1/token"

    signed = assertion.sign(key, "0oa1", audience, now=NOW + 0.9)

    claims = claims_of(signed, key)
    assert len(bytes.fromhex(claims.pop("jti"))) == 16
    assert claims == {"iss": "0oa1", "sub": "0oa1", "aud": audience, "exp": NOW + 300}
    assert header_of(signed) == {"alg": "RS256", "typ": "JWT"}
    with pytest.raises(BadSignatureError):
        claims_of(signed, other_key)
    began = int(time.time())
    expiry = claims_of(assertion.sign(key, "0oa1", audience), key)["exp"]
    assert began + 300 <= expiry <= int(time.time()) + 300


# The output


def test_output_for_scripts_has_nothing_else_in_it(run: Run, sandbox: Sandbox) -> None:
    began = int(time.time())
    token, whole, header = (run(GET_TOKEN, "-o", form) for form in ("token", "json", "header"))
    ended = int(time.time())

    for result in (token, whole, header):
        assert (result.returncode, result.stderr) == (0, "")
    assert re.fullmatch(r"ey[!-~]+\n", token.stdout)
    response = json.loads(whole.stdout)
    assert response.pop("access_token").startswith("ey")
    assert began + 3600 <= response.pop("expires_at") <= ended + 3600
    assert response == {"token_type": "Bearer", "expires_in": 3600, "scope": SCOPES}
    assert header.stdout.startswith("Authorization: Bearer ey")
    assert call(sandbox, headers_in(header.stdout)).status_code == 200
    for_one = run(GET_TOKEN, "-o", "header", "--for", "GET", f"{sandbox.url}/api/v1/users")
    assert re.fullmatch(r"Authorization: Bearer ey[!-~]+\n", for_one.stdout)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        *((3600.0, 3600), (0, 0), (10**10 - 1, 10**10 - 1), (10**10, None), (-1, None)),
        *(("3600", None), (True, None), (None, None)),
        pytest.param(int("9" * 4300), None, id="endless"),
    ],
)
def test_lifetime_is_shown_only_if_it_is_a_sensible_number_of_seconds(
    seconds: object, told: int | None, run: Run, sandbox: Sandbox
) -> None:
    action = changed(expires_in=seconds, token_type="Other")  # noqa: S106 - not a password
    sandbox.faults.add(Fault(TOKEN, action, times=None))
    whole, text, header = (run(GET_TOKEN, "-o", form) for form in ("json", "text", "header"))
    assert [whole.returncode, text.returncode] == [0, 0], whole.stderr
    assert ("expires_at" in json.loads(whole.stdout)) == (told is not None)
    assert re.findall("[0-9]+", text.stderr) == ([] if told is None else [str(told)])
    assert header.stdout.startswith("Authorization: Other ey")


def test_json_is_ascii(run: Run, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault(TOKEN, changed(note="\xe9\x9b")))
    printed = run(GET_TOKEN, "-o", "json").stdout
    assert (printed.isascii(), json.loads(printed)["note"]) == (True, "\xe9\x9b")


@pytest.mark.parametrize("granted", ["okta.users.read", None])
def test_scopes_not_granted_are_named_in_a_warning(
    granted: str | None, run: Run, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault(TOKEN, changed(scope=granted)))
    result = run(GET_TOKEN, "-o", "token")
    assert (result.returncode, result.stdout.count("\n")) == (0, 1)
    named = re.findall(r"okta\.users\.\w+", result.stderr)
    # Without `scope`, all were granted (RFC 6749 section 5.1).
    assert named == (["okta.users.manage"] if granted else [])


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"access_token": None}, "access_token"),
        ({"access_token": ""}, "access_token"),
        ({"access_token": 17}, "access_token"),
        ({"access_token": "\ud800"}, "access_token"),
        ({"access_token": "a b"}, "header"),
        ({"token_type": "A\nB"}, "header"),
        ({"token_type": 17}, "token_type"),
        ({"token_type": "DPoP"}, "bound to a key"),
    ],
)
def test_response_without_a_usable_token_is_no_token(
    members: dict[str, object], said: str, run: Run, sandbox: Sandbox
) -> None:
    action = changed(**members)
    sandbox.faults.add(Fault(TOKEN, action, times=None))
    result = run(GET_TOKEN, "-o", "token")
    assert (result.returncode, result.stdout, len(sandbox.seen)) == (4, "", 1)
    assert re.search(f"^error: {ASKING}{SCOPES}: .*{said}.*\nwhat to do: ", result.stderr)


# Refusals


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("PRIVATE_KEY", "{key}", "invalid_client: The client_assertion signature is invalid."),
        ("CLIENT_ID", "0oaUnknown", "invalid_client: Invalid value for 'client_id' parameter."),
        ("SCOPES", "okta.logs.read", "consent_required: You are not allowed any"),
        ("SCOPES", f"{SCOPES} okta.unknown", "invalid_scope: One or more scopes are not"),
        ("OKTA_URL", "https://localhost:{port}", "invalid_client: The audience claim"),
        ("status", "INACTIVE", "invalid_client: The issuer claim"),
        ("days", "2", "invalid_client: The client_assertion token is expired."),
        ("days", "-2", "has an expiration too far into the future."),
    ],
)
def test_each_single_change_is_refused(
    setting: str,
    value: str,
    said: str,
    env_with_key: EnvFile,
    app: Client,
    run: Run,
    sandbox: Sandbox,
    other_key: rsa.RSAPrivateKey,
) -> None:
    if setting == "status":
        app.status = value
    elif setting == "days":
        sandbox.org.clock = lambda: time.time() + int(value) * 86400
    else:
        port = sandbox.url.rpartition(":")[2]
        env_with_key.write(**{setting: value.format(key=pem(other_key), port=port)})
    result = run(GET_TOKEN)

    assert (result.returncode, result.stdout) == (3, "")
    assert ASKING in result.stderr
    assert said in result.stderr
    assert "\nwhat to do: " in result.stderr


EARLY = "`create_okta_service_app.py` ran only seconds ago"
CONSENT = "The following scopes require user consent: [x]"


@pytest.mark.parametrize(
    ("error", "description", "hint"),
    [
        ("consent_required", "You are not allowed any of the requested scopes.", EARLY),
        ("consent_required", CONSENT, f"one or more of.*{EARLY}"),
        ("invalid_scope", "Custom scopes are not allowed for this request.", "own scopes"),
        ("invalid_dpop_proof", "The DPoP proof JWT is expired.", "clock is slow"),
        ("invalid_dpop_proof", "'iat' claim in the DPoP proof JWT is invalid.", "clock"),
        ("invalid_dpop_proof", "'htu' claim in the DPoP proof JWT is invalid.", "OKTA_URL"),
    ],
)
@pytest.mark.parametrize("code", [400, 200])
def test_hint_fits_the_description(
    code: int, error: str, description: str, hint: str, run: Run, sandbox: Sandbox
) -> None:
    said = {"error": error, "error_description": description}
    sandbox.faults.add(Fault(TOKEN, status(code, said), times=None))
    result = run(GET_TOKEN)
    assert (result.returncode, result.stdout) == (3, "")
    assert f"Okta answered {code} {error}: {description}" in result.stderr
    assert re.search(hint, result.stderr.partition("what to do: ")[2])
