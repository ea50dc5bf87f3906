"""Step 3: the request it sends, the forms it prints, and every way in which it is refused."""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
import requests
from conftest import SCOPES, STEP_3, EnvFile, Run, public_jwk
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from faults import (
    Action,
    Fault,
    Sandbox,
    drip,
    empty,
    hang,
    html,
    patch,
    rate_limit,
    redirect,
    reset_before,
    status,
    truncate,
)
from joserfc import jws, jwt
from joserfc.jwk import RSAKey

import pkj
from pkj.sandbox.certificate import make_certificate
from pkj.sandbox.exchange import Response, management_refusal, oauth_refusal
from pkj.sandbox.state import Client

TOKEN = "POST /oauth2/v1/token"  # noqa: S105 - a path
TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
DOING = "asking for a token for "


def pem(key: rsa.RSAPrivateKey) -> str:
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, plain).decode()


@pytest.fixture
def direct(sandbox: Sandbox) -> Iterator[requests.Session]:
    """For requests without the scripts."""
    with requests.Session() as session:
        session.trust_env, session.verify = False, sandbox.ca_file
        yield session


def form_of(sandbox: Sandbox, place: int = -1) -> dict[str, str]:
    """The form of a token request; fails where a field is there twice."""
    fields = parse_qsl(sandbox.seen[place].request.body.decode("ascii"), strict_parsing=True)
    assert len(dict(fields)) == len(fields)
    return dict(fields)


def header_of(sandbox: Sandbox) -> dict[str, Any]:
    """Of the last assertion, whoever signed it."""
    return dict(jws.extract_compact(form_of(sandbox)["client_assertion"].encode()).headers())


def assertion_of(sandbox: Sandbox, key: rsa.RSAPrivateKey) -> jwt.Token:
    """The last assertion, verified by a second JOSE library."""
    signed, trusted = form_of(sandbox)["client_assertion"], RSAKey.import_key(public_jwk(key))
    return jwt.decode(signed, trusted, algorithms=["RS256"])


def without(name: str, members: Mapping[str, object] | None = None) -> Action:
    """The org's answer without a member, and with others."""

    def change(answer: Response) -> Response:
        assert isinstance(answer.body, dict)
        kept = {key: value for key, value in answer.body.items() if key != name}
        return Response(answer.status, kept | dict(members or {}), answer.headers)

    return patch(change)


@pytest.mark.usefixtures("app")
def test_the_request_is_the_form_of_the_contract_and_counts_once(
    env_with_key: EnvFile,
    run: Run,
    sandbox: Sandbox,
    key: rsa.RSAPrivateKey,
    direct: requests.Session,
) -> None:
    env_with_key.write(API_KEY="", MODULUS="step 3 never looks at it", PUBLIC_KEY="nor at this")
    before, began = env_with_key.path.read_bytes(), int(time.time())

    first, second = run(STEP_3), run(STEP_3)

    client_id = env_with_key["CLIENT_ID"]
    for result in (first, second):
        assert result.returncode == 0, result.stderr
        heading, blank, token, end = result.stdout.split("\n")
        assert (heading, blank, end) == ("///////////////// Access Token:", "", "")
        assert token.count(".") == 2
        assert "3600 seconds" in result.stderr
        assert token not in result.stderr
    request, form = sandbox.seen[-1].request, form_of(sandbox)
    assert (request.method, request.target) == ("POST", "/oauth2/v1/token")
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    agent = rf"okta-private-key-jwt/{re.escape(pkj.__version__)} python-requests/[0-9.]+"
    assert re.fullmatch(agent, request.headers["user-agent"])
    assert "authorization" not in request.headers
    assert {name: form[name] for name in form if name != "client_assertion"} == {
        "grant_type": "client_credentials",
        "scope": SCOPES,
        "client_id": client_id,
        "client_assertion_type": TYPE,
    }
    assertion = assertion_of(sandbox, key)
    jti, exp = assertion.claims.pop("jti"), assertion.claims.pop("exp")
    aud = f"{sandbox.url}/oauth2/v1/token"
    assert assertion.claims == {"iss": client_id, "sub": client_id, "aud": aud}
    assert began + 300 <= exp <= time.time() + 300
    earlier = form_of(sandbox, -2)["client_assertion"]
    assert jwt.decode(earlier, RSAKey.import_key(public_jwk(key))).claims["jti"] != jti
    assert assertion.header == {"alg": "RS256", "typ": "JWT", "kid": public_jwk(key)["kid"]}
    again = direct.post(aud, data=form, timeout=30)
    assert (again.status_code, again.json()["error"]) == (401, "invalid_client")
    assert "already been used" in again.json()["error_description"]
    assert env_with_key.path.read_bytes() == before


