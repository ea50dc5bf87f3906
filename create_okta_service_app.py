"""Step 2 of 3: register the public key with an Okta service app, grant SCOPES.

Changes only what differs from .env, and never creates a second app:
run it again at any time.
required: OKTA_URL, API_KEY, SCOPES, MODULUS or PRIVATE_KEY
optional: ADMIN_ROLES, DPOP
writes: CLIENT_ID, KEY_ID

example: python create_okta_service_app.py --dry-run

exit codes: 0 done, 1 local error, 2 usage, 3 Okta refused,
4 no usable response; retry later, 130 interrupted
README.md says more.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from pkj import console

if TYPE_CHECKING:
    from pkj.console import Console
    from pkj.env import Env


def add_options(parser: ArgumentParser) -> None:
    console.add_app_options(parser)
    console.add_network_options(parser)


def main(env: Env, options: Namespace, out: Console) -> None:
    from pkj import keys, settings
    from pkj.app.dpop import ensure_dpop
    from pkj.app.find import find_or_register
    from pkj.app.grants import grant_missing
    from pkj.app.key import ensure_key
    from pkj.app.roles import assign_missing
    from pkj.errors import gathered

    have = env.require("OKTA_URL", "API_KEY", "SCOPES", "MODULUS or PRIVATE_KEY")
    wanted, roles = settings.scopes(have["SCOPES"]), settings.admin_roles(env.stored("ADMIN_ROLES"))
    public, bound = keys.public_key(env), settings.dpop(env.get("DPOP"))
    org = settings.org(have, options, out.note)

    app = find_or_register(org, env.get("CLIENT_ID"), public, options.name, out)
    kid = ensure_key(org, app, public, out)  # before an app that was found is written down
    written = app.id != env.get("CLIENT_ID") and not out.would("set CLIENT_ID in .env")
    if written:
        env.save({"CLIENT_ID": app.id})
    out.heading("Okta Service app created:" if app.new else "Okta Service app found:")
    out.say(app.as_json())
    if written:
        out.heading("Setting CLIENT_ID in .env:")
        out.say(app.id)
    keys.save_public(env, public, kid, out)
    ensure_dpop(org, app, bound, out)
    with gathered("Okta refused a part of it") as refused:
        grant_missing(org, app, wanted, out, refused)
        assign_missing(org, app, roles, out, refused)
    if not out.would_change:
        out.would("change nothing")


def step(env: Env, options: Namespace, out: Console) -> None:
    from contextlib import nullcontext

    from pkj.app import delete as app_deletion

    out.dry_run = options.dry_run
    act = app_deletion.step if app_deletion.is_meant(options) else main
    if options.rotate_key or options.retire_old_keys:
        from pkj.app import retire, rotate

        act = rotate.step if options.rotate_key else retire.step
    with nullcontext() if options.dry_run else env.locked():
        act(env, options, out)


if __name__ == "__main__":
    console.run(step, __doc__, add_options)
