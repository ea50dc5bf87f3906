"""Step 2: what goes to the org, what is kept of its answers, and every way it can go wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import SCOPES, STEP_2, EnvFile, Run
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from faults import Action, Fault, Sandbox, empty, html, patch, redirect, status
from joserfc.jwk import RSAKey

from pkj.sandbox.certificate import make_certificate
from pkj.sandbox.exchange import Response
from pkj.sandbox.server import Seen
from pkj.sandbox.state import APP_ADMIN, SUPER_ADMIN

CLIENTS = "POST /oauth2/v1/clients"
GRANTS = "POST /api/v1/apps/"


def posts(sandbox: Sandbox) -> list[Seen]:
    return [seen for seen in sandbox.seen if seen.request.method == "POST"]


def bodies(sandbox: Sandbox, path: str) -> list[Any]:
    return [json.loads(s.request.body) for s in posts(sandbox) if s.request.path.startswith(path)]


def pem(key: rsa.RSAPrivateKey, form: serialization.PrivateFormat) -> str:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, plain).decode()


def public_pem(key: rsa.RSAPrivateKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def jwk_of(key: rsa.RSAPrivateKey, kid: str = "") -> dict[str, object]:
    """What has to be registered, by a second JOSE library."""
    jwk = RSAKey.import_key(public_pem(key))
    made = {"use": "sig", "alg": "RS256", "kid": kid or jwk.thumbprint()}
    return dict(jwk.as_dict()) | made


def changed(**members: object) -> Action:
    """The org's answer with these members in its body."""

    def change(answer: Response) -> Response:
        assert isinstance(answer.body, dict)
        return Response(answer.status, answer.body | members, answer.headers)

    return patch(change)


def test_the_requests_on_the_wire_are_those_of_the_contract(
    env_with_key: EnvFile, run: Run, sandbox: Sandbox, key: rsa.RSAPrivateKey
) -> None:
    ids_at_grants = []

    def note_the_saved_id(answer: Response) -> Response:
        ids_at_grants.append(env_with_key["CLIENT_ID"])
        return answer

    sandbox.faults.add(Fault(GRANTS, patch(note_the_saved_id), times=None))
    before = env_with_key.values()

    result = run(STEP_2)

    assert result.returncode == 0, result.stderr
    client_id = env_with_key["CLIENT_ID"]
    assert bodies(sandbox, "/oauth2/v1/clients") == [
        {
            "client_name": "Private Key JWT Service App",
            "application_type": "service",
            "grant_types": ["client_credentials"],
            "response_types": ["token"],
            "token_endpoint_auth_method": "private_key_jwt",
            "jwks": {"keys": [jwk_of(key)]},
        }
    ]
    grants = f"/api/v1/apps/{client_id}/grants"
    assert [seen.request.target for seen in posts(sandbox)] == [
        "/oauth2/v1/clients",
        grants,
        grants,
    ]
    assert bodies(sandbox, grants) == [
        {"issuer": sandbox.url, "scopeId": "okta.users.read"},
        {"issuer": sandbox.url, "scopeId": "okta.users.manage"},
    ]
    for seen in sandbox.seen:
        api_key = None if "/.well-known/" in seen.request.path else f"SSWS {sandbox.org.api_key}"
        assert seen.request.headers.get("authorization") == api_key
        assert seen.request.headers["accept"] == "application/json"
    assert {seen.request.headers["content-type"] for seen in posts(sandbox)} == {"application/json"}
    assert ids_at_grants == [client_id, client_id]
    assert sandbox.connections == 1
    assert env_with_key.values() == before | {"CLIENT_ID": client_id}


def test_the_admin_who_registers_need_not_hold_the_private_key(
    env: EnvFile, run: Run, sandbox: Sandbox, key: rsa.RSAPrivateKey
) -> None:
    env.write(MODULUS=str(jwk_of(key)["n"]))

    result = run(STEP_2, "--name", "Nightly report")

    assert result.returncode == 0, result.stderr
    (sent,) = bodies(sandbox, "/oauth2/v1/clients")
    assert sent["client_name"] == "Nightly report"
    assert sent["jwks"] == {"keys": [jwk_of(key)]}
    assert not env["PRIVATE_KEY"]
    assert env["KEY_ID"] == jwk_of(key)["kid"]


