"""The service app at Okta: what it has to be, how it is fetched, searched for, registered."""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from pkj import keys
from pkj.errors import NoUsableResponse, OktaRefused
from pkj.masking import shortened
from pkj.okta.hints import CURES, OTHER_ANSWER
from pkj.okta.org import Org
from pkj.okta.responses import body_of, text_in
from pkj.settings import CLIENT_ID, PLAIN

NOT_AN_APP, DEACTIVATED = "is not an app, such as an AI agent", "is deactivated"


class ServiceApp(NamedTuple):
    """An app as Okta describes it in `shown`.

    `new` says that this run registered it, `adopted` that it was found by its key: nobody
    has named it in CLIENT_ID.
    """

    id: str
    shown: Mapping[str, Any]
    new: bool = False
    adopted: bool = False

    @property
    def name(self) -> str:
        """What people call it, in one line whatever the org holds."""
        return shortened(str(self.shown.get("client_name") or "(without a name)"), 100)

    @property
    def api_path(self) -> str:
        return f"/api/v1/apps/{quote(self.id, safe='')}"

    @property
    def client_path(self) -> str:
        return client_path(self.id)

    def as_json(self) -> str:
        """What Okta shows, without the client secret that a service app should not have."""
        masked = {"client_secret": "[secret]"} if self.shown.get("client_secret") else {}
        text = json.dumps({**self.shown, **masked}, indent=2, ensure_ascii=False)
        # What is not printable would be escaped on its way out, and not as JSON does it.
        return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def may_hide_keys(shown: Mapping[str, Any]) -> bool:
    """Whether the app may have keys although a list shows none."""
    uses_key = shown.get("token_endpoint_auth_method") in (None, "private_key_jwt")
    return uses_key and not keys_in(shown) and not shown.get("jwks_uri")


def client_path(client_id: str) -> str:
    """Where registration keeps the client of this id."""
    return f"/oauth2/v1/clients/{quote(client_id, safe='')}"


def storable(doing: str, what: str, text: str, pattern: re.Pattern[str] = PLAIN) -> str:
    """`text` of a server, if it may stand in `.env`. Raises NoUsableResponse."""
    if pattern.fullmatch(text):
        return text
    raise NoUsableResponse(
        f"{doing}: {what} in the response contains characters that .env must not hold",
        "check that OKTA_URL is your Okta org",
    )


def register(org: Org, name: str, modulus: int, kid: str) -> ServiceApp:
    """Register a service app that authenticates with this public key.

    POST /oauth2/v1/clients (developer.okta.com/docs/api/openapi/okta-oauth/oauth/tag/Client).
    Raises OktaRefused, NoUsableResponse, and LostResponse where the app may exist all the same.
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
    answer = org.post(doing, "/oauth2/v1/clients", body, repeat=False)
    app = app_of(doing, body_of(doing, answer, dict))
    # No response to this request is on record: one without keys is no reason to give up.
    shown = app.shown if keys_in(app.shown) else shown_by(org, doing, app.id) or {}
    held = keys_in(shown)
    if not held or not all(is_key(key, modulus) for key in held):
        problem = f"{doing}: the app {app.id} that came back does not hold the key that was sent"
        raise NoUsableResponse(problem, CURES[OTHER_ANSWER])
    return app._replace(new=True)


def fetch(org: Org, client_id: str) -> ServiceApp | None:
    """The app of this id, None if the org has none. Raises OktaRefused, NoUsableResponse."""
    doing = f"reading the app {client_id}"
    shown = shown_by(org, doing, client_id)
    return None if shown is None else app_of(doing, shown)


def keys_in(shown: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The keys in an app as registration shows it."""
    jwks = shown.get("jwks")
    listed = jwks.get("keys") if isinstance(jwks, dict) else None
    return [key for key in listed if isinstance(key, dict)] if isinstance(listed, list) else []


def is_key(jwk: Mapping[str, Any], modulus: int) -> bool:
    """Whether a JWK as Okta shows it is the RSA key of this modulus with the exponent 65537."""
    n, e = jwk.get("n"), jwk.get("e")
    if jwk.get("kty") != "RSA" or not isinstance(n, str) or not isinstance(e, str):
        return False
    return keys.from_base64url(n) == modulus and keys.from_base64url(e) == keys.EXPONENT


def unfit(org: Org, app: ServiceApp) -> str | None:
    """Why the app cannot be used in this flow, None if it can. Reads its status."""
    if reason := of_another_kind(app):
        return reason
    if app.shown.get("jwks_uri"):
        return "takes its keys from a jwks_uri"
    doing = f"reading the status of the app {app.id}"
    try:
        status = body_of(doing, org.get(doing, app.api_path), dict).get("status", "ACTIVE")
    except OktaRefused as error:
        # The list has AI agents too (ids that begin with wlp), which are clients but not apps.
        if error.status == 404:
            return NOT_AN_APP
        raise
    return None if status == "ACTIVE" else DEACTIVATED


def of_another_kind(app: ServiceApp) -> str | None:
    """Why the app is not of the kind that is registered here, None if it is."""
    if app.shown.get("application_type") != "service":
        return "is not a service app"
    if app.shown.get("token_endpoint_auth_method") != "private_key_jwt":
        return "does not authenticate with private_key_jwt"
    return None


def shown_by(org: Org, doing: str, client_id: str) -> dict[str, Any] | None:
    """What registration shows of the client of this id, None if it has none."""
    try:
        shown = body_of(doing, org.get(doing, client_path(client_id)), dict)
    except OktaRefused as error:
        # Okta has answered both ways for an unknown id (contract of GET /oauth2/v1/clients/{id}).
        if error.status == 404 or (error.status == 401 and error.code == "invalid_client"):
            return None
        raise
    if text_in(doing, shown, "client_id") != client_id:
        problem = f"{doing}: {org.host} answered with another app than {client_id}"
        raise NoUsableResponse(problem, CURES[OTHER_ANSWER])
    return shown


def app_of(doing: str, shown: Mapping[str, Any]) -> ServiceApp:
    """The app that registration shows. Raises NoUsableResponse for an id that cannot be stored."""
    client_id = text_in(doing, shown, "client_id")
    return ServiceApp(storable(doing, "the client ID", client_id, CLIENT_ID), shown)
