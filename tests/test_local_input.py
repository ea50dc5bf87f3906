"""Settings that cannot be right: one sentence, exit 1, nothing sent; and never a traceback."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import (
    ROOT,
    SCOPES,
    SETTINGS,
    STEP_1,
    STEP_2,
    STEP_3,
    EnvFile,
    Run,
    clean_environment,
    run_here,
    with_env_file,
)
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from faults import Fault, Sandbox, patch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pkj import keys
from pkj.sandbox.exchange import Response
from pkj.sandbox.org import Org

PEM = serialization.Encoding.PEM
PKCS8 = serialization.PrivateFormat.PKCS8
PLAIN = serialization.NoEncryption()


def private_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(PEM, PKCS8, PLAIN).decode()


def encrypted(form: serialization.PrivateFormat) -> str:
    lock = serialization.BestAvailableEncryption(b"password")
    return keys.generate(2048).private_bytes(PEM, form, lock).decode()


def jwk(key: rsa.RSAPrivateKey) -> str:
    return json.dumps(keys.jwk(keys.modulus_of(key), "kid"))


OURS = rsa.generate_private_key(65537, 2048)
SHORT = rsa.generate_private_key(65537, 1024)  # noqa: S505 - made to be refused
OTHER_EXPONENT = rsa.generate_private_key(3, 2048)
ELLIPTIC = ec.generate_private_key(ec.SECP256R1())
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"
BAD_KEYS = {
    "garbage": ("garbage", "PEM"),
    "a-damaged-pem": (private_pem(OURS)[:400], "PEM"),
    "only-the-body": ("".join(private_pem(OURS).split("\n")[1:-2]), "PEM"),
    "a-public-key": (keys.public_pem(keys.modulus_of(OURS)), "public key"),
    "a-certificate": (CERTIFICATE, "public key"),
    "an-ssh-public-key": ("ssh-rsa AAAAB3NzaC1yc2E= me@here", "public key"),
    "a-jwk": (jwk(OURS), "JWK"),
    "encrypted-pkcs8": (encrypted(PKCS8), "encrypted"),
    "encrypted-pkcs1": (encrypted(serialization.PrivateFormat.TraditionalOpenSSL), "encrypted"),
    "an-ec-key": (private_pem(ELLIPTIC), "RSA"),
    "1024-bits": (private_pem(SHORT), "1024 bits"),
    "another-exponent": (private_pem(OTHER_EXPONENT), "exponent"),
}


def refused(run: Run, script: str, sandbox: Sandbox, setting: str, *more: str) -> None:
    before = Path(sandbox.ca_file).parent  # the sandbox lives: what it has seen counts
    assert before.exists()
    result = run(script, "-v")
    assert (result.returncode, result.stdout) == (1, ""), result.stderr
    error, _, cure = result.stderr.partition("\n")
    assert error.startswith("error: ")
    assert setting in error
    for text in more:
        assert text in error
    assert cure.startswith("what to do: ")
    assert cure.count("\n") == 1
    assert len(error) < 300
    assert "00QC" not in result.stderr.upper()
    assert sandbox.seen == []
    assert sandbox.connections == 0


@pytest.mark.parametrize("script", [STEP_2, STEP_3])
@pytest.mark.parametrize(("text", "why"), BAD_KEYS.values(), ids=BAD_KEYS)
def test_a_private_key_that_cannot_sign_is_one_sentence(
    text: str, why: str, script: str, env: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    env.write(PRIVATE_KEY=text, CLIENT_ID="0oaAny")

    refused(run, script, sandbox, "PRIVATE_KEY", why)


@pytest.mark.parametrize("script", [STEP_2, STEP_3])
def test_a_private_key_that_is_right_is_no_error_here(
    script: str, env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    env_with_key.write(CLIENT_ID="0oaAny" if script == STEP_3 else "")

    result = run(script)

    assert result.returncode == (0 if script == STEP_2 else 3), result.stderr
    assert sandbox.seen


OTHER_MODULUS = keys.to_base64url(keys.modulus_of(rsa.generate_private_key(65537, 2048)))
BOTH, ONLY_2 = (STEP_2, STEP_3), (STEP_2,)
BAD_SETTINGS = {
    "modulus-of-another-key": (ONLY_2, "MODULUS", OTHER_MODULUS, "PRIVATE_KEY"),
    "modulus-garbage": (ONLY_2, "MODULUS", "?", "base64url"),
    "modulus-short": (ONLY_2, "MODULUS", "AQAB", "bits"),
    "client-id-blank": (BOTH, "CLIENT_ID", "0oa any", ""),
    "client-id-newline": (BOTH, "CLIENT_ID", "0oaAny\n", ""),
    "client-id-quotes": (BOTH, "CLIENT_ID", '"0oaAny"', ""),
    "client-id-dots": (BOTH, "CLIENT_ID", "..", ""),
    "client-id-umlaut": (BOTH, "CLIENT_ID", "0oa\u00fc", ""),
    "client-id-invisible": (BOTH, "CLIENT_ID", "0oaAny\u200b", ""),
    "api-key-newline": (ONLY_2, "API_KEY", "00pre\nX-Evil: 1", ""),
    "api-key-placeholder": (ONLY_2, "API_KEY", "{okta_api_key}", "placeholder"),
    "api-key-blank": (ONLY_2, "API_KEY", "00pre tend", ""),
    "api-key-umlaut": (ONLY_2, "API_KEY", "00pret\u00e4nd", ""),
    "api-key-cjk": (ONLY_2, "API_KEY", "00\u4e2d", ""),
    "api-key-prefix-alone": (ONLY_2, "API_KEY", "SSWS ", ""),
    "scopes-commas": (BOTH, "SCOPES", "okta.users.read,okta.users.manage", "commas"),
    "scopes-comma-alone": (BOTH, "SCOPES", ",", "commas"),
    "scopes-comma-blank": (BOTH, "SCOPES", "okta.users.read, okta.users.manage", "commas"),
    "scopes-blank": (BOTH, "SCOPES", "  ", "SCOPES is empty"),
    "scopes-quote": (BOTH, "SCOPES", '"okta.users.read', ""),
    "scopes-umlaut": (BOTH, "SCOPES", "okta.\u00fc", ""),
    "dpop-perhaps": (BOTH, "DPOP", "perhaps", ""),
    "roles-lower": (ONLY_2, "ADMIN_ROLES", "read_only", ""),
    "url-http": (BOTH, "OKTA_URL", "http://127.0.0.1", "https"),
    "swapped-url": (BOTH, "OKTA_URL", "00QCjAl4MlV-WPXMabcdefghij_klmno0HmjFx-vbG", "API token"),
    "swapped-key": (ONLY_2, "API_KEY", "https://acme.okta.com/", "address"),
    "swapped-bare-key": (ONLY_2, "API_KEY", "Acme.Okta.com", "address"),
    "url-path": (BOTH, "OKTA_URL", "https://127.0.0.1/oauth2", "must not include a path"),
}


@pytest.mark.parametrize(
    ("script", "setting", "text", "why"),
    [
        pytest.param(script, *row[1:], id=f"{name}-{script[:3]}")
        for name, row in BAD_SETTINGS.items()
        for script in row[0]
    ],
)
def test_a_setting_that_cannot_be_right_is_one_sentence(
    script: str,
    setting: str,
    text: str,
    why: str,
    env_with_key: EnvFile,
    run: Run,
    sandbox: Sandbox,
) -> None:
    env_with_key.write(**({"CLIENT_ID": "0oaAny"} | {setting: text}))
    before = env_with_key.path.read_bytes()

    refused(run, script, sandbox, setting, why)

    assert env_with_key.path.read_bytes() == before


@pytest.mark.parametrize("script", [STEP_1, STEP_2, STEP_3])
@pytest.mark.parametrize("setting", SETTINGS)
def test_an_environment_that_is_not_utf_8_is_one_sentence(
    script: str, setting: str, env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    env_with_key.write(CLIENT_ID="0oaAny")
    before = env_with_key.path.read_bytes()

    result = run(script, "-v" if script != STEP_1 else "--force", env={setting: "00\udcff\udcfe"})

    assert "Traceback" not in result.stderr
    if "is not UTF-8" in result.stderr:
        assert result.returncode == 1
        assert f"error: {setting} in the environment is not UTF-8 text\n" in result.stderr
        assert env_with_key.path.read_bytes() == before
        assert sandbox.seen == []
    else:
        unused = {STEP_1: SETTINGS, STEP_2: ["PUBLIC_KEY", "ADMIN_ROLES"]}
        unused[STEP_3] = ["API_KEY", "MODULUS", *unused[STEP_2]]
        assert setting in unused[script]
    assert "udcff" not in result.stdout + result.stderr


@pytest.mark.parametrize("option", ["-O", "-OO"])
def test_the_scripts_work_without_docstrings_and_asserts(
    option: str, env: EnvFile, sandbox: Sandbox
) -> None:
    trusted = clean_environment(REQUESTS_CA_BUNDLE=sandbox.ca_file)
    for script in (STEP_1, STEP_2, STEP_3):
        for more in (["--help"], ["--env-file", str(env.path)]):
            told = [sys.executable, option, str(ROOT / script), *more]
            ended = subprocess.run(told, env=trusted, capture_output=True, text=True, timeout=60)
            assert (ended.returncode, ended.stderr.count("Traceback")) == (0, 0), ended.stderr


@pytest.mark.parametrize("script", [STEP_2, STEP_3])
def test_scopes_that_are_empty_are_a_missing_setting(
    script: str, env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    env_with_key.write(SCOPES="", CLIENT_ID="0oaAny")

    result = run(script)

    assert (result.returncode, result.stdout) == (1, "")
    assert "SCOPES" in result.stderr
    assert sandbox.connections == 0


@pytest.mark.parametrize("pasted", ["SSWS {}", "SSWS {}  ", " {}", "{}\n", "ssws {}"])
def test_an_api_key_pasted_with_its_prefix_works(
    pasted: str, env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    env_with_key.write(API_KEY=pasted.format(sandbox.org.api_key))

    result = run(STEP_2)

    right = pasted == "SSWS {}"
    assert result.returncode == (0 if right else 1), result.stderr
    assert bool(sandbox.seen) == right
    sent = {seen.request.headers.get("authorization") for seen in sandbox.seen}
    # What anybody may read is asked for without it.
    assert sent == ({f"SSWS {sandbox.org.api_key}", None} if right else set())
    assert sandbox.org.api_key not in result.stdout + result.stderr


# --- whatever else there may be


def ran(
    org: Sandbox, script: str, env_file: Path, *arguments: str, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run a step on this file, in its folder; a traceback fails the test."""
    environment = clean_environment(REQUESTS_CA_BUNDLE=org.ca_file) | environ
    told = with_env_file(env_file, *arguments)
    return run_here(script, *told, environment=environment, folder=env_file.parent)


