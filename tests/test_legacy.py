"""A `.env` of the original scripts of 2021 works here, and one written here works there."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs

import dotenv
import pytest
from conftest import (
    CREATE_APP,
    GENERATE_KEYS,
    GET_TOKEN,
    SCOPES,
    EnvFile,
    Run,
    clean_environment,
    public_jwk,
)
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from dpop_requests import header_of
from faults import Sandbox
from sandbox_requests import ask, call, registration, token_form

TEMPLATE = """\
PRIVATE_KEY=
PUBLIC_KEY=
MODULUS=
CLIENT_ID=
OKTA_URL={url}
API_KEY={api_key}
SCOPES='{scopes}'
"""

# How the original scripts got at their settings, signed, and described the key to Okta.
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


def old_modulus(key: RSAPrivateKey) -> str:
    """Standard base64 with padding and a line break after every 76 characters."""
    n = key.public_key().public_numbers().n
    return base64.encodebytes(n.to_bytes(256, "big")).decode()


@pytest.fixture
def old_env(tmp_path: Path, sandbox: Sandbox, key: RSAPrivateKey) -> EnvFile:
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


def test_old_app_gets_a_token_without_kid_until_it_has_a_second_key(
    old_env: EnvFile, run: Run, sandbox: Sandbox, key: RSAPrivateKey, other_key: RSAPrivateKey
) -> None:
    sandbox.org.lenient_jwk = True
    jwk = {"kty": "RSA", "e": "AQAB", "use": "sig", "kid": "O4O", "n": old_modulus(key)}
    app = sandbox.org.add_client("Private Key JWT Service App", [jwk])
    app.grants.update({scope: {} for scope in SCOPES.split()})
    dotenv.set_key(old_env.path, "CLIENT_ID", app.id)
    before = old_env.path.read_bytes()
    result = run(GET_TOKEN, "-o", "json")

    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout)["scope"] == SCOPES
    form = parse_qs(sandbox.seen[-1].request.body.decode())
    assert "kid" not in header_of(form["client_assertion"][0])
    assert old_env.path.read_bytes() == before

    app.keys.append(app.keys[0] | {"kid": "two", "n": old_modulus(other_key)})
    refused = run(GET_TOKEN)
    assert (refused.returncode, refused.stdout) == (3, "")
    assert "kid is invalid" in refused.stderr

    old_env.write(KEY_ID="O4O")
    assert run(GET_TOKEN).returncode == 0


def test_old_key_is_registered_in_the_form_of_the_rfc_and_not_replaced(
    old_env: EnvFile, run: Run, sandbox: Sandbox, key: RSAPrivateKey
) -> None:
    before, text = old_env.values(), old_env.path.read_bytes()
    first = run(GENERATE_KEYS)
    assert (first.returncode, first.stdout, old_env.path.read_bytes()) == (1, "", text)

    second, third = run(CREATE_APP), run(GET_TOKEN)
    assert (second.returncode, third.returncode) == (0, 0), second.stderr + third.stderr
    (client,) = sandbox.org.clients.values()
    assert client.keys[0]["n"] == public_jwk(key)["n"]
    assert client.keys[0]["kid"] == public_jwk(key)["kid"] == old_env["KEY_ID"]
    assert old_env["CLIENT_ID"] == client.id
    for name in ("PRIVATE_KEY", "PUBLIC_KEY", "OKTA_URL", "API_KEY", "SCOPES"):
        assert old_env[name] == before[name]


def test_new_file_works_with_the_original_scripts(
    env: EnvFile, run: Run, sandbox: Sandbox, tmp_path: Path
) -> None:
    assert [run(GENERATE_KEYS).returncode, run(CREATE_APP).returncode] == [0, 0]

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
    form = token_form(made["assertion"], scope=made["scopes"], client_id=env["CLIENT_ID"])
    token = ask(sandbox.org, form)
    assert (token.status, dict(token.body)["scope"]) == (200, SCOPES)
    app = registration(jwks={"keys": [made["jwk"]]})
    assert call(sandbox.org, "POST", "/oauth2/v1/clients", app).status == 201
    assert sandbox.org.clients[env["CLIENT_ID"] or ""].keys[0]["n"] == made["jwk"]["n"]
