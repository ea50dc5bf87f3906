"""The code behind the three scripts: .env, the key, requests to Okta, the app, the token."""

__version__ = "1.0.0"