@pytest.mark.usefixtures("app")
def test_the_token_alone_the_json_and_the_header_are_for_scripts(
    run: Run, sandbox: Sandbox, direct: requests.Session
) -> None:
    began = int(time.time())
    token, whole, header = (run(STEP_3, "-o", form) for form in ("token", "json", "header"))
    ended = int(time.time())

    for result in (token, whole, header):
        assert (result.returncode, result.stderr) == (0, "")
    assert token.stdout.count(".") == 2
    assert token.stdout == token.stdout.strip() + "\n"
    response = json.loads(whole.stdout)
    expires_at = response.pop("expires_at")
    assert began + 3600 <= expires_at <= ended + 3600
    access_token = response.pop("access_token")
    assert access_token.startswith("ey")
    assert response == {"token_type": "Bearer", "expires_in": 3600, "scope": SCOPES}
    name, _, value = header.stdout.removesuffix("\n").partition(": ")
    users = direct.get(f"{sandbox.url}/api/v1/users", headers={name: value}, timeout=30)
    assert users.status_code == 200


@pytest.mark.usefixtures("app")
def test_a_lifetime_that_okta_does_not_tell_is_not_made_up(run: Run, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault(TOKEN, without("expires_in", {"token_type": "Pretend"}), times=None))

    whole, text, header = (run(STEP_3, "-o", form) for form in ("json", "text", "header"))

    assert [whole.returncode, text.returncode, header.returncode] == [0, 0, 0]
    assert sorted(json.loads(whole.stdout)) == ["access_token", "scope", "token_type"]
    assert not any(char.isdigit() for char in text.stderr)
    assert header.stdout.startswith("Authorization: Pretend ey")


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        pytest.param(3600.0, 3600, id="3600.0"),
        pytest.param(int("9" * 4300), None, id="endless"),
        pytest.param(-1, None, id="negative"),
        pytest.param("3600", None, id="text"),
        pytest.param(True, None, id="true"),
    ],
)
@pytest.mark.usefixtures("app")
def test_a_lifetime_is_a_number_of_seconds_that_somebody_can_mean(
    seconds: object, told: int | None, run: Run, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault(TOKEN, without("expires_in", {"expires_in": seconds}), times=None))

    whole, text = (run(STEP_3, "-o", form) for form in ("json", "text"))

    assert [whole.returncode, text.returncode] == [0, 0], whole.stderr
    assert ("expires_at" in json.loads(whole.stdout)) == (told is not None)
    assert f"expires in {told or 'an unknown number of'} seconds" in text.stderr


@pytest.mark.parametrize("key_id", ["in-the-file", "", "in-the-environment"])
def test_key_id_is_the_kid_that_is_sent(
    key_id: str, env_with_key: EnvFile, app: Client, run: Run, sandbox: Sandbox
) -> None:
    app.keys[0]["kid"] = key_id or None
    at_hand = key_id == "in-the-environment"
    env_with_key.write(KEY_ID="another" if at_hand else key_id)

    result = run(STEP_3, "-o", "token", env={"KEY_ID": key_id} if at_hand else {})

    assert result.returncode == 0, result.stderr
    assert header_of(sandbox).get("kid", "") == key_id


