"""Arbitrary settings, files and responses: an exit code and a message, never a traceback."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import (
    CREATE_APP,
    GENERATE_KEYS,
    GET_TOKEN,
    SCOPES,
    SETTINGS,
    EnvFile,
    plant,
    run_here,
    trusting,
)
from cryptography.hazmat.primitives.asymmetric import rsa
from faults import Fault, Org, Sandbox, status
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pkj import keys
from pkj.errors import LocalError
from pkj.settings import okta_url

EXAMPLES = settings(max_examples=30, deadline=None)
# NO_PROXY names this machine: made-up hosts are looked for at a proxy that is not there.
NO_NETWORK = {"HTTPS_PROXY": "http://127.0.0.1:1"}


class Project(EnvFile):
    """The `.env` of a registered app, made anew for each example; the org is one for all."""

    def __init__(self, path: Path, sandbox: Sandbox, key: rsa.RSAPrivateKey) -> None:
        super().__init__(path)
        self.sandbox, self._key = sandbox, key

    def renew(self) -> None:
        for left in self.path.parent.iterdir():
            left.unlink()
        self.sandbox.faults.clear()
        self.sandbox.seen.clear()
        self.sandbox.org.clients.clear()
        org = {"OKTA_URL": self.sandbox.url, "API_KEY": self.sandbox.org.api_key}
        self.write(SCOPES=SCOPES, **org, **keys.settings_of(self._key))
        plant(self.sandbox, self, self._key)

    def run(self, script: str, *options: str, **environ: str) -> int:
        """Run the script on the `.env`; a traceback fails the test."""
        told, environment = ["--env-file", self.path, *options], trusting(self.sandbox, environ)
        result = run_here(script, *told, environment=environment, folder=self.path.parent)
        assert result.returncode in (0, 1, 2, 3, 4)
        assert bool(result.stderr) or not result.returncode
        return result.returncode


@pytest.fixture(scope="module")
def project(key: rsa.RSAPrivateKey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with Sandbox(Org("https://127.0.0.1")) as sandbox:
        yield Project(tmp_path_factory.mktemp("project") / ".env", sandbox, key)


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=80)
VALUES = st.dictionaries(st.sampled_from(SETTINGS), TEXTS, min_size=1, max_size=3)
URLS = st.from_regex(r"\A(https?:)?/{0,2}(acme)?[ -~]{0,30}\Z") | TEXTS


@pytest.mark.parametrize("script", [CREATE_APP, GET_TOKEN])
@EXAMPLES
@given(changes=st.one_of(VALUES, URLS.map(lambda url: {"OKTA_URL": url})))
@example(changes={"MODULUS": "A" * 400})
@example(changes={"OKTA_URL": "https://["})
@example(changes={"OKTA_URL": "https://[::1]:99999"})
@example(changes={"OKTA_URL": "https://xn--a"})
@example(changes={"OKTA_URL": "https://\u2100"})
def test_any_environment_causes_no_traceback(
    changes: dict[str, str], script: str, project: Project
) -> None:
    project.renew()
    project.run(script, **(NO_NETWORK | changes))
    with contextlib.suppress(LocalError):
        normal = okta_url(changes.get("OKTA_URL", "acme"))
        assert (normal[:8], okta_url(normal)) == ("https://", normal)


@pytest.mark.parametrize("script", [GENERATE_KEYS, CREATE_APP, GET_TOKEN])
@EXAMPLES
@given(octets=st.one_of(st.binary(max_size=200), TEXTS.map(str.encode)), whole=st.booleans())
@example(octets=b"\xef\xbb\xbfSCOPES=a", whole=True)
@example(octets=b"PRIVATE_KEY='", whole=False)
def test_any_env_file_causes_no_traceback(
    octets: bytes, whole: bool, script: str, project: Project
) -> None:
    project.renew()
    before = octets if whole else project.path.read_bytes() + octets
    project.path.write_bytes(before)
    project.run(script, **NO_NETWORK)
    assert len(project.path.read_bytes()) >= len(before) or script == CREATE_APP


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)
MEMBERS = """
    errorCode errorSummary errorCauses errorId error error_description access_token token_type
    expires_in scope client_id jwks status settings type scopeId kid application_type client_name
"""
OBJECTS = st.dictionaries(st.sampled_from(MEMBERS.split()), JSON, max_size=5)
BODIES = st.one_of(
    st.binary(max_size=60),
    (JSON | OBJECTS | st.lists(OBJECTS, max_size=3)).map(lambda body: json.dumps(body).encode()),
)
HEADER_NAMES = """
    date location link content-type www-authenticate dpop-nonce x-rate-limit-reset
    x-okta-request-id set-cookie retry-after
"""
HEADERS = st.dictionaries(
    st.sampled_from(HEADER_NAMES.split()),
    st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=40)
    | st.from_regex(r'\A<?[a-z]{0,5}:?//[ -~]{0,20}>?(; rel="next")?\Z'),
    max_size=4,
)
STATUSES = st.sampled_from([200, 201, 204, 206, 299, 301, 302, 304, 307, 400, 401, 403, 404, 409])


REQUESTS = [
    *((GET_TOKEN, line) for line in ("POST /oauth2/v1/token", "GET /api/v1/users")),
    *((CREATE_APP, line) for line in ("GET /oauth2/v1/clients", "GET /api/v1/apps", "")),
]


@pytest.mark.parametrize(("script", "line"), REQUESTS)
@EXAMPLES
@given(code=STATUSES, body=BODIES, headers=HEADERS)
@example(code=302, body=b"", headers={"location": "https://["})
@example(code=200, body=b"[" * 100_000, headers={})
@example(code=200, body=b"9" * 5000, headers={})
@example(code=200, body=b'{"access_token":"a","token_type":"DPoP","expires_in":1e999}', headers={})
@example(code=200, body=b"[]", headers={"link": '<https://[>; rel="next"'})
def test_any_response_causes_no_traceback(
    code: int, body: bytes, headers: dict[str, str], script: str, line: str, project: Project
) -> None:
    project.renew()
    project.write(**({"CLIENT_ID": ""} if "clients" in line else {}))
    before = project.path.read_bytes()
    project.sandbox.faults.add(Fault(line, status(code, body, headers), times=None))

    ended = project.run(script, "--timeout=5", "-v", *["--check"] * ("users" in line))

    assert script == CREATE_APP or (ended != 1 and project.path.read_bytes() == before)
