"""The service app in Okta: what it must be, how it is fetched and registered."""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from pkj import keys, settings
from pkj.console import Console
from pkj.env import Env
from pkj.errors import NoUsableResponse, OktaRefused
from pkj.keys import PublicKey
from pkj.masking import shortened
from pkj.okta.org import Org
from pkj.okta.responses import text_in, written
from pkj.settings import CLIENT_ID, PLAIN

NOT_AN_APP, DEACTIVATED = "is not an app, such as an AI agent", "is deactivated"


class Wanted(NamedTuple):
    """What `.env` asks of the app; `dpop` is None if either will do, `name` is for a new app."""

    public: PublicKey
    scopes: list[str]
    roles: list[str]
    dpop: bool | None
    name: str | None


class ServiceApp(NamedTuple):
    """An app as Okta shows it in `shown`.

    `new` says that this run registered it, `adopted` that it was found by its key rather than
    named in CLIENT_ID.
    """

    id: str
    shown: Mapping[str, Any]
    new: bool = False
    adopted: bool = False

    @property
    def name(self) -> str:
        """Its name, in one line whatever the org holds."""
        return shortened(str(self.shown.get("client_name") or "(without a name)"), 100)

    @property
    def api_path(self) -> str:
        return f"/api/v1/apps/{quote(self.id, safe='')}"

    @property
    def client_path(self) -> str:
        return client_path(self.id)

    def as_json(self) -> str:
        """Return what Okta shows, with a client secret masked, which a service app should not
        have. Raises NoUsableResponse."""
        masked = {"client_secret": "[secret]"} if self.shown.get("client_secret") else {}
        text = written(f"reading the app {self.id}", {**self.shown, **masked})
        # Otherwise the console would escape what is not printable, but not as JSON does.
        return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def wanted(env: Env, name: str | None) -> Wanted:
    """Return what the settings ask for. Raises LocalError."""
    return Wanted(
        keys.public_key(env),
        settings.scopes(env.get("SCOPES") or ""),
        settings.admin_roles(env.stored("ADMIN_ROLES")),
        settings.dpop(env.get("DPOP")),
        name,
    )


def save_and_show(env: Env, app: ServiceApp, out: Console, *, in_full: bool) -> None:
    """Save CLIENT_ID, and print the app: in full if it is new or `in_full`, or its ID and name."""
    changed = app.id != env.get("CLIENT_ID")
    if changed:
        env.save({"CLIENT_ID": app.id})
    out.heading(f"Okta Service app {'created' if app.new else 'found'}:")
    out.say(app.as_json() if app.new or in_full else f"{app.id}  {app.name}")
    if changed:
        out.heading("Setting CLIENT_ID in .env:")
        out.say(app.id)


def client_path(client_id: str) -> str:
    """Return where registration keeps the client of this id."""
    return f"/oauth2/v1/clients/{quote(client_id, safe='')}"


def register_app(org: Org, name: str, modulus: int, kid: str) -> ServiceApp:
    """Register a service app that authenticates with this public key.

    POST /oauth2/v1/clients (developer.okta.com/docs/api/openapi/okta-oauth/oauth/tag/Client).
    Raises OktaRefused, NoUsableResponse, and LostResponse if the app may exist all the same.
    """
    doing = "registering the app"
    body = {
        "client_name": name,
        "application_type": "service",
        "grant_types": ["client_credentials"],
        "response_types": ["token"],
        "token_endpoint_auth_method": "private_key_jwt",
        "jwks": {"keys": [keys.jwk(modulus, kid)]},
    }
    response = org.post(doing, "/oauth2/v1/clients", body, repeat=False)
    app = app_of(doing, response.object())
    # The response to this request is not on record, and may lack the keys.
    shown = app.shown if keys_in(app.shown) else shown_by(org, doing, app.id) or {}
    held = keys_in(shown)
    if not held or not all(is_key(key, modulus) for key in held):
        raise response.unusable(f"the app {app.id} does not hold the key that was sent")
    return app._replace(new=True)


def fetch(org: Org, client_id: str) -> ServiceApp | None:
    """Return the app of this id, None if there is none. Raises OktaRefused, NoUsableResponse."""
    doing = f"reading the app {client_id}"
    shown = shown_by(org, doing, client_id)
    return None if shown is None else app_of(doing, shown)


def shown_by(org: Org, doing: str, client_id: str) -> dict[str, Any] | None:
    """Return what registration shows of the client of this id, None if there is none."""
    try:
        response = org.get(doing, client_path(client_id))
        shown = response.object()
    except OktaRefused as error:
        # Okta has answered both ways for an unknown id (contract of GET /oauth2/v1/clients/{id}).
        if error.status == 404 or (error.status == 401 and error.code == "invalid_client"):
            return None
        raise
    if text_in(doing, shown, "client_id") != client_id:
        raise response.unusable(f"{org.host} responded with another app than {client_id}")
    return shown


def app_of(doing: str, shown: Mapping[str, Any]) -> ServiceApp:
    """Return the app as registration shows it. Raises NoUsableResponse for an unusable id."""
    client_id = text_in(doing, shown, "client_id")
    return ServiceApp(storable(doing, "the client ID", client_id, CLIENT_ID), shown)


def storable(doing: str, what: str, text: str, pattern: str = PLAIN) -> str:
    """Return the text of a server if it may be saved in `.env`. Raises NoUsableResponse."""
    if re.fullmatch(pattern, text):
        return text
    raise NoUsableResponse(
        f"{doing}: {what} in the response contains characters that .env must not hold",
        "check that OKTA_URL is your Okta org",
    )


def keys_in(shown: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the keys in an app as registration shows it."""
    jwks = shown.get("jwks")
    listed = jwks.get("keys") if isinstance(jwks, dict) else None
    return [key for key in listed if isinstance(key, dict)] if isinstance(listed, list) else []


def may_hide_keys(shown: Mapping[str, Any]) -> bool:
    """Return whether the app may have keys although a list shows none."""
    uses_key = shown.get("token_endpoint_auth_method") in (None, "private_key_jwt")
    return uses_key and not keys_in(shown) and not shown.get("jwks_uri")


def is_key(jwk: Mapping[str, Any], modulus: int) -> bool:
    """Return whether a JWK at Okta is the RSA key of this modulus with the exponent 65537."""
    n, e = jwk.get("n"), jwk.get("e")
    if jwk.get("kty") != "RSA" or not isinstance(n, str) or not isinstance(e, str):
        return False
    return keys.from_base64url(n) == modulus and keys.from_base64url(e) == keys.EXPONENT


def unfit(org: Org, app: ServiceApp) -> str | None:
    """Return why the app cannot be used in this flow, None if it can. Reads its status."""
    if reason := of_another_kind(app):
        return reason
    if app.shown.get("jwks_uri"):
        return "gets its keys from a jwks_uri"
    doing = f"reading the status of the app {app.id}"
    try:
        status = org.get(doing, app.api_path).object().get("status", "ACTIVE")
    except OktaRefused as error:
        # The list has AI agents too (ids that begin with wlp), which are clients but not apps.
        if error.status == 404:
            return NOT_AN_APP
        raise
    return None if status == "ACTIVE" else DEACTIVATED


def of_another_kind(app: ServiceApp) -> str | None:
    """Return why the app is not of the kind that is registered here, None if it is."""
    if app.shown.get("application_type") != "service":
        return "is not a service app"
    if app.shown.get("token_endpoint_auth_method") != "private_key_jwt":
        return "does not authenticate with private_key_jwt"
    return None
