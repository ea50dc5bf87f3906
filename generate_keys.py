"""Step 1 of 3: generate an RSA key pair and save it in .env.

An existing key is never replaced, unless you pass --force.
writes: PRIVATE_KEY, PUBLIC_KEY, MODULUS, KEY_ID

example: python generate_keys.py --print-jwk

exit codes: 0 done, 1 local error, 2 usage, 130 interrupted. See README.md.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from pkj import console

if TYPE_CHECKING:
    from pkj.env import Env


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--bits", type=int, choices=(2048, 3072, 4096), help="default: 2048")
    what = "replace an existing key, after backing up the file to .env.previous"
    parser.add_argument("--force", action="store_true", help=what)
    what = "print the public key as a JWK, and change nothing"
    parser.add_argument("--print-jwk", action="store_true", help=what)


def main(env: Env, options: Namespace, out: console.Console) -> None:
    from pkj import keys

    if options.print_jwk:
        print_jwk(env, options, out)
        return
    with env.locked():
        if not options.force:
            keys.refuse_to_replace(env)
        key = keys.generate(options.bits or 2048)
        env.save(keys.settings_of(key), keep_copy=options.force)
    out.say(f"{console.HEADING} Keys generated and added to .env file.")
    if app := options.force and env.stored("CLIENT_ID"):
        out.note(f"run `python create_okta_service_app.py`: app {app} does not know the new key")


def print_jwk(env: Env, options: Namespace, out: console.Console) -> None:
    """Print the public key in the form that Okta's Admin Console accepts."""
    from pkj import errors, keys

    if options.force or options.bits:
        raise errors.UsageError("--print-jwk cannot be combined with --force or --bits")
    env.require("PRIVATE_KEY or MODULUS")
    public = keys.public_key(env)
    out.emit(json.dumps(keys.jwk(public.modulus, public.kid), indent=2))


if __name__ == "__main__":
    console.run(main, __doc__, add_options)