@pytest.mark.parametrize("same", [True, False], ids=["of-this-key", "of-another-key"])
def test_the_kid_of_the_file_goes_with_a_key_of_the_environment_only_if_it_is_its_thumbprint(
    same: bool,
    env_with_key: EnvFile,
    app: Client,
    run: Run,
    sandbox: Sandbox,
    key: rsa.RSAPrivateKey,
    other_key: rsa.RSAPrivateKey,
) -> None:
    used = key if same else other_key
    app.keys[0]["n"] = public_jwk(used)["n"]

    result = run(STEP_3, "-o", "token", env={"PRIVATE_KEY": pem(used)})

    assert result.returncode == 0, result.stderr
    sent = header_of(sandbox).get("kid")
    assert sent == (env_with_key["KEY_ID"] if same else None)


@pytest.mark.parametrize(
    ("granted", "missing"),
    [
        pytest.param("okta.users.read", "okta.users.manage", id="fewer"),
        pytest.param(None, "", id="as-asked"),
    ],
)
def test_a_scope_that_was_not_granted_is_named_in_a_warning(
    granted: str | None, missing: str, app: Client, run: Run, sandbox: Sandbox
) -> None:
    if granted is None:  # then the answer means: as asked (RFC 6749 section 5.1)
        sandbox.faults.add(Fault(TOKEN, without("scope"), times=None))
    else:
        del app.grants[missing]

    result = run(STEP_3, "-o", "token")

    assert (result.returncode, result.stdout.count("\n")) == (0, 1)
    assert bool(result.stderr) == bool(missing)
    assert missing in result.stderr
    assert "okta.users.read" not in result.stderr


def wrong_key(env: EnvFile, other_key: rsa.RSAPrivateKey, **_: Any) -> None:
    env.write(PRIVATE_KEY=pem(other_key))


def other_client_id(env: EnvFile, **_: Any) -> None:
    env.write(CLIENT_ID="0oaNobodyHasThisId")


def scope_not_granted(env: EnvFile, **_: Any) -> None:
    env.write(SCOPES="okta.logs.read")


def unknown_scope(env: EnvFile, **_: Any) -> None:
    env.write(SCOPES=f"{SCOPES} okta.no.unknown")


def app_deleted(sandbox: Sandbox, app: Client, **_: Any) -> None:
    del sandbox.org.clients[app.id]


def app_deactivated(app: Client, **_: Any) -> None:
    app.status = "INACTIVE"


def other_audience(env: EnvFile, sandbox: Sandbox, **_: Any) -> None:
    env.write(OKTA_URL=sandbox.url.replace("127.0.0.1", "localhost"))


def two_days_ahead(sandbox: Sandbox, **_: Any) -> None:
    sandbox.org.clock = lambda: time.time() + 2 * 86400


def two_days_behind(sandbox: Sandbox, **_: Any) -> None:
    sandbox.org.clock = lambda: time.time() - 2 * 86400


