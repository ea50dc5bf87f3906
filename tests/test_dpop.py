"""DPoP: proofs, nonces, clocks, tokens bound to a key, and the headers of one request."""

import base64
import json
import os
import re
import time
from email.utils import formatdate
from typing import Any

import dpop_requests as wire
import pytest
from conftest import GET_TOKEN, EnvFile, Run
from cryptography.hazmat.primitives.asymmetric import ec
from faults import Fault, Sandbox, Turn, patched_date, status
from joserfc import jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import ECKey

from pkj.sandbox.state import Client
from pkj.token.proof import Prover

URL = "https://org.example/oauth2/v1/token"
HOW = "-o header --for METHOD URL"
FIRST_TRY = "DPOP=true skips the failed first request"


def hint_of(stderr: str) -> str:
    return stderr.partition("what to do: ")[2]


@pytest.fixture
def users(sandbox: Sandbox) -> str:
    return f"{sandbox.url}/api/v1/users"


# Proofs

# RFC 9449 section 7.1: a token and its ath.
RFC_9449_TOKEN = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"  # noqa: S105 - an example
RFC_9449_ATH = "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"


def number(text: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(text + "="), "big")


def prover_of(key: object, monkeypatch: pytest.MonkeyPatch) -> Prover:
    """A prover whose key is not a new one."""
    with monkeypatch.context() as patched:
        patched.setattr(ec, "generate_private_key", lambda _: key)
        return Prover()


