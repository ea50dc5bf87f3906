"""The access token: request it, show it, use it."""

from typing import TYPE_CHECKING

__all__ = ["OktaAuth"]

if TYPE_CHECKING:
    from pkj.token.auth import OktaAuth
else:

    def __getattr__(name: str) -> object:
        # Only on demand (PEP 562): the scripts import this package and do not need it.
        if name == "OktaAuth":
            from pkj.token.auth import OktaAuth

            return OktaAuth
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
