"""Step 3 of 3: sign a client assertion, exchange it for an access token.

required, from .env or the environment: OKTA_URL, CLIENT_ID, PRIVATE_KEY, SCOPES
optional: DPOP; writes nothing

example: TOKEN=$(python get_access_token.py -o token)

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
    console.add_token_options(parser)
    console.add_network_options(parser)


def main(env: Env, options: Namespace, out: Console) -> None:
    from pkj import keys, settings
    from pkj.okta.org import FOR_A_TOKEN
    from pkj.token import check as api_check
    from pkj.token.request import USELESS, Client, TokenRequest

    api_check.check_usage(options.form, options.target, options.check)
    have = env.require("OKTA_URL", "CLIENT_ID", "PRIVATE_KEY", "SCOPES")
    wanted, bound = settings.scopes(have["SCOPES"]), settings.dpop(env.get("DPOP"))
    client = Client(settings.client_id(have["CLIENT_ID"]), *keys.signing_key(env))
    org = settings.org(have, options, out.note, FOR_A_TOKEN)
    if options.target or options.check:
        url = options.target[1] if options.target else org.url + options.check
        api_check.check_url(url, org.url)
    form, target = options.form or "text", options.target
    if target:
        target[0] = target[0].upper()
    if bound:
        api_check.refuse_bound(form, target)

    token = TokenRequest(org, client, wanted, bound, out.note).send()

    if missing := token.missing(wanted):
        grant = "run `python create_okta_service_app.py` to grant it"
        out.note(f"warning: Okta did not grant {' '.join(missing)}: {grant}")
    if options.check:
        api_check.call(org, token, options.check, out)
        return
    if token.is_bound:
        api_check.refuse_bound(form, target)
    if form == "json" and token.is_bound:
        out.note(f"warning: {USELESS}")
    if form == "text":
        out.heading(f"Access Token{' (DPoP)' if token.is_bound else ''}:")
        out.note(token.remarks())
    out.emit(token.printed(form, target))


if __name__ == "__main__":
    console.run(main, __doc__, add_options)