@pytest.mark.parametrize(
    ("form", "line_end", "kid"),
    [
        pytest.param(serialization.PrivateFormat.PKCS8, "\\n", "", id="pkcs8-in-one-line"),
        pytest.param(serialization.PrivateFormat.TraditionalOpenSSL, "\n", "", id="pkcs1"),
        pytest.param(serialization.PrivateFormat.PKCS8, "\n", "our-own-kid", id="own-key-id"),
    ],
)
def test_what_follows_from_a_private_key_of_ones_own_is_derived_and_saved(
    form: serialization.PrivateFormat,
    line_end: str,
    kid: str,
    env: EnvFile,
    run: Run,
    sandbox: Sandbox,
    key: rsa.RSAPrivateKey,
) -> None:
    given = pem(key, form).replace("\n", line_end)
    env.write(PRIVATE_KEY=given, MODULUS="", **({"KEY_ID": kid} if kid else {}))

    result = run(STEP_2)

    assert result.returncode == 0, result.stderr
    jwk = jwk_of(key, kid)
    assert bodies(sandbox, "/oauth2/v1/clients")[0]["jwks"] == {"keys": [jwk]}
    assert env["PRIVATE_KEY"] == given
    assert env["MODULUS"] == jwk["n"]
    assert (env["PUBLIC_KEY"] or "").strip() == public_pem(key).strip()
    assert env["KEY_ID"] == jwk["kid"]


@pytest.mark.parametrize("where", ["file", "environment"])
def test_a_private_key_and_a_modulus_of_two_keys_are_an_error_before_anything_is_sent(
    where: str, env_with_key: EnvFile, run: Run, sandbox: Sandbox, other_key: rsa.RSAPrivateKey
) -> None:
    other = pem(other_key, serialization.PrivateFormat.PKCS8)
    if where == "file":
        env_with_key.write(PRIVATE_KEY=other)
    before = env_with_key.path.read_bytes()

    result = run(STEP_2, env={"PRIVATE_KEY": other} if where == "environment" else {})

    assert (result.returncode, result.stdout) == (1, "")
    assert "MODULUS is not the modulus of PRIVATE_KEY" in result.stderr
    assert ("environment" in result.stderr) == (where == "environment")
    assert sandbox.seen == []
    assert env_with_key.path.read_bytes() == before


