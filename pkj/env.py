"""The `.env` file as the state between the steps: require some values, save some values."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from pkj import env_file, env_text
from pkj.errors import WrongHere

BESIDE_THE_SCRIPTS = Path(__file__).resolve().parent.parent / ".env"

WHO_WRITES = {
    "OKTA_URL": "you write it: https://{your_okta_domain}",
    "API_KEY": "you write it: an Okta API token of a Super Admin",
    "SCOPES": "you write it: scopes separated by spaces, in quotes",
    "PRIVATE_KEY": "written by generate_keys.py",
    "PUBLIC_KEY": "written by generate_keys.py",
    "MODULUS": "written by generate_keys.py",
    "KEY_ID": "written by generate_keys.py",
    "CLIENT_ID": "written by create_okta_service_app.py",
    "ADMIN_ROLES": "you may write it: admin role types of the app, separated by spaces",
    "DPOP": "you may write it: true or false, whether tokens are bound to a key",
}
"""Every name in `.env`, and where its value comes from."""

OPEN_QUOTE = "most often a quote is not closed there"


def unchecked(stored: Mapping[str, str]) -> None:
    """A `check` for `Env.save` that lets everything pass."""


class Env:
    """The settings: the process environment where it has a value, else the file.

    `path` need not exist; `explicit` says that the user named it. `note` takes a line for
    people. An empty value counts as absent everywhere. The environment is never written.
    """

    def __init__(
        self,
        path: Path,
        environ: Mapping[str, str],
        note: Callable[[str], None],
        *,
        explicit: bool = False,
    ) -> None:
        self.path, self._environ, self._note, self._explicit = path, environ, note, explicit
        self._values: dict[str, str] | None = None
        self.from_environment: set[str] = set()
        """Names whose value was asked for and came from there."""

    def stored(self, name: str) -> str | None:
        """The value in the file, whatever the environment says."""
        return self._stored().get(name) or None

    def all_stored(self) -> Mapping[str, str]:
        """Every value in the file; what a `check` is given."""
        return self._stored()

    def get(self, name: str) -> str | None:
        if value := self._environ.get(name):
            self.from_environment.add(name)
            return value
        return self.stored(name)

    def is_from_environment(self, name: str) -> bool:
        return bool(self._environ.get(name))

    def require(self, *names: str) -> dict[str, str]:
        """The values of all `names`, of which one may be `"A or B"`: then A or B will do.

        Raises WrongHere that names everything missing at once, with who supplies it.
        """
        if self._explicit and env_file.read_text(self.path) is None:
            raise WrongHere(f"{self.path} does not exist", "check what --env-file names")
        wanted = [name.split(" or ") for name in names]
        found = {name: value for group in wanted for name in group if (value := self.get(name))}
        missing = [group for group in wanted if not found.keys() & set(group)]
        if missing:
            lines = [f"  {' or '.join(group)}: {WHO_WRITES[group[0]]}" for group in missing]
            if line := env_text.unreadable_line(env_file.read_text(self.path) or ""):
                lines.append(f"line {line} of the file is not an assignment: {OPEN_QUOTE}")
            raise WrongHere(
                "\n".join(["settings are missing:", *lines]),
                f"write them to {self.path}, or run the step that does",
            )
        return found

    def save(
        self,
        values: Mapping[str, str],
        *,
        check: Callable[[Mapping[str, str]], None] = unchecked,
        keep_copy: bool = False,
    ) -> None:
        """Write `values` to the file in one step; an empty value clears a name.

        `check` gets what the file holds at that moment, with other writers locked out, and
        raises to prevent the save. `keep_copy` first keeps the present file beside it.
        Raises WrongHere, and changes nothing, if the file cannot be written safely.
        """
        target = Path(os.path.realpath(self.path))
        with env_file.locked(target):
            present = env_file.read_text(target)
            stored = env_text.read(present or "")
            check(stored)
            if keep_copy and present is not None:
                copy = env_file.keep_copy(self.path, present)
                self._note(f"the file as it was is kept as {copy}")
            looser = env_file.replace_text(target, self._new_text(present or "", stored, values))
        self._values = {**stored, **values}
        if looser is not None:
            self._note(f"{self.path} had mode {looser:04o}; it is 0600 now: yours alone")
        self._warn_of_shadows(values)

    def secrets(self) -> list[str]:
        """Values that must never be shown, of those that have been read; without `SSWS `."""
        sources = (self._environ, self._values or {})
        named = [source.get(name) for source in sources for name in ("PRIVATE_KEY", "API_KEY")]
        return [value.removeprefix("SSWS ") for value in named if value]

    def _stored(self) -> dict[str, str]:
        if self._values is None:
            self._values = env_text.read(env_file.read_text(self.path) or "")
        return self._values

    def _new_text(self, text: str, stored: Mapping[str, str], values: Mapping[str, str]) -> str:
        new = env_text.replace(text, values)
        if env_text.read(new) != {**stored, **values}:
            line = env_text.unreadable_line(text)
            problem = f"{self.path} cannot be changed safely: line {line} is not an assignment"
            raise WrongHere(problem, f"{OPEN_QUOTE}; mend that line")
        return new

    def _warn_of_shadows(self, values: Mapping[str, str]) -> None:
        for name, value in values.items():
            if self._environ.get(name, value) not in (value, ""):
                self._note(
                    f"warning: {name} is also set in the environment, which wins over"
                    f" {self.path}: unset {name} to use the value just written"
                )