@pytest.mark.parametrize(("secret", "short"), [(379, "x"), (43, "y"), (1, None)])
def test_coordinates_have_32_bytes(
    secret: int, short: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    prover = prover_of(ec.derive_private_key(secret, ec.SECP256R1()), monkeypatch)
    jwk: dict[str, Any] = prover.jwk()
    assert [len(jwk["x"]), len(jwk["y"])] == [43, 43]
    assert [name for name in ("x", "y") if number(jwk[name]).bit_length() <= 248] == [
        *filter(None, [short])
    ]
    assert prover.thumbprint() == ECKey.import_key(jwk).thumbprint()
    assert wire.claims_of(prover.proof("GET", URL))["htm"] == "GET"


@pytest.mark.parametrize("nonce", [None, "okta's nonce"])
@pytest.mark.parametrize("token", [None, RFC_9449_TOKEN])
def test_proof_has_only_the_members_it_needs(token: str | None, nonce: str | None) -> None:
    prover, other = Prover(), Prover()
    prover.nonce, prover.api_nonce = ("another", nonce) if token else (nonce, "another")
    proof, second = (prover.proof("POST", URL, token=token) for _ in range(2))

    header, claims = wire.header_of(proof), wire.claims_of(proof)
    assert header == {"typ": "dpop+jwt", "alg": "ES256", "jwk": prover.jwk()}
    assert header["jwk"].keys() == {"kty", "crv", "x", "y"}
    optional = [name for name, value in (("nonce", nonce), ("ath", token)) if value]
    assert claims.keys() == {"htm", "htu", "iat", "jti", *optional}
    assert (claims["htm"], claims["htu"], claims.get("nonce")) == ("POST", URL, nonce)
    assert claims.get("ath") == (RFC_9449_ATH if token else None)
    assert len(claims["jti"]) >= 16
    assert claims["jti"] != wire.claims_of(second)["jti"]
    assert other.thumbprint() != prover.thumbprint()
    with pytest.raises(BadSignatureError):
        jwt.decode(proof, ECKey.import_key(other.jwk()), algorithms=["ES256"])


@pytest.mark.parametrize(
    ("url", "htu"),
    [
        (URL, URL),
        (f"{URL}?limit=1&after=x", URL),
        (f"{URL}#part", URL),
        (f"{URL}?a=b#part?c=d", URL),
        (f"{URL}?a=https://other.example/?x#y", URL),
        ("https://org.example:8443/x/?q", "https://org.example:8443/x/"),
        ("https://org.example", "https://org.example/"),
        ("https://org.example?q", "https://org.example/"),
        ("https://[::1]:8443/a%20b", "https://[::1]:8443/a%20b"),
        (f"{URL}/%40%2f%c3%bc+%2B", f"{URL}/@/\u00fc++"),
        (f"{URL}/%25%22%23%2540", f"{URL}/%25%22%23%2540"),  # these four stay escaped
    ],
)
def test_htu_is_the_url_without_query_and_fragment(url: str, htu: str) -> None:
    assert wire.claims_of(Prover().proof("GET", url))["htu"] == htu


@pytest.mark.parametrize("offset", [0, 3600, -3600.5])
def test_proof_is_dated_five_seconds_back_by_oktas_clock(offset: float) -> None:
    earliest = int(time.time() + offset) - 5
    issued = wire.claims_of(Prover().proof("GET", URL, clock_offset=offset))["iat"]
    assert type(issued) is int
    assert earliest <= issued <= int(time.time() + offset) - 5


# DPOP


@pytest.mark.parametrize(
    ("word", "who_requires", "code", "kinds", "said"),
    [
        ("", "nobody", 0, [wire.BARE], "3600 seconds"),
        ("", "app", 0, [wire.BARE, wire.PROOF, wire.NONCE], FIRST_TRY),
        ("", "org", 0, [wire.BARE, wire.PROOF, wire.NONCE], FIRST_TRY),
        ("true", "nobody", 3, [wire.PROOF], "create_okta_service_app.py"),
        ("true", "app", 0, [wire.PROOF, wire.NONCE], "3600 seconds"),
        ("true", "org", 0, [wire.PROOF, wire.NONCE], "3600 seconds"),
        ("false", "nobody", 0, [wire.BARE], "3600 seconds"),
        ("false", "app", 3, [wire.BARE], "invalid_dpop_proof.*\nwhat to do: .*DPOP=true"),
        ("false", "org", 3, [wire.BARE], "invalid_dpop_proof"),
    ],
)
def test_dpop_decides_which_requests_have_a_proof(
    app: Client,
    env_with_key: EnvFile,
    run: Run,
    sandbox: Sandbox,
    word: str,
    who_requires: str,
    code: int,
    kinds: list[str],
    said: str,
) -> None:
    app.dpop_bound, sandbox.org.require_dpop = who_requires == "app", who_requires == "org"
    env_with_key.write(**({"DPOP": word} if word else {}))
    path = env_with_key.path
    os.utime(path, ns=(1_000_000_000, 1_000_000_000))
    before = path.read_bytes(), path.stat()[:9], os.listdir(path.parent)
    result = run(GET_TOKEN)

    assert result.returncode == code, result.stderr
    assert wire.kinds_in(sandbox) == kinds
    wire.check_token_requests(sandbox)
    assert re.search(said, result.stderr)
    assert (FIRST_TRY in result.stderr) is (len(kinds) == 3)
    assert "eyJ" not in result.stderr
    assert (path.read_bytes(), path.stat()[:9], os.listdir(path.parent)) == before
    if code:
        assert result.stdout == ""
        return
    is_bound = kinds[-1] == wire.NONCE
    heading, blank, token, end = result.stdout.split("\n")
    assert heading == f"///////////////// Access Token{' (DPoP)' * is_bound}:"
    assert (blank, end) == ("", "")
    assert (HOW in result.stderr) is ("cnf" in wire.bare_claims(token)) is is_bound


# Nonces


@pytest.mark.usefixtures("bound")
def test_second_nonce_challenge_ends_the_run(run: Run, sandbox: Sandbox) -> None:
    def forget_first(turn: Turn) -> None:
        response = turn.work()
        turn.org.forget_nonces()
        turn.send(response)

    sandbox.faults.add(Fault(wire.TOKEN, forget_first, times=None))
    result = run(GET_TOKEN)
    assert (result.returncode, result.stdout, len(sandbox.seen)) == (3, "", 2)
    assert "use_dpop_nonce" in result.stderr


@pytest.mark.parametrize(
    ("code", "headers", "word", "requests_seen"),
    [
        (400, {}, "true", 1),
        (400, {"DPoP-Nonce": ""}, "true", 1),
        (400, {"DPoP-Nonce": "x"}, "false", 1),
        (401, {"dpop-nonce": "x"}, "true", 2),
    ],
)
@pytest.mark.usefixtures("bound")
def test_useless_nonce_challenge_is_a_refusal(
    run: Run, sandbox: Sandbox, code: int, headers: dict[str, str], word: str, requests_seen: int
) -> None:
    body = {"error": "use_dpop_nonce", "error_description": wire.NEEDS_NONCE}
    sandbox.faults.add(Fault(wire.TOKEN, status(code, body, headers), times=None))
    result = run(GET_TOKEN, env={"DPOP": word})
    assert (result.returncode, result.stdout, len(sandbox.seen)) == (3, "", requests_seen)
    assert wire.NEEDS_NONCE in result.stderr


# Clocks


@pytest.mark.parametrize(
    ("ahead", "word", "first", "described"),
    [
        (3600, "true", "is expired", r"(3600|3599) s slow"),
        (-3600, "true", "too far into", r"360[01] s fast"),
        (-10, "true", wire.FUTURE, r"1[01] s fast"),
        (-10, "", wire.FUTURE, r"1[01] s fast"),
        (296, "true", wire.TOO_OLD, r"29[56] s slow"),
        (30, "true", wire.NEEDS_NONCE, r"(30|29) s slow"),
    ],
)
@pytest.mark.usefixtures("bound")
def test_wrong_clock_is_corrected_for_the_token_and_for_its_use(
    env_with_key: EnvFile,
    run: Run,
    sandbox: Sandbox,
    users: str,
    ahead: int,
    word: str,
    first: str,
    described: str,
) -> None:
    sandbox.org.clock = lambda: time.time() + ahead
    env_with_key.write(DPOP=word)
    told = wire.told_by(sandbox)
    result = run(GET_TOKEN, "-o", "header", "--for", "GET", users)

    assert result.returncode == 0, result.stderr
    assert first in told[not word]
    assert len(told) <= 3
    assert re.search(rf"clock is {described}", result.stderr)
    headers = wire.headers_in(result.stdout)
    assert abs(wire.claims_of(headers["DPoP"])["iat"] + 5 - (time.time() + ahead)) < 30
    assert wire.call(sandbox, headers).status_code == 200


@pytest.mark.usefixtures("bound")
def test_date_of_the_token_corrects_the_proof_for_its_use(
    run: Run, sandbox: Sandbox, users: str
) -> None:
    sandbox.org.clock = lambda: time.time() + 100
    sandbox.faults.add(Fault(wire.TOKEN, patched_date(-100)))  # the challenge tells nothing
    result = run(GET_TOKEN, "-o", "header", "--for", "GET", users)
    asked = wire.claims_of(wire.proofs_in(sandbox)[-1])
    used = wire.claims_of(wire.headers_in(result.stdout)["DPoP"])
    assert 90 < used["iat"] - asked["iat"] < 110


@pytest.mark.parametrize(
    ("text", "date_off", "requests_seen", "hint"),
    [
        (wire.FUTURE, -60, 2, "clock"),
        (wire.TOO_OLD, 60, 2, "clock"),
        (wire.FUTURE, 0, 1, "clock"),
        (wire.TOO_OLD, 90000, 1, "clock"),
        ("The DPoP proof JWT signature is invalid.", 60, 1, ""),
    ],
)
@pytest.mark.usefixtures("bound")
def test_proof_refused_for_its_time_is_retried_once_if_the_date_differs(
    run: Run, sandbox: Sandbox, text: str, date_off: int, requests_seen: int, hint: str
) -> None:
    body = {"error": "invalid_dpop_proof", "error_description": text}
    headers = {"date": formatdate(time.time() + date_off, usegmt=True)}
    sandbox.faults.add(Fault(wire.TOKEN, status(400, body, headers), times=None))
    result = run(GET_TOKEN)
    assert (result.returncode, result.stdout, len(sandbox.seen)) == (3, "", requests_seen)
    assert text in result.stderr
    assert hint in hint_of(result.stderr)
    assert "DPOP=" not in hint_of(result.stderr)


@pytest.mark.parametrize("code", ["invalid_request", "unauthorized_client"])
@pytest.mark.usefixtures("app")
def test_only_a_refused_proof_leads_to_a_proof(code: str, run: Run, sandbox: Sandbox) -> None:
    body = {"error": code, "error_description": "The DPoP proof JWT header is missing."}
    sandbox.faults.add(Fault(wire.TOKEN, status(400, body)))
    assert (run(GET_TOKEN).returncode, len(sandbox.seen)) == (3, 1)


# Output


@pytest.mark.parametrize("form", ["token", "header"])
@pytest.mark.parametrize("word", ["true", ""])
@pytest.mark.usefixtures("bound")
def test_form_in_which_the_token_is_useless_is_refused(
    env_with_key: EnvFile, run: Run, sandbox: Sandbox, word: str, form: str
) -> None:
    env_with_key.write(DPOP=word)
    result = run(GET_TOKEN, "-o", form)
    assert (result.returncode, result.stdout) == (1, "")
    assert HOW in result.stderr
    assert "eyJ" not in result.stderr
    assert len(sandbox.seen) == (0 if word else 3)


@pytest.mark.usefixtures("bound")
def test_json_has_the_thumbprint_of_a_new_key(run: Run, sandbox: Sandbox) -> None:
    first, result = run(GET_TOKEN, "-o", "json"), run(GET_TOKEN, "-o", "json")

    assert result.returncode == 0, result.stderr
    shown = json.loads(result.stdout)
    members = {"token_type", "expires_in", "expires_at", "access_token", "scope", "jkt"}
    assert shown.keys() == members
    assert (shown["token_type"], result.stderr.count("warning: ")) == ("DPoP", 1)
    assert HOW in result.stderr
    proven = ECKey.import_key(wire.header_of(wire.proofs_in(sandbox)[-1])["jwk"]).thumbprint()
    assert shown["jkt"] == wire.bare_claims(shown["access_token"])["cnf"]["jkt"] == proven
    assert shown["jkt"] != json.loads(first.stdout)["jkt"]


@pytest.mark.parametrize("method", ["DELETE", "delete", "Delete"])
@pytest.mark.usefixtures("bound")
def test_proof_is_bound_to_this_token_method_and_url(
    method: str, run: Run, sandbox: Sandbox, users: str
) -> None:
    result = run(GET_TOKEN, "-o", "header", "--for", method, f"{users}/00u1?sendEmail=true#x")

    assert result.returncode == 0, result.stderr
    assert wire.kinds_in(sandbox) == [wire.PROOF, wire.NONCE]
    headers = wire.headers_in(result.stdout)
    scheme, _, token = headers["Authorization"].partition(" ")
    claims, jwk = wire.claims_of(headers["DPoP"]), wire.header_of(headers["DPoP"])["jwk"]
    assert (scheme, claims["htm"], claims["htu"]) == ("DPoP", "DELETE", f"{users}/00u1")
    assert claims.keys() == {"htm", "htu", "iat", "jti", "ath"}
    assert ECKey.import_key(jwk).thumbprint() == wire.bare_claims(token)["cnf"]["jkt"]
    assert jwk == wire.header_of(wire.proofs_in(sandbox)[-1])["jwk"]
    assert claims["jti"] not in [wire.claims_of(proof)["jti"] for proof in wire.proofs_in(sandbox)]


@pytest.mark.parametrize("query", ["", "?limit=1"])
@pytest.mark.usefixtures("bound")
def test_header_lines_work_only_for_their_request_and_once(
    run: Run, sandbox: Sandbox, users: str, query: str
) -> None:
    def lines(method: str, path: str) -> dict[str, str]:
        result = run(GET_TOKEN, "-o", "header", "--for", method, f"{users}{path}{query}")
        assert (result.returncode, result.stderr) == (0, "")
        return wire.headers_in(result.stdout)

    ours, others = lines("GET", ""), lines("GET", "")
    assert list(ours) == ["Authorization", "DPoP"]
    refused = {
        "'htm' claim": lines("POST", ""),
        "'htu' claim": lines("GET", "/"),
        "'ath' claim": ours | {"DPoP": others["DPoP"]},
        "requires a DPoP proof": {"Authorization": ours["Authorization"]},
        "scheme": ours | {"Authorization": ours["Authorization"].replace("DPoP", "Bearer")},
    }
    for reason, headers in refused.items():
        assert reason in wire.call(sandbox, headers, target=wire.USERS + query).text
    for later, reason in ((400, "five minutes"), (-60, "in the future")):
        sandbox.org.clock = lambda later=later: time.time() + later
        assert reason in wire.call(sandbox, ours, target=wire.USERS + query).text
    sandbox.org.clock = time.time
    fresh = lines("GET", "")
    assert wire.call(sandbox, fresh, target=wire.USERS + query).status_code == 200
    assert "already been used" in wire.call(sandbox, fresh, target=wire.USERS + query).text