@pytest.mark.parametrize(
    ("sabotage", "said"),
    [
        (wrong_key, "invalid_client: The client_assertion signature is invalid."),
        (other_client_id, "invalid_client: Invalid value for 'client_id' parameter."),
        (scope_not_granted, "consent_required: You are not allowed any"),
        (unknown_scope, "invalid_scope: One or more scopes are not configured"),
        (app_deleted, "invalid_client: Invalid value for 'client_id' parameter."),
        (app_deactivated, "invalid_client: The issuer claim"),
        (other_audience, "invalid_client: The audience claim"),
        (two_days_ahead, "invalid_client: The client_assertion token is expired."),
        (two_days_behind, "has an expiration too far into the future."),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_one_thing_changed_and_okta_refuses(
    sabotage: Callable[..., None],
    said: str,
    env_with_key: EnvFile,
    app: Client,
    run: Run,
    sandbox: Sandbox,
    other_key: rsa.RSAPrivateKey,
) -> None:
    sabotage(env=env_with_key, app=app, sandbox=sandbox, other_key=other_key)

    result = run(STEP_3)

    assert (result.returncode, result.stdout) == (3, "")
    assert DOING in result.stderr
    assert said in result.stderr
    assert "\nwhat to do: " in result.stderr
    assert "Traceback" not in result.stderr


EARLY = "if `create_okta_service_app.py` ran only seconds ago, wait"


@pytest.mark.parametrize(
    ("error", "description", "hint"),
    [
        ("consent_required", "You are not allowed any of the requested scopes.", EARLY),
        ("consent_required", "The following scopes require user consent: [x]", "one or more of"),
        ("consent_required", "The following scopes require user consent: [x]", EARLY),
        ("invalid_scope", "Custom scopes are not allowed for this request.", "own scopes"),
        ("invalid_dpop_proof", "The DPoP proof JWT is expired.", "this machine's clock is slow"),
        ("invalid_dpop_proof", "'iat' claim in the DPoP proof JWT is invalid.", "clock"),
        ("invalid_dpop_proof", "'htu' claim in the DPoP proof JWT is invalid.", "another address"),
    ],
)
@pytest.mark.usefixtures("app")
def test_hint_fits_the_description(
    error: str, description: str, hint: str, run: Run, sandbox: Sandbox
) -> None:
    said = oauth_refusal(400, error, description).answer.body
    sandbox.faults.add(Fault(TOKEN, status(400, said), times=None))

    result = run(STEP_3)

    assert (result.returncode, result.stdout) == (3, "")
    assert hint in result.stderr.partition("what to do: ")[2]


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        pytest.param("SCOPES", SCOPES.replace(" ", ","), f"SCOPES='{SCOPES}'", id="commas"),
        pytest.param("OKTA_URL", "http://127.0.0.1:{port}", "must begin with https://", id="http"),
        pytest.param(
            "OKTA_URL", "https://dev-1-admin.okta.com", "https://dev-1.okta.com", id="admin"
        ),
        pytest.param("OKTA_URL", "https://{your_okta_domain}", "placeholder", id="placeholder"),
        pytest.param(
            "OKTA_URL", "https://127.0.0.1:{port}/oauth2", "must not include a path", id="path"
        ),
        pytest.param("OKTA_URL", "https://a@127.0.0.1:{port}", "user name", id="user-info"),
        pytest.param("OKTA_URL", "https://a..example", "host name", id="impossible-host"),
    ],
)
def test_a_setting_that_cannot_be_right_is_an_error_before_anything_is_sent(
    setting: str, value: str, said: str, env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    port = sandbox.url.rpartition(":")[2]
    env_with_key.write(CLIENT_ID="0oaAny")

    result = run(STEP_3, env={setting: value.replace("{port}", port)})

    assert (result.returncode, result.stdout) == (1, "")
    assert setting in result.stderr
    assert said in result.stderr
    assert "comes from the environment" in result.stderr
    assert "Traceback" not in result.stderr
    assert sandbox.connections == 0


MANAGEMENT = management_refusal(500, "E0000009", "Internal Server Error").answer.body
OAUTH = oauth_refusal(500, "server_error", "Something went wrong.").answer.body


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        pytest.param(redirect("https://elsewhere.example"), 4, "elsewhere.example", id="redirect"),
        pytest.param(html(200), 4, "JSON", id="html-200"),
        pytest.param(html(404), 4, "404", id="html-404"),
        pytest.param(status(403), 4, "403", id="empty-403"),
        pytest.param(status(400, {"message": "no"}), 4, "400", id="other-400"),
        pytest.param(status(400, MANAGEMENT), 3, "E0000009", id="management-400"),
        pytest.param(status(500, MANAGEMENT), 4, "E0000009", id="management-500"),
        pytest.param(status(503, OAUTH), 4, "server_error", id="oauth-503"),
        pytest.param(rate_limit(100, 0, 3600), 4, "429", id="rate-limit"),
        pytest.param(reset_before(), 4, "lost", id="reset"),
        pytest.param(truncate(), 4, "lost", id="truncated"),
        pytest.param(empty(), 4, "an empty body", id="empty"),
        pytest.param(status(200, []), 4, "a JSON object", id="list"),
        pytest.param(status(200, b"null"), 4, "a JSON object", id="null"),
        pytest.param(without("access_token"), 4, "access_token", id="no-token"),
        pytest.param(without("", {"access_token": 17}), 4, "access_token", id="number-for-token"),
    ],
)
@pytest.mark.usefixtures("app")
def test_an_answer_without_a_token_is_no_token(
    answer: Action, code: int, said: str, run: Run, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault(TOKEN, answer, times=None))

    result = run(STEP_3, "-o", "token")

    assert (result.returncode, result.stdout) == (code, "")
    assert f"error: {DOING}{SCOPES}: " in result.stderr
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert {seen.request.path for seen in sandbox.seen} == {"/oauth2/v1/token"}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(hang(after_work=False), id="hang"),
        pytest.param(drip(0.05), id="drip-body"),
        pytest.param(drip(0.05, "headers"), id="drip-headers"),
    ],
)
@pytest.mark.usefixtures("app")
def test_an_answer_that_does_not_end_is_waited_for_four_timeouts_at_most(
    answer: Action, run: Run, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault(TOKEN, answer, times=None))
    began = time.monotonic()

    result = run(STEP_3, "--timeout", "0.25", "-o", "token")

    attempts = max(1, len(sandbox.seen))
    assert time.monotonic() - began < attempts * (4 * 0.25 + 3)  # 3 s for all but the wait
    assert (result.returncode, result.stdout) == (4, "")
    assert f"error: {DOING}" in result.stderr
    assert "in time" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.fixture
