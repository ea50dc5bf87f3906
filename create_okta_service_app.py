"""Step 2 of 3: register the public key with an Okta service app, and grant SCOPES.

Run it again at any time: it only changes what differs from .env.
required: OKTA_URL, API_KEY, SCOPES, MODULUS or PRIVATE_KEY
optional: ADMIN_ROLES, DPOP
writes: CLIENT_ID, KEY_ID; PUBLIC_KEY and MODULUS if they are missing

example: python create_okta_service_app.py --dry-run

exit codes: 0 done, 1 local error, 2 usage, 3 Okta refused,
4 no usable response; retry later, 130 interrupted
See README.md.
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
    kid = key.ensure_key(org, app, wanted.public, out)  # may refuse the app: before it is saved
    service_app.save_and_show(env, app, out, in_full=options.verbose or options.explain)
    keys.save_public(env, wanted.public, kid)
    dpop.ensure_dpop(org, app, wanted.dpop, out)
    roles.warn_if_none(org, app, wanted.roles, out)
    with errors.gathered("Okta refused part of this") as refused:
        grants.grant_missing(org, app, wanted.scopes, out, refused)
        roles.assign_missing(org, app, wanted.roles, out, refused)


def main(env: Env, options: Namespace, out: console.Console) -> None:
    from pkj.app import action_of

    act = action_of(options) or create
    with nullcontext() if options.dry_run else env.locked():
        act(env, options, out)


if __name__ == "__main__":
    console.run(main, __doc__, console.add_app_options)
