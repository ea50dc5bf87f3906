"""The service app at Okta: registering it, and what its answers may hold."""

import json
import re
from collections.abc import Mapping
from typing import Any

from pkj.answers import body_of, text_in
from pkj.env import Env
from pkj.errors import NoUsableAnswer, WrongHere
from pkj.okta import Org

NAME = "Private Key JWT Service App"

PLAIN = re.compile(r"(?=.*[A-Za-z0-9])[A-Za-z0-9._~+/=-]{1,512}")
"""What a server sends is stored in `.env` only in this form: the file is sourced by shells."""


def client_id(text: str) -> str:
    """CLIENT_ID, if it can be one. Raises WrongHere."""
    if PLAIN.fullmatch(text):
        return text
    problem = "CLIENT_ID has characters in it that no client id has"
    hint = "copy it again from Applications > the app, or empty it and run step 2"
    raise WrongHere(problem, hint, setting="CLIENT_ID")


def storable(what: str, text: str) -> str:
    """`text` of a server, if it may stand in `.env`. Raises NoUsableAnswer."""
    if PLAIN.fullmatch(text):
        return text
    raise NoUsableAnswer(
        f"{what} that came back has characters in it that .env must not hold",
        "check that OKTA_URL is your Okta org",
    )


def refuse_second(env: Env) -> None:
    """Raises WrongHere if the file names an app already."""
    if app := env.stored("CLIENT_ID"):
        problem = f"CLIENT_ID in {env.path} is {app} already: no second app is registered"
        raise WrongHere(problem, "empty CLIENT_ID for a new app", setting="CLIENT_ID")


def shown(app: Mapping[str, Any]) -> str:
    """The app as JSON, without the client secret that a service app should not have."""
    masked = {"client_secret": "[secret]"} if app.get("client_secret") else {}
    return json.dumps({**app, **masked}, indent=2, ensure_ascii=False)


def register(org: Org, name: str, jwk: Mapping[str, str]) -> dict[str, Any]:
    """Register a service app that authenticates with this public key; returns it as Okta does.

    POST /oauth2/v1/clients (developer.okta.com/docs/api/openapi/okta-oauth/oauth/tag/Client).
    Raises OktaRefused, NoUsableAnswer.
    """
    doing = "registering the app"
    answer = org.post(
        doing,
        "/oauth2/v1/clients",
        {
            "client_name": name,
            "application_type": "service",
            "grant_types": ["client_credentials"],
            "response_types": ["token"],
            "token_endpoint_auth_method": "private_key_jwt",
            "jwks": {"keys": [dict(jwk)]},
        },
    )
    app = body_of(doing, answer, dict)
    storable("the client id", text_in(doing, answer, app, "client_id"))
    return app
