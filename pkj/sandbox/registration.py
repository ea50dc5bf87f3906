"""What `POST /oauth2/v1/clients` takes: metadata that a service app may have, and no other."""

from collections.abc import Callable, Mapping
from typing import Any

from pkj.sandbox.exchange import Refusal, oauth_refusal
from pkj.sandbox.state import service_app

SERVER_CHOSEN = ("client_id", "client_id_issued_at", "client_secret", "client_secret_expires_at")
LINKS = ("client_uri", "logo_uri", "policy_uri", "tos_uri")
# What Okta takes a missing field for; none of it fits a service app that signs assertions.
DEFAULTS = {
    "application_type": "web",
    "grant_types": ["authorization_code"],
    "response_types": ["code"],
    "token_endpoint_auth_method": "client_secret_basic",
}
RULES: dict[str, tuple[Callable[[object], bool], str]] = {
    "application_type": (
        lambda value: value == "service",
        "Only apps of type 'service' are registered here.",
    ),
    "grant_types": (
        lambda value: value == ["client_credentials"],
        "A 'service' app may have 'client_credentials' only.",
    ),
    "response_types": (
        lambda value: value in (None, [], ["token"]),
        "'client_credentials' allows 'token' only.",
    ),
    "token_endpoint_auth_method": (
        lambda value: value == "private_key_jwt",
        "A 'service' app for the org must use 'private_key_jwt'.",
    ),
    "redirect_uris": (
        lambda value: value in (None, []),
        "A 'service' app has no redirect URIs.",
    ),
}
KNOWN = {"client_name", "jwks", "jwks_uri", *LINKS, *RULES}


def metadata_refusal(name: str, reason: str) -> Refusal:
    """The OAuth shape, as in the example of Okta's specification."""
    return oauth_refusal(400, "invalid_client_metadata", f"`{name}`: {reason}")


def accepted_metadata(sent: Mapping[str, object]) -> dict[str, Any]:
    """The metadata of a new service app without its keys, in the order of Okta's answer."""
    _check_names(sent)
    name = _client_name(sent)
    for member, (holds, reason) in RULES.items():
        if not holds(sent.get(member, DEFAULTS.get(member))):
            raise metadata_refusal(member, reason)
    for member in LINKS:
        if not isinstance(sent.get(member), str | None):
            raise metadata_refusal(member, "The field must be a string.")
    _check_key_source(sent)
    metadata = service_app(name)
    metadata |= {key: sent[key] for key in (*LINKS, "jwks_uri") if sent.get(key) is not None}
    return metadata | {"response_types": sent["response_types"] or []}


def _check_names(sent: Mapping[str, object]) -> None:
    for name in sent:
        if name in SERVER_CHOSEN:
            raise metadata_refusal(name, "The field is chosen by the server.")
        if name not in KNOWN:
            raise metadata_refusal(name, "The field is not one that a 'service' app may have.")


def _client_name(sent: Mapping[str, object]) -> str:
    name = sent.get("client_name")
    if not isinstance(name, str) or not name.strip():
        raise metadata_refusal("client_name", "The field can't be left blank.")
    return name


def _check_key_source(sent: Mapping[str, object]) -> None:
    uri = sent.get("jwks_uri")
    if (uri is None) == (sent.get("jwks") is None):
        raise metadata_refusal("jwks", "Exactly one of 'jwks' and 'jwks_uri' must be given.")
    if uri is not None and not (isinstance(uri, str) and uri.startswith("https://")):
        raise metadata_refusal("jwks_uri", "The field must be an https URL.")
