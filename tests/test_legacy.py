"""A `.env` of the scripts of 2021 works here, and one written here works there."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qsl

import dotenv
import pytest
import requests
from conftest import SCOPES, STEP_1, STEP_2, STEP_3, EnvFile, Run, clean_environment
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from faults import Sandbox
from joserfc import jws
from joserfc.jwk import RSAKey

from pkj.sandbox.state import Client

TEMPLATE = """\
PRIVATE_KEY=
PUBLIC_KEY=
MODULUS=
CLIENT_ID=
OKTA_URL={url}
API_KEY={api_key}
SCOPES='{scopes}'
"""

# How the scripts of 2021 got at their settings, signed, and described the key to Okta.
READ_AS_IN_2021 = """
import json, os, sys, time
import jwt
from dotenv import load_dotenv
load_dotenv(sys.argv[1])
client_id, okta_url = os.getenv("CLIENT_ID"), os.getenv("OKTA_URL")
claims = {"iss": client_id, "sub": client_id, "aud": okta_url + "/oauth2/v1/token",
          "exp": int(time.time()) + 3000}
print(json.dumps({
    "assertion": jwt.encode(claims, os.getenv("PRIVATE_KEY"), algorithm="RS256"),
    "jwk": {"kty": "RSA", "e": "AQAB", "use": "sig", "kid": "O4O", "alg": "RS256",
            "n": os.getenv("MODULUS")},
    "scopes": os.getenv("SCOPES"),
}))
"""


def old_modulus(key: rsa.RSAPrivateKey) -> str:
    """Standard base64 with padding and a line break after every 76 characters."""
    n = key.public_key().public_numbers().n
    return base64.encodebytes(n.to_bytes(256, "big")).decode()


@pytest.fixture
def old_env(tmp_path: Path, sandbox: Sandbox, key: rsa.RSAPrivateKey) -> EnvFile:
    """What the first script of 2021 left in the customer's template."""
    file = EnvFile(tmp_path / ".env")
    text = TEMPLATE.format(url=sandbox.url, api_key=sandbox.org.api_key, scopes=SCOPES)
    file.path.write_text(text, encoding="utf-8")
    pem, openssh = serialization.Encoding.PEM, serialization.Encoding.OpenSSH
    plain = serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, plain)
    public = key.public_key().public_bytes(openssh, serialization.PublicFormat.OpenSSH)
    dotenv.set_key(file.path, "PRIVATE_KEY", private.decode())
    dotenv.set_key(file.path, "PUBLIC_KEY", public.decode())
    dotenv.set_key(file.path, "MODULUS", old_modulus(key))
    file.path.chmod(0o600)
    return file


@pytest.fixture
def old_app(old_env: EnvFile, sandbox: Sandbox, key: rsa.RSAPrivateKey) -> Client:
    """The app that the second script of 2021 registered, at an org that let its JWK pass."""
    sandbox.org.lenient_jwk = True
    jwk = {"kty": "RSA", "e": "AQAB", "use": "sig", "kid": "O4O", "n": old_modulus(key)}
    client = sandbox.org.add_client("Private Key JWT Service App", [jwk])
    client.grants.update({scope: {} for scope in SCOPES.split()})
    dotenv.set_key(old_env.path, "CLIENT_ID", client.id)
    return client


def header_of_the_last_assertion(sandbox: Sandbox) -> dict[str, object]:
    form = dict(parse_qsl(sandbox.seen[-1].request.body.decode()))
    return dict(jws.extract_compact(form["client_assertion"].encode()).headers())


def test_step_3_gets_a_token_for_an_app_of_2021(
    old_env: EnvFile, old_app: Client, run: Run, sandbox: Sandbox
) -> None:
    before = old_env.path.read_bytes()

    result = run(STEP_3, "-o", "json")

    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout)["scope"] == SCOPES
    assert "kid" not in header_of_the_last_assertion(sandbox)
    assert old_env["CLIENT_ID"] == old_app.id
    assert old_env.path.read_bytes() == before


def test_an_app_of_2021_with_a_second_key_wants_the_kid_that_its_env_lacks(
    old_env: EnvFile, old_app: Client, run: Run, other_key: rsa.RSAPrivateKey
) -> None:
    second = old_app.keys[0] | {"kid": "two", "n": old_modulus(other_key)}
    old_app.keys.append(second)

    refused = run(STEP_3)
    old_env.write(KEY_ID="O4O")
    done = run(STEP_3)

    assert (refused.returncode, refused.stdout) == (3, "")
    assert "kid is invalid" in refused.stderr
    assert done.returncode == 0, done.stderr


def test_step_2_registers_a_key_of_2021_in_the_form_of_the_rfc(
    old_env: EnvFile, run: Run, sandbox: Sandbox, key: rsa.RSAPrivateKey
) -> None:
    before = old_env.values()

    second, third = run(STEP_2), run(STEP_3)

    assert second.returncode == 0, second.stderr
    (client,) = sandbox.org.clients.values()
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    jwk = RSAKey.import_key(public)
    assert client.keys[0]["n"] == jwk.as_dict()["n"]
    assert client.keys[0]["kid"] == jwk.thumbprint() == old_env["KEY_ID"]
    assert old_env["CLIENT_ID"] == client.id
    kept = ("PRIVATE_KEY", "PUBLIC_KEY", "OKTA_URL", "API_KEY", "SCOPES")
    assert {name: old_env[name] for name in kept} == {name: before[name] for name in kept}
    assert third.returncode == 0, third.stderr


def test_step_1_does_not_replace_a_key_of_2021(old_env: EnvFile, run: Run) -> None:
    before = old_env.path.read_bytes()

    result = run(STEP_1)

    assert (result.returncode, result.stdout) == (1, "")
    assert old_env.path.read_bytes() == before


def test_a_file_written_here_works_with_the_scripts_of_2021(
    env: EnvFile, run: Run, sandbox: Sandbox, tmp_path: Path
) -> None:
    assert [run(STEP_1).returncode, run(STEP_2).returncode] == [0, 0]
    client_id = env["CLIENT_ID"] or ""

    old = subprocess.run(
        [sys.executable, "-c", READ_AS_IN_2021, str(env.path)],
        env=clean_environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    made = json.loads(old.stdout)
    with requests.Session() as session:
        session.trust_env, session.verify = False, os.fspath(sandbox.ca_file)
        form = {
            "grant_type": "client_credentials",
            "scope": made["scopes"],
            "client_id": client_id,
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": made["assertion"],
        }
        token = session.post(f"{sandbox.url}/oauth2/v1/token", data=form, timeout=30)
        session.headers["Authorization"] = f"SSWS {sandbox.org.api_key}"
        app = {
            "client_name": "Of 2021",
            "application_type": "service",
            "grant_types": ["client_credentials"],
            "response_types": ["token"],
            "token_endpoint_auth_method": "private_key_jwt",
            "jwks": {"keys": [made["jwk"]]},
        }
        registered = session.post(f"{sandbox.url}/oauth2/v1/clients", json=app, timeout=30)
    assert (token.status_code, token.json().get("scope")) == (200, SCOPES)
    assert registered.status_code == 201
    assert sandbox.org.clients[client_id].keys[0]["n"] == made["jwk"]["n"]