def other_ca(tmp_path: Path) -> str:
    """The file of a CA that did not sign the certificate of the sandbox."""
    path = tmp_path / "other-ca.pem"
    path.write_bytes(make_certificate().ca_pem)
    return str(path)


@pytest.mark.parametrize(
    ("first", "second", "culprit"),
    [
        pytest.param("{other}", "", "REQUESTS_CA_BUNDLE", id="requests"),
        pytest.param("", "{other}", "CURL_CA_BUNDLE", id="curl"),
        pytest.param("{other}", "{right}", "REQUESTS_CA_BUNDLE", id="requests-wins"),
        pytest.param("{right}", "{other}", "", id="right"),
        pytest.param("", "/nowhere.pem", "CURL_CA_BUNDLE", id="curl-nowhere"),
        pytest.param("/nowhere.pem", "", "REQUESTS_CA_BUNDLE", id="requests-nowhere"),
        pytest.param("", "{garbage}", "CURL_CA_BUNDLE", id="curl-garbage"),
    ],
)
@pytest.mark.usefixtures("app")
def test_ca_file_at_fault_is_named(
    first: str, second: str, culprit: str, run: Run, sandbox: Sandbox, other_ca: str
) -> None:
    files = {"other": other_ca, "right": sandbox.ca_file, "garbage": __file__}
    bundles = {"REQUESTS_CA_BUNDLE": first, "CURL_CA_BUNDLE": second}

    result = run(STEP_3, env={name: path.format(**files) for name, path in bundles.items()})

    problem, _, hint = result.stderr.partition("what to do: ")
    untrusted = "{other}" in (first, second)
    assert result.returncode == (4 if untrusted else 1) if culprit else result.returncode == 0
    assert [name for name in bundles if name in problem] == [culprit] * bool(culprit)
    assert ("the `export` lines" in hint) == (untrusted and bool(culprit))


@pytest.mark.parametrize("host", ["no-such-org.invalid", "127.0.0.1:1"], ids=["name", "port"])
@pytest.mark.usefixtures("app")
def test_a_host_that_is_not_there_is_one_message(host: str, run: Run) -> None:
    result = run(STEP_3, env={"OKTA_URL": f"https://{host}", "NO_PROXY": "*"})

    assert (result.returncode, result.stdout) == (4, "")
    assert host in result.stderr
    assert DOING in result.stderr
    assert "Traceback" not in result.stderr