def test_settings_as_people_paste_them_are_understood(
    env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    api_key = "00pre${HOME}$tend"
    sandbox.org.api_keys[api_key] = SUPER_ADMIN
    env_with_key.write(
        OKTA_URL=f" {sandbox.url.removeprefix('https://')}/ ",
        API_KEY=f"SSWS {api_key}",
        SCOPES="okta.users.read  okta.groups.read okta.users.read ",
    )

    result = run(STEP_2)

    assert result.returncode == 0, result.stderr
    sent = {seen.request.headers.get("authorization") for seen in sandbox.seen}
    assert sent == {f"SSWS {api_key}", None}
    assert bodies(sandbox, "/api/v1/apps/") == [
        {"issuer": sandbox.url, "scopeId": "okta.users.read"},
        {"issuer": sandbox.url, "scopeId": "okta.groups.read"},
    ]
    assert api_key not in result.stdout + result.stderr


def test_a_wrong_api_token_is_refused_and_nothing_is_saved(
    env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    env_with_key.write(API_KEY="00thisTokenWasRevoked")
    before = env_with_key.path.read_bytes()

    result = run(STEP_2)

    assert (result.returncode, result.stdout) == (3, "")
    assert "E0000011: Invalid token provided" in result.stderr
    assert "what to do:" in result.stderr
    assert "API_KEY" in result.stderr
    assert "00thisTokenWasRevoked" not in result.stderr
    assert sandbox.org.clients == {}
    assert env_with_key.path.read_bytes() == before


def test_an_admin_who_may_not_grant_still_leaves_an_app_whose_id_is_saved(
    env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    sandbox.org.api_keys["00pretendAppAdmin"] = APP_ADMIN
    env_with_key.write(API_KEY="00pretendAppAdmin", SCOPES=f"{SCOPES} okta.groups.read")

    result = run(STEP_2)

    assert result.returncode == 3
    assert list(sandbox.org.clients) == [env_with_key["CLIENT_ID"]]
    tried = [sent["scopeId"] for sent in bodies(sandbox, "/api/v1/apps/")]
    assert tried == [*SCOPES.split(), "okta.groups.read"]
    for scope in tried:
        (line,) = [line for line in result.stderr.splitlines() if f"granting {scope}:" in line]
        assert "E0000006: You do not have permission" in line
    assert "Super Admin" in result.stderr
    assert result.stdout.startswith("///////////////// Okta Service app created:\n\n{\n")
    assert result.stdout.endswith("\n\n///////////////// Scopes granted:\n\n(none)\n")


def test_refused_scopes_do_not_stop_the_others(
    env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    sandbox.org.refused_scopes.add("okta.apps.manage")
    env_with_key.write(SCOPES="okta.apps.manage okta.users.read okta.no.unknown okta.users.manage")

    result = run(STEP_2)

    assert result.returncode == 3
    (client,) = sandbox.org.clients.values()
    assert list(client.grants) == ["okta.users.read", "okta.users.manage"]
    granted = "///////////////// Scopes granted:\n\nokta.users.read\nokta.users.manage\n"
    assert result.stdout.endswith(f"\n\n{granted}")
    refused = {"okta.apps.manage": "403 E0000006", "okta.no.unknown": "400 E0000001"}
    for scope, reason in refused.items():
        (line,) = [line for line in result.stderr.splitlines() if f"granting {scope}:" in line]
        assert reason in line
    assert "granting okta.users" not in result.stderr
    assert env_with_key["CLIENT_ID"] == client.id


def test_a_client_secret_is_never_shown(env_with_key: EnvFile, run: Run, sandbox: Sandbox) -> None:
    secret = "pretend-secret-that-nobody-needs"  # noqa: S105 - made up, and made to be hidden
    sandbox.faults.add(Fault(CLIENTS, changed(client_secret=secret)))

    result = run(STEP_2)

    assert result.returncode == 0, result.stderr
    assert secret not in result.stdout + result.stderr
    app = json.loads(result.stdout.split("\n\n")[1])
    assert app["client_id"] == env_with_key["CLIENT_ID"]
    assert "client_secret" in app
    assert secret not in env_with_key.path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "client_id",
    ["0oa$(id)", "0oa;id", "0oa'id\nAPI_KEY=x", "x" * 513, "", 17],
    ids=["dollar", "semicolon", "line", "long", "empty", "number"],
)
def test_a_client_id_that_a_shell_could_act_on_is_not_saved(
    client_id: object, env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault(CLIENTS, changed(client_id=client_id), times=None))
    before = env_with_key.path.read_bytes()

    result = run(STEP_2)

    assert (result.returncode, result.stdout) == (4, "")
    assert "client" in result.stderr
    assert "Traceback" not in result.stderr
    assert env_with_key.path.read_bytes() == before
    assert bodies(sandbox, "/api/v1/apps/") == []


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(html(200), id="page-of-a-proxy"),
        pytest.param(redirect("https://127.0.0.1:1/elsewhere"), id="redirect"),
        pytest.param(empty(), id="empty"),
        pytest.param(status(201, ["client_id"]), id="list"),
        pytest.param(status(201, {"client_name": "no id"}), id="no-client-id"),
    ],
)
def test_an_answer_that_is_no_app_saves_nothing(
    answer: Action, env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault(CLIENTS, answer, times=None))
    before = env_with_key.path.read_bytes()

    result = run(STEP_2)

    assert (result.returncode, result.stdout) == (4, "")
    assert "registering the app: " in result.stderr
    assert "Traceback" not in result.stderr
    assert env_with_key.path.read_bytes() == before
    assert len(posts(sandbox)) == 1


def test_an_unreadable_answer_to_a_grant_keeps_the_client_id(
    env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault(GRANTS, html(502), times=None))

    result = run(STEP_2)

    assert result.returncode == 4
    assert "granting okta.users.read: " in result.stderr
    assert "502" in result.stderr
    assert [env_with_key["CLIENT_ID"]] == list(sandbox.org.clients)
    assert result.stdout.endswith("\n\n///////////////// Scopes granted:\n\n(unknown)\n")


def other_authority(path: Path) -> Path:
    path.write_bytes(make_certificate().ca_pem)
    return path


def garbage(path: Path) -> Path:
    path.write_text("this is no certificate\n", encoding="utf-8")
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("make", "code"),
    [
        pytest.param(other_authority, 4, id="other-authority"),
        pytest.param(garbage, 1, id="garbage"),
        pytest.param(folder, 4, id="folder-with-no-certificate-in-it"),
        pytest.param(lambda path: path, 1, id="missing"),
    ],
)
def test_nothing_is_sent_to_a_server_that_no_known_authority_vouches_for(
    make: Callable[[Path], Path],
    code: int,
    env_with_key: EnvFile,
    run: Run,
    sandbox: Sandbox,
    tmp_path: Path,
) -> None:
    bundle = make(tmp_path / "ca.pem")
    before = env_with_key.path.read_bytes()

    result = run(STEP_2, env={"REQUESTS_CA_BUNDLE": str(bundle)})

    assert (result.returncode, result.stdout) == (code, "")
    assert "REQUESTS_CA_BUNDLE" in result.stderr
    assert "Traceback" not in result.stderr
    assert sandbox.seen == []
    assert env_with_key.path.read_bytes() == before
