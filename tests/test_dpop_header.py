"""What step 3 prints of a bound token, and header lines that work for one request alone."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable

import pytest
import requests
from conftest import STEP_3, EnvFile, Run, clean_environment
from cryptography.hazmat.primitives.asymmetric import ec
from dpop_requests import (
    NONCE,
    PROOF,
    bare_claims,
    call,
    claims_of,
    header_of,
    headers_in,
    kinds_in,
    proofs_in,
)
from faults import Sandbox
from joserfc import jwt
from joserfc.jwk import ECKey

from pkj.errors import UsageError
from pkj.sandbox.state import Client
from pkj.token.check import check_url, check_usage

GET_USERS = ("-o", "header", "--for", "GET")


@pytest.fixture
def users(sandbox: Sandbox) -> str:
    return f"{sandbox.url}/api/v1/users"


# Forms


@pytest.mark.parametrize("form", ["token", "header"])
@pytest.mark.parametrize("word", ["true", ""], ids=["true", "absent"])
@pytest.mark.usefixtures("bound")
def test_a_form_in_which_nobody_could_use_the_token_is_refused_and_names_for(
    env_with_key: EnvFile, run: Run, sandbox: Sandbox, word: str, form: str
) -> None:
    env_with_key.write(DPOP=word)

    result = run(STEP_3, "-o", form)

    assert (result.returncode, result.stdout) == (1, "")
    assert "-o header --for METHOD URL" in result.stderr
    assert "eyJ" not in result.stderr
    assert len(sandbox.seen) == (0 if word else 3)


@pytest.mark.parametrize("form", ["token", "header"])
@pytest.mark.usefixtures("app")
def test_the_same_form_is_printed_of_a_token_that_is_not_bound(run: Run, form: str) -> None:
    result = run(STEP_3, "-o", form)

    assert result.returncode == 0
    assert result.stdout.startswith("Authorization: Bearer " if form == "header" else "eyJ")
    assert result.stdout.count("\n") == 1


@pytest.mark.usefixtures("bound")
def test_the_json_of_a_bound_token_has_the_thumbprint_that_is_in_the_token(
    run: Run, sandbox: Sandbox
) -> None:
    result = run(STEP_3, "-o", "json")

    assert result.returncode == 0, result.stderr
    shown = json.loads(result.stdout)
    bound_to = bare_claims(shown["access_token"])["cnf"]["jkt"]
    assert (shown["token_type"], shown["jkt"]) == ("DPoP", bound_to)
    assert shown["jkt"] == ECKey.import_key(header_of(proofs_in(sandbox)[-1])["jwk"]).thumbprint()
    assert result.stderr.startswith("warning: a DPoP-bound token is useless without a proof")
    assert shown.keys() == {
        *("token_type", "expires_in", "expires_at", "access_token", "scope", "jkt"),
    }


@pytest.mark.usefixtures("app")
def test_the_json_of_a_bearer_token_has_no_thumbprint(run: Run) -> None:
    result = run(STEP_3, "-o", "json")

    shown = json.loads(result.stdout)
    assert (shown["token_type"], "jkt" in shown, result.stderr) == ("Bearer", False, "")


@pytest.mark.usefixtures("bound")
def test_each_run_binds_its_token_to_another_key(run: Run) -> None:
    first, second = (json.loads(run(STEP_3, "-o", "json").stdout) for _ in range(2))

    assert first["jkt"] != second["jkt"]


# -o header --for METHOD URL


def by_curl(sandbox: Sandbox, lines: str, url: str) -> int:
    """The status that curl gets with the lines on its stdin, as the README has it."""
    curl = shutil.which("curl")
    if curl is None:
        with requests.Session() as session:
            session.trust_env = False
            headers = headers_in(lines)
            return session.get(url, headers=headers, verify=sandbox.ca_file, timeout=30).status_code
    quiet = ("-q", "-sS", "-o", "-", "-w", "%{stderr}%{http_code}")
    ended = subprocess.run(
        [curl, *quiet, "--cacert", sandbox.ca_file, "-H", "@-", url],
        input=lines,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return int(ended.stderr)


@pytest.mark.parametrize("query", ["", "?limit=1"], ids=["bare", "with_a_query"])
@pytest.mark.parametrize(
    ("word", "names"),
    [
        pytest.param("true", ["Authorization", "DPoP"], id="dpop"),
        pytest.param("false", ["Authorization"], id="bearer"),
    ],
)
def test_the_header_lines_go_through_curl_for_both_kinds_of_token(
    app: Client,
    env_with_key: EnvFile,
    run: Run,
    sandbox: Sandbox,
    users: str,
    word: str,
    names: list[str],
    query: str,
) -> None:
    app.dpop_bound = word == "true"
    env_with_key.write(DPOP=word)

    result = run(STEP_3, *GET_USERS, users + query)

    assert (result.returncode, result.stderr) == (0, "")
    assert [line.split(": ")[0] for line in result.stdout.splitlines()] == names
    token_requests = len(sandbox.seen)
    assert by_curl(sandbox, result.stdout, users + query) == 200
    assert by_curl(sandbox, result.stdout.replace("eyJ", "eyK"), users + query) == 401
    again = by_curl(sandbox, result.stdout, users + query)
    assert again == (400 if word == "true" else 200)
    assert len(sandbox.seen) == token_requests + 3


@pytest.mark.usefixtures("bound")
def test_a_url_that_curl_would_call_otherwise_is_wrong_usage_or_works_all_the_same(
    run: Run, sandbox: Sandbox
) -> None:
    url = f"{sandbox.url}/api/v1/x/../users"

    result = run(STEP_3, *GET_USERS, url)

    if result.returncode == 2:
        assert sandbox.seen == []
    else:
        assert by_curl(sandbox, result.stdout, url) == 200


@pytest.mark.usefixtures("bound")
def test_the_proof_is_bound_to_this_token_this_method_and_this_url(
    run: Run, sandbox: Sandbox, users: str
) -> None:
    result = run(STEP_3, "-o", "header", "--for", "DELETE", f"{users}/00u1?sendEmail=true#x")

    assert result.returncode == 0, result.stderr
    assert kinds_in(sandbox) == [PROOF, NONCE]
    headers = headers_in(result.stdout)
    scheme, _, token = headers["Authorization"].partition(" ")
    proof = headers["DPoP"]
    claims = claims_of(proof)
    assert scheme == "DPoP"
    assert (claims["htm"], claims["htu"]) == ("DELETE", f"{users}/00u1")
    assert claims.keys() == {"htm", "htu", "iat", "jti", "ath"}
    jwk = header_of(proof)["jwk"]
    assert ECKey.import_key(jwk).thumbprint() == bare_claims(token)["cnf"]["jkt"]
    assert jwk == header_of(proofs_in(sandbox)[-1])["jwk"]
    assert claims["jti"] not in [claims_of(p)["jti"] for p in proofs_in(sandbox)]


@pytest.mark.parametrize("method", ["get", "Get"])
@pytest.mark.usefixtures("bound")
def test_method_in_small_letters_is_taken_in_capitals(
    method: str, run: Run, sandbox: Sandbox, users: str
) -> None:
    result = run(STEP_3, "-o", "header", "--for", method, users)

    assert result.returncode == 0, result.stderr
    assert call(sandbox, headers_in(result.stdout)).status_code == 200


Headers = dict[str, str]
Sabotage = Callable[[Headers, Run, str], Headers]


def with_another_token(headers: Headers, run: Run, users: str) -> Headers:
    other = headers_in(run(STEP_3, *GET_USERS, users).stdout)
    return headers | {"Authorization": other["Authorization"]}


def with_a_proof_by_another_key(headers: Headers, _: Run, __: str) -> Headers:
    key = ECKey.import_key(ec.generate_private_key(ec.SECP256R1()))
    header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": key.as_dict(private=False)}
    return headers | {"DPoP": jwt.encode(header, claims_of(headers["DPoP"]), key)}


def with_another_claim(headers: Headers, _: Run, users: str) -> Headers:
    del users
    head, claims, signature = headers["DPoP"].split(".")
    turned = ("B" if claims[9] == "A" else "A").join((claims[:9], claims[10:]))
    return headers | {"DPoP": ".".join((head, turned, signature))}


def as_bearer(headers: Headers, _: Run, __: str) -> Headers:
    return headers | {"Authorization": headers["Authorization"].replace("DPoP", "Bearer")}


def without_proof(headers: Headers, _: Run, __: str) -> Headers:
    return {"Authorization": headers["Authorization"]}


def as_they_are(headers: Headers, _: Run, __: str) -> Headers:
    return headers


@pytest.mark.parametrize(
    ("method", "path", "sabotage", "later", "reason"),
    [
        pytest.param("GET", "", as_they_are, 0, None, id="nothing_changed"),
        pytest.param("POST", "", as_they_are, 0, "'htm' claim", id="other_method"),
        pytest.param("GET", "/me", as_they_are, 0, "'htu' claim", id="other_URL"),
        pytest.param("GET", "/", as_they_are, 0, "'htu' claim", id="a_slash_more"),
        pytest.param("GET", "", with_another_token, 0, "'ath' claim", id="another_token"),
        pytest.param(
            "GET", "", with_a_proof_by_another_key, 0, "is not bound to the", id="another_key"
        ),
        pytest.param(
            "GET", "", with_another_claim, 0, "signature is invalid|parsed", id="changed_proof"
        ),
        pytest.param("GET", "", without_proof, 0, "requires a DPoP proof", id="no_DPoP_header"),
        pytest.param("GET", "", as_bearer, 0, "authentication scheme", id="as_Bearer"),
        pytest.param("GET", "", as_they_are, 400, "five minutes", id="too_late"),
        pytest.param("GET", "", as_they_are, -60, "in the future", id="too_early"),
    ],
)
@pytest.mark.usefixtures("bound")
def test_the_lines_work_for_their_own_request_alone(
    run: Run,
    sandbox: Sandbox,
    users: str,
    method: str,
    path: str,
    sabotage: Sabotage,
    later: int,
    reason: str | None,
) -> None:
    result = run(STEP_3, "-o", "header", "--for", method, users + path)
    assert result.returncode == 0, result.stderr
    headers = sabotage(headers_in(result.stdout), run, users)
    sandbox.org.clock = lambda: time.time() + later

    answer = call(sandbox, headers)

    if reason is None:
        assert answer.status_code == 200
        replayed = call(sandbox, headers)
        assert (replayed.status_code, "already been used" in replayed.text) == (400, True)
    else:
        assert answer.status_code == 400
        said = answer.json()["error_description"]
        assert any(part in said for part in reason.split("|"))


# Usage


ORG = "https://org.example:8443"


@pytest.mark.parametrize(
    ("method", "url", "said"),
    [
        pytest.param("GET", "https://other.example/api", "a URL that begins", id="other_host"),
        pytest.param("GET", "https://127.0.0.1/api/v1", "a URL that begins", id="other_port"),
        pytest.param("GET", "http://127.0.0.1:{port}/x", "a URL that begins", id="http"),
        pytest.param("GET", "https://me@127.0.0.1:{port}/", "a URL that begins", id="user_name"),
        pytest.param("GET", "/api/v1/users", "a URL that begins", id="relative"),
        pytest.param("GET1", "https://127.0.0.1:{port}/", "a method like GET", id="digit"),
        pytest.param("GET", "https://127.0.0.1.:{port}/", "a URL that begins", id="dot"),
    ],
)
@pytest.mark.usefixtures("bound")
def test_for_anything_but_a_url_of_the_org_nothing_is_sent(
    run: Run, sandbox: Sandbox, method: str, url: str, said: str
) -> None:
    port = sandbox.url.rpartition(":")[2]

    result = run(STEP_3, "-o", "header", "--for", method, url.format(port=port))

    assert (result.returncode, result.stdout, sandbox.seen) == (2, "", [])
    assert f"--for takes {said}" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("https://other.example:8443/api/v1/users", id="other_host"),
        pytest.param("https://org.example/api/v1/users", id="other_port"),
        pytest.param("https://org.example:84430/api", id="a_port_that_begins_alike"),
        pytest.param("http://org.example:8443/api/v1/users", id="http"),
        pytest.param("ftp://org.example:8443/", id="ftp"),
        pytest.param("https://me@org.example:8443/api/v1/users", id="user_name"),
        pytest.param("https://me:word@org.example:8443/", id="user_name_and_password"),
        pytest.param("https://@org.example:8443/", id="empty_user_name"),
        pytest.param(f"{ORG}@other.example/", id="the_org_as_a_user_name"),
        pytest.param("https://org.example:8443.other.example/", id="the_org_as_a_prefix"),
        pytest.param("https://other.example/https://org.example:8443/", id="the_org_as_a_path"),
        pytest.param("//org.example:8443/api/v1/users", id="no_scheme"),
        pytest.param("org.example:8443/api/v1/users", id="no_scheme_nor_slashes"),
        pytest.param("", id="empty"),
        pytest.param(f"{ORG}/a b", id="a_blank"),
        pytest.param(f" {ORG}/a", id="a_blank_before"),
        pytest.param(f"{ORG}/a\nX-Other: header", id="a_line_end"),
        pytest.param(f"{ORG}/a\n", id="a_line_end_at_the_end"),
        pytest.param(f"{ORG}/a\tb", id="a_tab"),
        pytest.param(f"{ORG}\\@other.example/", id="a_backslash"),
        pytest.param(f"{ORG}/ü", id="not_ASCII"),
        pytest.param("https://[::1", id="half_an_IPv6_address"),
        pytest.param("https://org.example.:8443/api", id="a_dot_after_the_host"),
        pytest.param("https://org.example:port/", id="a_port_that_is_no_number"),
    ],
)
def test_for_takes_no_url_of_anybody_else(url: str) -> None:
    check_url(f"{ORG}/api/v1/users?limit=1", ORG)
    with pytest.raises(UsageError, match=f"^--for takes a URL that begins with {ORG}/$"):
        check_url(url, ORG)


@pytest.mark.parametrize(
    "method",
    ["", "GET POST", "GET\nX-Other: header", "GET\n", "GET1", "G\u00c9T", "po\u017ft"],
    ids=["empty", "two", "a_line_end", "line_end_at_end", "a_digit", "not_ASCII", "upper_is_ASCII"],
)
def test_for_takes_a_method_in_letters(method: str) -> None:
    check_usage("header", ["OPTIONS", f"{ORG}/"], None)
    check_usage("header", ["options", f"{ORG}/"], None)
    with pytest.raises(UsageError, match=r"^--for takes a method like GET"):
        check_usage("header", [method, f"{ORG}/"], None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(("--for", "GET", "{url}"), "-o header", id="without_a_form"),
        pytest.param(("-o", "json", "--for", "GET", "{url}"), "-o header", id="json"),
        pytest.param(("-o", "token", "--for", "GET", "{url}"), "-o header", id="token"),
        pytest.param(("-o", "text", "--for", "GET", "{url}"), "-o header", id="text"),
        pytest.param(("-o", "header", "--for", "GET"), "--for", id="a_method_alone"),
        pytest.param(
            ("-o", "header", "--for", "GET", "{url}", "--check"), "--check", id="with_check"
        ),
    ],
)
@pytest.mark.usefixtures("bound")
def test_for_goes_with_o_header_alone(
    run: Run, sandbox: Sandbox, users: str, arguments: tuple[str, ...], said: str
) -> None:
    result = run(STEP_3, *(argument.format(url=users) for argument in arguments))

    assert (result.returncode, result.stdout, sandbox.seen) == (2, "", [])
    assert said in result.stderr
