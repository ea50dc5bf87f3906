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

from pkj import console


def add_options(parser: console.ArgumentParser) -> None:
    from pkj.options import add_app_options, add_network_options

    add_app_options(parser)
    add_network_options(parser)


def main(env: console.Env, options: console.Namespace, out: console.Console) -> None:
    from pkj import key_settings, settings
    from pkj.app import dpop as app_dpop
    from pkj.app import find as app_choice
    from pkj.app import grants
    from pkj.app import key as app_key
    from pkj.app import roles as admin_roles
    from pkj.errors import gathered

    have = env.require("OKTA_URL", "API_KEY", "SCOPES", "MODULUS or PRIVATE_KEY")
    wanted, roles = settings.scopes(have["SCOPES"]), settings.admin_roles(env.stored("ADMIN_ROLES"))
    public, bound = key_settings.public_key(env), settings.dpop(env.get("DPOP"))
    org = settings.org(have, options, out.note)

    app = app_choice.find_or_register(org, env.get("CLIENT_ID"), public, options.name, out)
    kid = app_key.converge(org, app, public, out)  # before an app that was found is written down
    written = app.id != env.get("CLIENT_ID") and not out.would("set CLIENT_ID in .env")
    if written:
        env.save({"CLIENT_ID": app.id})
    out.heading("Okta Service app created:" if app.new else "Okta Service app found:")
    out.say(app.as_json())
    if written:
        out.heading("Setting CLIENT_ID in .env:")
        out.say(app.id)
    key_settings.save_public(env, public, kid, out)
    app_dpop.converge(org, app, bound, out)
    with gathered("Okta refused a part of it") as refused:
        grants.converge(org, app, wanted, out, refused)
        admin_roles.converge(org, app, roles, out, refused)
    if not out.would_change:
        out.would("change nothing")


def step(env: console.Env, options: console.Namespace, out: console.Console) -> None:
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
