"""Step 2 of 3: register the public key as a service app in Okta and grant it SCOPES.

needs: OKTA_URL, API_KEY, SCOPES, and MODULUS or PRIVATE_KEY
writes: CLIENT_ID, and what follows from PRIVATE_KEY where only that is there

exit codes: 0 done, 1 something here is wrong, 2 usage, 3 Okta refused, 4 no usable answer
(a later run may cure it), 130 interrupted
"""

from __future__ import annotations

from pkj import console


def add_options(parser: console.ArgumentParser) -> None:
    name = "Private Key JWT Service App"
    parser.add_argument("--name", default=name, help=f"what the app is called ({name})")
    console.add_network_options(parser)


def main(env: console.Env, options: console.Namespace, out: console.Console) -> None:
    from pkj import grants, key_settings, keys, okta, org_url, scopes, service_app

    have = env.require("OKTA_URL", "API_KEY", "SCOPES", "MODULUS or PRIVATE_KEY")
    service_app.refuse_second(env)
    wanted = scopes.read(have["SCOPES"])
    public, same_key = key_settings.public_key(env), key_settings.unchanged(env)
    org = okta.Org(
        org_url.normal(have["OKTA_URL"]),
        api_key=okta.api_key(have["API_KEY"]),
        timeout=options.timeout,
    )

    app = service_app.register(org, options.name, keys.jwk(public.modulus, public.kid))
    env.save({"CLIENT_ID": app["client_id"]})
    env.save(public.unsaved, check=same_key)

    out.heading("Okta Service app created:")
    out.say(service_app.shown(app))
    out.heading("Setting CLIENT_ID in .env:")
    out.say(app["client_id"])
    out.heading("Scopes granted:")
    grants.grant_all(org, app["client_id"], wanted, out.say)


if __name__ == "__main__":
    console.run(main, __doc__, add_options)
