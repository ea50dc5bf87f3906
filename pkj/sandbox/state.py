"""What the mock org remembers, the settings that tests and `serve` change, and who may do what."""

import copy
import secrets
import string
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from pkj.sandbox.exchange import Refusal, Request, management_refusal

SUPER_ADMIN = "SUPER_ADMIN"
APP_ADMIN = "APP_ADMIN"
PRIVATE_KEY_JWT = "private_key_jwt"

USERS = [
    {"id": f"00u{'pretenduser':0<16}{number}", "status": "ACTIVE", "profile": {"login": login}}
    for number, login in enumerate(("ada@pretend.example", "alan@pretend.example"))
]

# The parts of an app that the mock org stores without interpreting them.
Sections = dict[str, dict[str, object]]
_NEW_APP: Sections = {
    "accessibility": {"selfService": False, "errorRedirectUrl": None, "loginRedirectUrl": None},
    "visibility": {
        "autoLaunch": False,
        "autoSubmitToolbar": False,
        "hide": {"iOS": True, "web": True},
        "appLinks": {"oidc_client_link": True},
    },
    "credentials": {
        "userNameTemplate": {"template": "${source.login}", "type": "BUILT_IN"},
        "signing": {"kid": "pretend-signing-kid"},
    },
    "oauth_credentials": {"autoKeyRotation": True, "pkce_required": False},
    "settings": {
        "app": {},
        "notifications": {
            "vpn": {"network": {"connection": "DISABLED"}, "message": None, "helpUrl": None}
        },
        "manualProvisioning": False,
        "implicitAssignment": False,
        "emOptInStatus": "NONE",
        "notes": {"admin": None, "enduser": None},
    },
    "oauth_settings": {
        "consent_method": "REQUIRED",
        "issuer_mode": "ORG_URL",
        "idp_initiated_login": {"mode": "DISABLED", "default_scope": []},
        "wildcard_redirect": "DISABLED",
        "participate_slo": False,
    },
}


def new_sections() -> Sections:
    """Return a copy of the sections of a new app."""
    return copy.deepcopy(_NEW_APP)


def new_id(prefix: str) -> str:
    """Return an ID in Okta's form: three letters and 17 alphanumerics."""
    return prefix + "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(17))


def timestamp(seconds: int) -> str:
    """Format POSIX seconds as Okta does."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def service_app(name: str) -> dict[str, Any]:
    """Return the metadata of an app as this flow needs it."""
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


def not_found(name: str, kind: str) -> Refusal:
    """Return 404 E0000007 as Okta words it for this `kind` of thing."""
    return management_refusal(404, "E0000007", f"Not found: Resource not found: {name} ({kind})")


@dataclass
class Client:
    """An app: `metadata` as registration shows it, without its `keys`, and what it was given.

    `unlisted` counts the list requests that still leave it out, `undeletable` the deletions
    that are still refused although it is deactivated.
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
    """A request, the IDs in its path, and the type of the admin who sent it, if any."""

    request: Request
    ids: tuple[str, ...] = ()
    admin: str = ""


class OrgState:
    """Everything that a mock org knows. It is gone when the process ends."""

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
        self.okta_domain = ""
        self.lenient_jwk = False
        self.signing_key = ec.generate_private_key(ec.SECP256R1())
        self.used_assertions: set[tuple[str, str]] = set()
        self.used_proofs: set[tuple[str, str]] = set()
        self.nonces: list[str] = []
        self.api_nonces: list[str] = []
        """DPoP nonces that the API accepts; while empty, it asks for none."""
        self.lock = threading.Lock()
        self._serial = 0
        self.new_nonce()

    def now(self) -> int:
        return int(self.clock())

    def new_nonce(self) -> str:
        """Issue another DPoP nonce from now on; earlier ones stay valid."""
        self.nonces.append("pretend-nonce-" + secrets.token_urlsafe(12))
        return self.nonces[-1]

    def client(self, call: Call) -> Client:
        """Return the client in the path of `/oauth2/v1/clients`; 404 E0000007 if there is none."""
        return self._found(call, "PublicClientApp")

    def app(self, call: Call) -> Client:
        """Return the app in the path of `/api/v1/apps`; AI agents (`wlp…`) are not apps."""
        if call.ids[0].startswith("wlp"):
            raise not_found(call.ids[0], "AppInstance")
        return self._found(call, "AppInstance")

    def _found(self, call: Call, kind: str) -> Client:
        if call.ids[0] not in self.clients:
            raise not_found(call.ids[0], kind)
        return self.clients[call.ids[0]]

    @property
    def issuer(self) -> str:
        """The issuer in grants: the org's own URL, even if `url` is a custom domain."""
        return self.okta_domain or self.url

    def add(
        self, metadata: dict[str, Any], keys: list[dict[str, Any]], prefix: str = "0oa"
    ) -> Client:
        """Store a new client; its keys are as shown later."""
        self._serial += 1
        now = self.now()
        client = Client(new_id(prefix), metadata, keys, now, self._serial, updated=now)
        self.clients[client.id] = client
        return client


# Who may do what (at Okta, only a super admin grants scopes and assigns roles).


def admin_type(org: OrgState, request: Request) -> str:
    """Return the admin type of the API token's owner; 401 E0000011 for an unknown token."""
    credentials = request.headers.get("authorization", "")
    if credentials.lower().startswith(("bearer ", "dpop ")):
        raise management_refusal(403, "E0000005", "Invalid session")
    # okta-sdk-python 3.4 writes no space between the two, and works with Okta.
    token = credentials.removeprefix("SSWS").strip()
    if not credentials.startswith("SSWS") or token not in org.api_keys:
        challenge = {"www-authenticate": "SSWS"}
        raise management_refusal(401, "E0000011", "Invalid token provided", headers=challenge)
    return org.api_keys[token]


def not_permitted() -> Refusal:
    """Return 403 E0000006, as recorded."""
    summary = "You do not have permission to perform the requested action"
    return management_refusal(403, "E0000006", summary)


def only_super(call: Call) -> None:
    """Refuse everyone who is not a super admin."""
    if call.admin != SUPER_ADMIN:
        raise not_permitted()


def may_change(call: Call, client: Client) -> None:
    """Let only a super admin change an app that has an admin role."""
    if client.roles:
        only_super(call)


def may_change_keys(call: Call, client: Client) -> None:
    """Let only a super admin change the keys of an app with roles or grants: keys give both."""
    if client.roles or client.grants:
        only_super(call)
