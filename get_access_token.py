"""Step 3 of 3: sign a client assertion, trade it for an access token, print it.

needs: OKTA_URL, CLIENT_ID, PRIVATE_KEY, SCOPES, from .env or the environment; writes nothing

exit codes: 0 done, 1 something here is wrong, 2 usage, 3 Okta refused, 4 no usable answer
(a later run may cure it), 130 interrupted
"""

from __future__ import annotations

from pkj import console


def add_options(parser: console.ArgumentParser) -> None:
    from pkj.options import add_network_options

    forms = ("text", "token", "json", "header")
    parser.add_argument(
        "-o", choices=forms, default="text", dest="form", help="what to print (text)"
    )
    add_network_options(parser)


def main(env: console.Env, options: console.Namespace, out: console.Console) -> None:
    from pkj import access_token, key_settings, okta, scopes, service_app

    have = env.require("OKTA_URL", "CLIENT_ID", "PRIVATE_KEY", "SCOPES")
    wanted = scopes.read(have["SCOPES"])
    key, kid = key_settings.signing_key(env)
    client = access_token.Client(service_app.client_id(have["CLIENT_ID"]), key, kid)
    org = okta.org(have, timeout=options.timeout)

    token = access_token.ask(org, client, wanted)

    if options.form == "text":
        out.heading("Access Token:")
        out.note(f"it expires in {token.expires_in or 'an unknown number of'} seconds")
    out.emit(token.shown(options.form))
    if missing := token.missing(wanted):
        out.note(f"warning: Okta did not grant {' '.join(missing)}: run step 2 to grant it")


if __name__ == "__main__":
    console.run(main, __doc__, add_options)
