"""The service app in Okta: find or register it, and keep it as `.env` describes it."""
