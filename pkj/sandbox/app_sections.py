"""The parts of an app that the sandbox keeps but gives no meaning to."""

import copy

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
    """What a new app starts with; a copy that is the caller's own."""
    return copy.deepcopy(_NEW_APP)