@pytest.fixture(scope="module")
def org() -> Iterator[Sandbox]:
    """One for many examples; each begins with an org without apps but one, and no faults."""
    with Sandbox(Org("https://127.0.0.1")) as running:
        yield running


def fresh(org: Sandbox, folder: str, **changes: str) -> Path:
    org.faults.clear()
    org.seen.clear()
    org.org.clients.clear()
    modulus = keys.modulus_of(OURS)
    client = org.org.add_client("Planted", [keys.jwk(modulus, keys.thumbprint(modulus))])
    client.grants.update({s: {"scopeId": s, "status": "ACTIVE"} for s in SCOPES.split()})
    values = keys.of_new_key(OURS) | {
        "OKTA_URL": org.url,
        "API_KEY": org.org.api_key,
        "SCOPES": SCOPES,
        "CLIENT_ID": client.id,
    }
    file = EnvFile(Path(folder, ".env"))
    file.write(**(values | changes))
    return file.path


EXAMPLES = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=80)
NAMES = st.sampled_from([name for name in SETTINGS if name != "OKTA_URL"])
NO_NETWORK = {"HTTPS_PROXY": "http://127.0.0.1:1"}
"""So that no made-up OKTA_URL is looked for out there: NO_PROXY names this machine."""


def tame(ended: subprocess.CompletedProcess[str]) -> None:
    assert ended.returncode in (0, 1, 2, 3, 4)
    assert bool(ended.stderr) or not ended.returncode


