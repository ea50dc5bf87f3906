"""The access token: request it, show it, use it."""
