"""Step 3 of 3: sign a client assertion, and exchange it for an access token.

required, from .env or the environment: OKTA_URL, CLIENT_ID, PRIVATE_KEY, SCOPES
optional: DPOP; writes nothing

example: TOKEN=$(python get_access_token.py -o token)

exit codes: 0 done, 1 local error, 2 usage, 3 Okta refused,
4 no usable response; retry later, 130 interrupted
See README.md.
"""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from pkj import console

if TYPE_CHECKING:
    from pkj.env import Env


def main(env: Env, options: Namespace, out: console.Console) -> None:
    from pkj import keys, settings
    from pkj.okta.hints import CREATE_APP
    from pkj.okta.org import FOR_A_TOKEN
    from pkj.token.request import Client, TokenRequest, refuse_useless

    console.check_token_options(options)
    have = env.require("OKTA_URL", "CLIENT_ID", "PRIVATE_KEY", "SCOPES")
    scopes, dpop = settings.scopes(have["SCOPES"]), settings.dpop(env.get("DPOP"))
    client = Client(settings.client_id(have["CLIENT_ID"]), *keys.signing_key(env))
    org = settings.org(have, options, out.note, FOR_A_TOKEN)
    form, target = options.form or "text", None
    if options.target or options.check is not None:
        from pkj.token import check  # few runs need it

        target = check.target_of(options, org.url)
    if dpop:
        refuse_useless(form, target)

    token = TokenRequest(org, client, scopes, dpop, out.note).send()
    if missing := token.missing(scopes):
        out.note(f"warning: Okta did not grant {' '.join(missing)}: run `{CREATE_APP}` to grant it")
    if options.check:
        check.call(org, token, options.check, out)
        return
    printed = token.printed(form, target)
    if form == "text":
        out.heading(f"Access Token{' (DPoP)' if token.is_bound else ''}:")
    out.emit(printed)
    if remark := token.remark(form):
        out.note(remark)


if __name__ == "__main__":
    console.run(main, __doc__, console.add_token_options)
