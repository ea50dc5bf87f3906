"""What a second JOSE library reads in the requests that a sandbox has seen."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import requests
from faults import Action, Fault, Sandbox, patch
from joserfc import jws, jwt
from joserfc.jwk import ECKey

from pkj.sandbox.exchange import Response

TOKEN = "POST /oauth2/v1/token"  # noqa: S105 - a path
USERS = "/api/v1/users"
FUTURE = "The DPoP proof JWT is issued in the future."
TOO_OLD = "The DPoP proof JWT is issued more than five minutes in the past."
NEEDS_NONCE = "Authorization server requires nonce in DPoP proof."
BARE, PROOF, NONCE = "no proof", "a proof", "a proof with the nonce"

Body = dict[str, Any]


def header_of(proof: str) -> dict[str, Any]:
    return dict(jws.extract_compact(proof.encode()).headers())


def claims_of(proof: str) -> dict[str, Any]:
    """Return the claims of a proof, verified with the key in its own header."""
    return jwt.decode(proof, ECKey.import_key(header_of(proof)["jwk"]), algorithms=["ES256"]).claims


def bare_claims(signed: str) -> dict[str, Any]:
    """Return the claims of an assertion or a token, unverified."""
    return dict(json.loads(jws.extract_compact(signed.encode()).payload))


def proofs_in(sandbox: Sandbox) -> list[str]:
    """One for each request, empty where there was none."""
    return [seen.request.headers.get("dpop", "") for seen in sandbox.seen]


def kinds_in(sandbox: Sandbox) -> list[str]:
    claims = [claims_of(proof) if proof else None for proof in proofs_in(sandbox)]
    return [BARE if c is None else NONCE if "nonce" in c else PROOF for c in claims]


def check_token_requests(sandbox: Sandbox) -> None:
    """Every jti in assertions and proofs is new; the proofs are by one key, for this request."""
    forms = [parse_qs(seen.request.body.decode()) for seen in sandbox.seen]
    proofs = list(filter(None, proofs_in(sandbox)))
    jtis = [bare_claims(form["client_assertion"][0])["jti"] for form in forms]
    jtis += [claims_of(proof)["jti"] for proof in proofs]
    assert len(set(jtis)) == len(forms) + len(proofs)
    assert len({header_of(proof)["jwk"]["x"] for proof in proofs}) <= 1
    for claims in map(claims_of, proofs):
        assert (claims["htm"], claims["htu"]) == ("POST", f"{sandbox.url}/oauth2/v1/token")
        assert claims.keys() - {"nonce"} == {"htm", "htu", "iat", "jti"}


def told_by(sandbox: Sandbox) -> list[str]:
    """Fills with what the token endpoint says of each refusal."""
    told: list[str] = []

    def listen(response: Any) -> Response:
        told.extend(filter(None, [response.body.get("error_description")]))
        return response

    sandbox.faults.add(Fault(TOKEN, patch(listen), times=None))
    return told


def headers_in(stdout: str) -> dict[str, str]:
    """Return the headers in the lines of `-o header`."""
    lines = stdout.removesuffix("\n").split("\n")
    headers = dict(line.split(": ") for line in lines)
    assert len(headers) == len(lines)
    return headers


def call(
    sandbox: Sandbox, headers: dict[str, str], method: str = "GET", target: str = USERS
) -> requests.Response:
    """A request to the mock org's API, without the scripts."""
    with requests.Session() as session:
        session.trust_env, session.verify = False, sandbox.ca_file
        return session.request(method, sandbox.url + target, headers=headers, timeout=30)


def of_the_app(change: Callable[[Body], object]) -> Action:
    """The org's response, changed where it is an app as `/api/v1/apps/{id}` shows it."""

    def changed(response: Response) -> Response:
        if isinstance(response.body, dict) and "signOnMode" in response.body:
            change(response.body)  # a copy: see Org.answer
        return response

    return patch(changed)