@pytest.mark.parametrize("script", [STEP_2, STEP_3])
@EXAMPLES
@given(changes=st.dictionaries(NAMES, TEXTS, min_size=1, max_size=3))
@example(changes={"PRIVATE_KEY": "-----BEGIN PRIVATE KEY-----\n\n-----END PRIVATE KEY-----"})
@example(changes={"MODULUS": "A" * 400})
@example(changes={"CLIENT_ID": "%"})
def test_no_setting_of_the_environment_makes_a_traceback(
    changes: dict[str, str], script: str, org: Sandbox
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = fresh(org, folder)
        tame(ran(org, script, file, **(NO_NETWORK | changes)))


@EXAMPLES
@given(url=st.one_of(TEXTS, st.from_regex(r"\A(https?:)?/{0,2}[ -~]{0,30}\Z")))
@example(url="https://[")
@example(url="https://[::1]:99999")
@example(url="https://xn--a")
@example(url="https://\u2100")
@example(url="https://" + "a" * 64 + ".example")
def test_no_okta_url_makes_a_traceback(url: str, org: Sandbox) -> None:
    with tempfile.TemporaryDirectory() as folder:
        nowhere = NO_NETWORK | {"NO_PROXY": "*.invalid", "no_proxy": "*.invalid"}
        tame(ran(org, STEP_3, fresh(org, folder), **(nowhere | {"OKTA_URL": url})))


@pytest.mark.parametrize("script", ["generate_keys.py", STEP_2, STEP_3])
@EXAMPLES
@given(octets=st.one_of(st.binary(max_size=200), TEXTS.map(str.encode)), whole=st.booleans())
@example(octets=b"\xef\xbb\xbfSCOPES=a", whole=True)
@example(octets=b"PRIVATE_KEY='", whole=False)
def test_no_env_file_makes_a_traceback_or_loses_what_it_held(
    octets: bytes, whole: bool, script: str, org: Sandbox
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = fresh(org, folder)
        before = octets if whole else file.read_bytes() + octets
        file.write_bytes(before)
        ended = ran(org, script, file, **NO_NETWORK)
        tame(ended)
        assert len(file.read_bytes()) >= len(before) or script == STEP_2


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)
MEMBERS = st.sampled_from(
    [
        *("errorCode", "errorSummary", "errorCauses", "errorId", "error", "error_description"),
        *("access_token", "token_type", "expires_in", "scope", "client_id", "jwks", "status"),
        *("settings", "type", "scopeId", "kid", "application_type", "client_name"),
    ]
)
BODIES = st.one_of(
    st.binary(max_size=60),
    JSON.map(lambda body: json.dumps(body).encode()),
    st.dictionaries(MEMBERS, JSON, max_size=5).map(lambda body: json.dumps(body).encode()),
    st.lists(st.dictionaries(MEMBERS, JSON, max_size=5), max_size=3).map(
        lambda body: json.dumps(body).encode()
    ),
)
LATIN = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=40)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            *("date", "location", "link", "content-type", "www-authenticate", "dpop-nonce"),
            *("x-rate-limit-reset", "x-okta-request-id", "set-cookie", "retry-after"),
        ]
    ),
    st.one_of(LATIN, st.from_regex(r'\A<?[a-z]{0,5}:?//[ -~]{0,20}>?(; rel="next")?\Z')),
    max_size=4,
)
STATUSES = st.sampled_from([200, 201, 204, 206, 299, 301, 302, 304, 307, 400, 401, 403, 404, 409])


