"""What the mock org remembers, and the settings that tests and the command line flip."""

import secrets
import string
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from pkj.sandbox.app_sections import Sections, new_sections
from pkj.sandbox.exchange import Request, management_refusal

SUPER_ADMIN = "SUPER_ADMIN"
APP_ADMIN = "APP_ADMIN"
PRIVATE_KEY_JWT = "private_key_jwt"
APP = "AppInstance"
AGENT = "wlp"
"""How the id of an AI agent's client begins: `/api/v1/apps` does not know it."""

USERS = [
    {"id": f"00u{'pretenduser':0<16}{number}", "status": "ACTIVE", "profile": {"login": login}}
    for number, login in enumerate(("ada@pretend.example", "alan@pretend.example"))
]


def new_id(prefix: str) -> str:
    """An id in Okta's form: three letters and 17 alphanumerics."""
    return prefix + "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(17))


def timestamp(seconds: int) -> str:
    """POSIX seconds as Okta writes a moment."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def service_app(name: str) -> dict[str, Any]:
    """The metadata of an app as this flow needs it."""
    return {
        "client_name": name,
        "client_uri": None,
        "logo_uri": None,
        "redirect_uris": [],
        "response_types": ["token"],
        "grant_types": ["client_credentials"],
        "token_endpoint_auth_method": PRIVATE_KEY_JWT,
        "application_type": "service",
    }


@dataclass
class Client:
    """An app. `metadata` is what registration knows of it but its keys; keys as Okta shows them.

    `unlisted` and `undeletable` count the list requests that leave it out, and the deletions
    that are refused although it is deactivated.
    """

    id: str
    metadata: dict[str, Any]
    keys: list[dict[str, Any]]
    created: int
    serial: int
    grants: dict[str, dict[str, Any]] = field(default_factory=dict)
    roles: dict[str, dict[str, Any]] = field(default_factory=dict)
    status: str = "ACTIVE"
    dpop_bound: bool = False
    updated: int = 0
    unlisted: float = 0
    undeletable: int = 0
    sections: Sections = field(default_factory=new_sections)


@dataclass(frozen=True)
class Call:
    """A request on its way to a rule: the ids in its path, and which admin asks, if one does."""

    request: Request
    ids: tuple[str, ...] = ()
    admin: str = ""


class OrgState:
    """Everything that one mock org knows. It is gone when the process ends."""

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], float] = time.time,
        role_needed: bool = True,
        require_dpop: bool = False,
        api_key: str = "",
    ) -> None:
        """`url` has no path and no trailing slash; `clock` gives POSIX seconds."""
        self.url = url
        self.clock = clock
        self.role_needed = role_needed
        self.require_dpop = require_dpop
        self.api_key = api_key or "00pretend" + secrets.token_urlsafe(24)
        self.api_keys: dict[str, str] = {self.api_key: SUPER_ADMIN}
        self.clients: dict[str, Client] = {}
        self.users: list[dict[str, Any]] = [dict(user) for user in USERS]
        self.max_apps: int | None = None
        self.page_limit = 200
        self.list_shows_keys = True
        self.list_lag: float = 0
        self.deactivation_lag = 0
        self.duplicate_grant_status = 409
        self.okta_domain = ""
        self.lenient_jwk = False
        self.refused_scopes: set[str] = set()
        self.signing_key = ec.generate_private_key(ec.SECP256R1())
        self.used_assertions: set[tuple[str, str]] = set()
        self.used_proofs: set[tuple[str, str]] = set()
        self.nonces: list[str] = []
        self.api_nonces: list[str] = []
        """DPoP nonces that the API accepts; it asks for none while this is empty."""
        self.lock = threading.Lock()
        self._serial = 0
        self.new_nonce()

    def now(self) -> int:
        return int(self.clock())

    def new_nonce(self) -> str:
        """Begin to hand out another DPoP nonce; the earlier ones stay valid."""
        self.nonces.append("pretend-nonce-" + secrets.token_urlsafe(12))
        return self.nonces[-1]

    def forget_nonces(self) -> str:
        """Make every nonce that was handed out invalid, and begin another one."""
        self.nonces.clear()
        return self.new_nonce()

    def client(self, client_id: str, kind: str) -> Client:
        """The client of this id, or 404 E0000007 as Okta words it for this `kind` of thing."""
        unknown_app = kind == APP and client_id.startswith(AGENT)
        if client_id not in self.clients or unknown_app:
            summary = f"Not found: Resource not found: {client_id} ({kind})"
            raise management_refusal(404, "E0000007", summary)
        return self.clients[client_id]

    @property
    def issuer(self) -> str:
        """The URL that grants are made for: the org's own, also where `url` is a custom domain."""
        return self.okta_domain or self.url

    def add(
        self, metadata: dict[str, Any], keys: list[dict[str, Any]], prefix: str = "0oa"
    ) -> Client:
        """Keep a new client; its keys are as they will be shown."""
        self._serial += 1
        now = self.now()
        client = Client(new_id(prefix), metadata, keys, now, self._serial, updated=now)
        self.clients[client.id] = client
        return client
