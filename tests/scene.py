"""An org that step 2 has seen before, or that others have been at."""

import json
import subprocess
from dataclasses import dataclass
from typing import Any

from conftest import SCOPES, STEP_2, EnvFile, Run
from cryptography.hazmat.primitives.asymmetric import rsa
from faults import Sandbox
from joserfc.jwk import RSAKey
from sandbox_requests import call, jwk_of

from pkj.sandbox.state import Client

Jwk = dict[str, Any]


@dataclass
class Scene:
    """The org, the `.env` after step 1, and two keys, of which `ours` is the one in `.env`."""

    env: EnvFile
    run: Run
    sandbox: Sandbox
    ours: Jwk
    others: Jwk

    def step_2(self, *options: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return self.run(STEP_2, *options, **more)

    def plant(self, *keys: Jwk, granted: str = "", roles: str = "", **changes: Any) -> Client:
        """An app that the org has already."""
        name = changes.pop("name", "An app")
        client = self.sandbox.org.add_client(name, list(keys), **changes)
        for scope in granted.split():
            self.post(f"/api/v1/apps/{client.id}/grants", issuer=self.sandbox.url, scopeId=scope)
        for role in roles.split():
            self.post(f"/oauth2/v1/clients/{client.id}/roles", type=role)
        return client

    def settled(self, *others: Jwk, granted: str = SCOPES, **changes: Any) -> Client:
        """An app as a first run leaves it, with CLIENT_ID in `.env`."""
        client = self.plant(self.ours, *others, granted=granted, **changes)
        self.env.write(CLIENT_ID=client.id)
        return client

    def post(self, path: str, **body: object) -> None:
        assert call(self.sandbox.org, "POST", path, body).status in (200, 201)

    def shown(self, client: Client) -> str:
        answer = call(self.sandbox.org, "GET", f"/oauth2/v1/clients/{client.id}")
        return json.dumps(answer.body, indent=2)

    def sent(self) -> list[str]:
        return [f"{seen.request.method} {seen.request.target}" for seen in self.sandbox.seen]

    def changes(self) -> list[str]:
        return [request for request in self.sent() if not request.startswith("GET ")]

    def bodies(self) -> list[Any]:
        requests = [seen.request for seen in self.sandbox.seen]
        return [json.loads(r.body) for r in requests if r.method == "POST" and r.body]


def scene_of(
    env: EnvFile, run: Run, sandbox: Sandbox, key: rsa.RSAPrivateKey, other_key: rsa.RSAPrivateKey
) -> Scene:
    labels = {"use": "sig", "alg": "RS256"}
    kid = RSAKey.import_key(jwk_of(key)).thumbprint()  # by a second JOSE library
    others = jwk_of(other_key, kid="of-others", **labels)
    return Scene(env, run, sandbox, jwk_of(key, kid=kid, **labels), others)