@pytest.mark.parametrize(
    ("script", "line"),
    [
        pytest.param(STEP_3, "POST /oauth2/v1/token", id="token"),
        pytest.param(STEP_3, "GET /api/v1/users", id="check"),
        pytest.param(STEP_2, "GET /oauth2/v1/clients", id="clients"),
        pytest.param(STEP_2, "GET /api/v1/apps", id="apps"),
        pytest.param(STEP_2, "", id="everything"),
    ],
)
@EXAMPLES
@given(status=STATUSES, body=BODIES, headers=HEADERS)
@example(status=302, body=b"", headers={"location": "https://["})
@example(status=200, body=b"[" * 100_000, headers={})
@example(status=200, body=b"9" * 5000, headers={})
@example(
    status=200, body=b'{"access_token":"a","token_type":"DPoP","expires_in":1e999}', headers={}
)
@example(status=200, body=b"[]", headers={"link": '<https://[>; rel="next"'})
def test_no_answer_of_a_server_makes_a_traceback(
    status: int, body: bytes, headers: dict[str, str], script: str, line: str, org: Sandbox
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = fresh(org, folder, **({"CLIENT_ID": ""} if "clients" in line else {}))
        before = file.read_bytes()
        org.faults.add(
            Fault(line, patch(lambda _: Response(status, body, dict(headers))), times=None)
        )
        options = ["--timeout", "5", "-v", *(["--check"] if "users" in line else [])]
        ended = ran(org, script, file, *options)
        tame(ended)
        assert ended.returncode != 1 or script == STEP_2
        assert script == STEP_2 or file.read_bytes() == before
