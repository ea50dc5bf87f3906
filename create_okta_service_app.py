"""Step 2 of 3: register the public key with an Okta service app, grant SCOPES.

Changes only what differs from .env, and never creates a second app:
run it again at any time.
required: OKTA_URL, API_KEY, SCOPES, MODULUS or PRIVATE_KEY
optional: ADMIN_ROLES, DPOP; writes: CLIENT_ID, KEY_ID

example: python create_okta_service_app.py --dry-run

exit codes: 0 done, 1 local error, 2 usage, 3 Okta refused,
4 no usable response; retry later, 130 interrupted
README.md says more.
"""

from __future__ import annotations

from argparse import Namespace
from contextlib import nullcontext
from typing import TYPE_CHECKING

from pkj import console

if TYPE_CHECKING:
    from pkj.env import Env


def create(env: Env, options: Namespace, out: console.Console) -> None:
    from pkj import errors, keys, settings
    from pkj.app import dpop, dry_run, find, grants, key, roles, service_app

    have = env.require("OKTA_URL", "API_KEY", "SCOPES", "MODULUS or PRIVATE_KEY")
    wanted = service_app.wanted(env, options.name)
    org = settings.org(have, options, out.note)

    app = find.find(org, env.get("CLIENT_ID"), wanted, out)
    if options.dry_run:
        dry_run.show(org, env, app, wanted, out)
        return
    app = app or find.register(org, wanted, out)
    kid = key.ensure_key(org, app, wanted.public, out)  # before a found app is saved
    service_app.save(env, app, options, out)
    keys.save_public(env, wanted.public, kid)
    dpop.ensure_dpop(org, app, wanted.dpop, out)
    roles.warn_if_none(org, app, wanted.roles, out)
    with errors.gathered("Okta refused a part of it") as refused:
        grants.grant_missing(org, app, wanted.scopes, out, refused)
        roles.assign_missing(org, app, wanted.roles, out, refused)


def main(env: Env, options: Namespace, out: console.Console) -> None:
    from pkj.app import other_action

    act = other_action(options) or create
    with nullcontext() if options.dry_run else env.locked():
        act(env, options, out)


if __name__ == "__main__":
    console.run(main, __doc__, console.add_app_options)
