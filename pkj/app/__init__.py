"""The service app in Okta: find or register it, and keep it as `.env` describes it."""

from argparse import Namespace
from typing import TYPE_CHECKING

from pkj.errors import UsageError

if TYPE_CHECKING:
    from pkj.console import Step


def action_of(options: Namespace) -> "Step | None":
    """Return the action that an option of create_okta_service_app.py selects, if any.

    Raises UsageError for --yes if there is nothing to confirm. Each action is imported only if
    it is needed: rotation brings PyJWT.
    """
    if options.yes and not (options.delete or options.retire_old_keys):
        raise UsageError("--yes requires --delete or --retire-old-keys")
    if options.delete:
        from pkj.app.delete import delete_app

        return delete_app
    if options.rotate_key or options.retire_old_keys:
        from pkj.app.rotate import retire_old_keys, rotate_key

        return rotate_key if options.rotate_key else retire_old_keys
    return None
