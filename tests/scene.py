"""An org that create_okta_service_app.py has seen before, or that others have changed."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from conftest import CREATE_APP, SCOPES, EnvFile, Run
from cryptography.hazmat.primitives.asymmetric import rsa
from faults import Action, Fault, Sandbox, patch, status
from joserfc.jwk import RSAKey
from sandbox_requests import call, jwk_of

from pkj.sandbox.exchange import Response, management_refusal
from pkj.sandbox.state import Client

Jwk = dict[str, Any]
Result = subprocess.CompletedProcess[str]

HEADING = "/////////////////"
GRANTED = f"{HEADING} Scopes granted:\n\nokta.users.read\nokta.users.manage\n"
GONE = "0oaGoneForAWhileAlready"
INVALID_CLIENT = {"error": "invalid_client", "error_description": "Invalid client."}


def refused(code: int, error: str) -> Action:
    """Okta's refusal, and nothing was done."""
    return status(code, management_refusal(code, error, "No.").response.body)


FORBIDDEN = refused(403, "E0000006")


def instead(code: int, body: object = None) -> Action:
    """The org does its work, and this is the response."""
    return patch(lambda _: Response(code, body, {}))


def with_body(change: Callable[[Any], object]) -> Action:
    """The org's response with its body changed."""
    return patch(lambda response: Response(response.status, change(response.body)))


def changed(**members: object) -> Action:
    """The org's response with these members in its body."""
    return with_body(lambda body: body | members)


def listed(**members: object) -> Action:
    """A list of apps with these members in each, after something else; other responses as usual."""
    return with_body(
        lambda body: [None, *(app | members for app in body)] if isinstance(body, list) else body
    )


@dataclass
class Scene:
    """The org, the `.env` after generate_keys.py, and two keys; `ours` is the one in `.env`."""

    env: EnvFile
    run: Run
    sandbox: Sandbox
    ours: Jwk
    others: Jwk

    def create_app(self, *options: str, **more: Any) -> Result:
        return self.run(CREATE_APP, *options, **more)

    def ends(self, code: int, *options: str, **more: Any) -> Result:
        """Run create_okta_service_app.py, which must end with this exit code."""
        result = self.create_app(*options, **more)
        assert result.returncode == code, result.stderr
        return result

    def stops(self, code: int, *options: str, **more: Any) -> str:
        """Run it; it must end with this code and change nothing. Return what it says."""
        before = self.env.path.read_bytes()
        result = self.ends(code, *options, **more)
        assert (result.stdout, self.changes(), self.env.path.read_bytes()) == ("", [], before)
        return result.stderr

    def plant(self, *keys: Jwk, granted: str = "", roles: str = "", **changes: Any) -> Client:
        """Add an app to the org."""
        client = self.sandbox.org.add_client(changes.pop("name", "An app"), list(keys), **changes)
        client.grants.update({s: {"scopeId": s, "status": "ACTIVE"} for s in granted.split()})
        client.roles.update({role: {"type": role} for role in roles.split()})
        return client

    def named(self, *keys: Jwk, **changes: Any) -> Client:
        """Add an app, and put its ID into CLIENT_ID."""
        client = self.plant(*keys, **changes)
        self.env.write(CLIENT_ID=client.id)
        return client

    def settled(self, *others: Jwk, granted: str = SCOPES, **changes: Any) -> Client:
        """Add an app as a first run leaves it, with CLIENT_ID in `.env`."""
        return self.named(self.ours, *others, granted=granted, **changes)

    def keys(self, names: str) -> list[Jwk]:
        """The keys of these names, such as "ours others"."""
        return [{"ours": self.ours, "others": self.others}[name] for name in names.split()]

    def fault(self, match: str, action: Action, skip: int = 0, times: int | None = 1) -> None:
        self.sandbox.faults.add(Fault(match, action, skip, times))

    def meanwhile(self, match: str, act: Callable[[], object], times: int | None = 1) -> None:
        """Let something happen after the work for such a request, before its response."""

        def change(response: Response) -> Response:
            act()
            return response

        self.fault(match, patch(change), times=times)

    def printed(self, how: str, client: Client, *, saved: bool) -> str:
        """The output of a run that created or found this app, which then has all scopes."""
        shown = f"{client.id}  {client.metadata['client_name']}"
        if how == "created":
            body = call(self.sandbox.org, "GET", f"/oauth2/v1/clients/{client.id}").body
            shown = json.dumps(body, indent=2)
        app = f"{HEADING} Okta Service app {how}:\n\n{shown}\n\n"
        client_id = f"{HEADING} Setting CLIENT_ID in .env:\n\n{client.id}\n\n" if saved else ""
        return app + client_id + GRANTED

    def granted(self) -> list[str]:
        """The scopes and roles of all apps."""
        clients = self.sandbox.org.clients.values()
        return [name for client in clients for name in [*client.grants, *client.roles]]

    def sent(self) -> list[str]:
        return [f"{seen.request.method} {seen.request.target}" for seen in self.sandbox.seen]

    def changes(self) -> list[str]:
        return [request for request in self.sent() if not request.startswith("GET ")]

    def bodies(self, path: str = "/", method: str = "POST") -> list[Any]:
        """The JSON of the requests with this method to paths that begin so."""
        sent = [seen.request for seen in self.sandbox.seen if seen.request.body]
        sent = [r for r in sent if r.method == method and r.path.startswith(path)]
        return [json.loads(request.body) for request in sent]


def scene_of(
    env: EnvFile, run: Run, sandbox: Sandbox, key: rsa.RSAPrivateKey, other_key: rsa.RSAPrivateKey
) -> Scene:
    labels = {"use": "sig", "alg": "RS256"}
    kid = RSAKey.import_key(jwk_of(key)).thumbprint()  # by a second JOSE library
    others = jwk_of(other_key, kid="of-others", **labels)
    return Scene(env, run, sandbox, jwk_of(key, kid=kid, **labels), others)
