"""The `.env` file as the state between the scripts: read, require and save values."""

import io
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dotenv.parser import Binding, parse_stream

from pkj import env_file
from pkj.errors import LocalError

BYTE_ORDER_MARK = "\ufeff"

BARE = r"[A-Za-z0-9._+/=:@%,-]*"
"""Values that python-dotenv, a shell and `docker --env-file` read alike without quotes."""

# The parts of one binding as python-dotenv's parser delimits them (dotenv/parser.py). The text
# of a binding begins with the blank lines before it.
BINDING = r"""(?P<lead>\s*(?:export[^\S\r\n]+)?)
        (?:'[^']+'|[^=\#\s]+)[^\S\r\n]*
        (?:=[^\S\r\n]*(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")(?P<near>[^\S\r\n]*\#[^\r\n]*)?
          |=(?P<unquoted>[^\r\n]*)
          |(?P<bare>\#[^\r\n]*)?
        )[^\S\r\n]*
        (?P<end>\r\n|\n|\r|)\Z"""

COMMENT = r"(?<![^\S\r\n])[^\S\r\n]+\#.*"
"""Behind a value without quotes; tried once for each run of spaces, not for each space."""


def read(text: str) -> dict[str, str]:
    """Return the values in a `.env` text, as python-dotenv reads them, with `$` left alone.

    The last assignment to a name counts; a name without `=` counts as empty.
    """
    return dict(assignments(text))


def assignments(text: str) -> list[tuple[str, str]]:
    """Return every name with its value, in order, including those that a later line overrides."""
    text = text.removeprefix(BYTE_ORDER_MARK)
    return [(b.key, b.value or "") for b in _bindings(_unix(text)) if b.key is not None]


def unreadable_line(text: str) -> int | None:
    """Return the number of the first line that is neither an assignment nor a comment, if any."""
    broken = next((b.original for b in _bindings(text) if b.error), None)
    if broken is None:
        return None
    blank_lines = broken.string[: -len(broken.string.lstrip()) or None]
    return broken.line + len(re.findall(r"\r\n|\n|\r", blank_lines))


def replace(text: str, values: Mapping[str, str]) -> str:
    """Return `text` with each name in `values` assigned exactly once.

    Comments, order, blank lines, other assignments, `export ` and line ends are kept. A name
    that was assigned several times keeps its last place, the one that counted. Values contain
    no NUL, CR or surrogates.
    """
    mark = BYTE_ORDER_MARK if text.startswith(BYTE_ORDER_MARK) else ""
    bindings = _bindings(text.removeprefix(mark))
    last = {b.key: place for place, b in enumerate(bindings)}
    line_end = "\r\n" if "\r\n" in text else "\n"
    parts = [
        b.original.string
        if b.key is None or b.key not in values
        else _rewritten(b, values[b.key] if last[b.key] == place else None, line_end)
        for place, b in enumerate(bindings)
    ]
    kept = mark + "".join(parts)
    new = [f"{name}={quoted(value)}" for name, value in values.items() if name not in last]
    if new and kept and not kept.endswith(("\n", "\r")):
        kept += line_end
    return kept + "".join(line.replace("\n", line_end) + line_end for line in new)


def quoted(value: str) -> str:
    """Return `value` as it is written after the `=`: in single quotes unless it needs none."""
    if re.fullmatch(BARE, value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _bindings(text: str) -> list[Binding]:
    return list(parse_stream(io.StringIO(text, newline="")))


def _unix(text: str) -> str:
    # python-dotenv opens the file with universal newlines, inside quoted values too.
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _rewritten(binding: Binding, value: str | None, line_end: str) -> str:
    """Return the text of the binding with another value; None removes the assignment."""
    match = re.match(BINDING, binding.original.string, re.VERBOSE | re.DOTALL)
    assert match is not None, "BINDING follows python-dotenv's own grammar"
    apart = re.search(COMMENT, match["unquoted"] or "")
    comment = (apart[0] if apart else match["near"] or match["bare"] or "").strip()
    if value is None:
        blank_lines = re.match(r"(?:.*[\r\n])?", match["lead"], re.DOTALL)
        assert blank_lines is not None, "it matches anything"
        return blank_lines[0] + (comment + match["end"] if comment else "")
    assignment = f"{binding.key}={quoted(value)}".replace("\n", line_end)
    # A shell needs a space before a comment, and python-dotenv 1.2.3 something before that.
    if comment and not value:
        assignment += "''"
    return match["lead"] + assignment + (f" {comment}" if comment else "") + match["end"]


Check = Callable[[Mapping[str, str]], None]
"""Called with the values in the file just before a save; raises to prevent it."""

BESIDE_THE_SCRIPTS = Path(__file__).resolve().parent.parent / ".env"

WHO_WRITES = {
    "OKTA_URL": "set by you: https://{your_okta_domain}",
    "API_KEY": "set by you: an API token of a Super Admin",
    "SCOPES": "set by you: scopes separated by spaces, in quotes",
    "ADMIN_ROLES": "optional: admin roles of the app, separated by spaces",
    "DPOP": "optional: true or false, whether tokens are bound to a key",
    "PRIVATE_KEY": "written by generate_keys.py",
    "PUBLIC_KEY": "written by generate_keys.py",
    "MODULUS": "written by generate_keys.py",
    "KEY_ID": "written by generate_keys.py",
    "CLIENT_ID": "written by create_okta_service_app.py",
}
"""Every name in `.env`, and where its value comes from."""

OPEN_QUOTE = "a closing quote is probably missing"


class Env:
    """The settings: from the process environment if it has a value, otherwise from the file.

    `path` need not exist; `explicit` says that the user named it. `note` is given lines for
    people. An empty value counts as missing everywhere. The environment is never changed.
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
        self._assigned: list[tuple[str, str]] | None = None
        self._locked, self._missing = False, False
        self.used_from_environment: set[str] = set()
        """Names whose value was used and came from the environment."""

    def stored(self, name: str) -> str | None:
        """Return the value in the file, whatever the environment says."""
        return dict(self._read()).get(name) or None

    def held(self, name: str) -> list[str]:
        """Return every value of the name in the file, including those that are overridden."""
        return [value for key, value in self._read() if key == name and value]

    def get(self, name: str) -> str | None:
        """Return the value, if any. Raises LocalError if one in the environment is not text."""
        if value := self._environ.get(name):
            if not _is_text(value):
                problem = f"{name} in the environment is not UTF-8 text"
                raise LocalError(problem, f"set it again, or unset {name} to use {self.path}")
            self.used_from_environment.add(name)
            return value
        return self.stored(name)

    def is_from_environment(self, name: str) -> bool:
        return bool(self._environ.get(name))

    def require(self, *names: str) -> dict[str, str]:
        """Return the values of all `names`; `"A or B"` means that either is enough.

        Raises one LocalError for everything that is missing, which says who sets it.
        """
        self._read()
        if self._explicit and self._missing:
            raise LocalError(f"{self.path} does not exist", "check what --env-file names")
        wanted = [name.split(" or ") for name in names]
        found = {name: value for group in wanted for name in group if (value := self.get(name))}
        missing = [group for group in wanted if not found.keys() & set(group)]
        if missing:
            lines = [f"  {' or '.join(group)}: {WHO_WRITES[group[0]]}" for group in missing]
            hidden = [name for group in missing for name in group if self.held(name)]
            lines += [f"a later line clears {name}" for name in hidden]
            hint = self._how_to_set([group[-1] for group in missing])
            if line := unreadable_line(env_file.read_text(self.path) or ""):
                lines.append(f"line {line} of the file is not an assignment")
                hint = f"correct line {line} of {self.path}: {OPEN_QUOTE}"
            raise LocalError("\n".join(["missing settings:", *lines]), hint)
        return found

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let no other run change the file during the `with` block; may be nested.

        Waits for another run, and then reads what it wrote; raises LocalError if that takes too
        long. Reading needs no lock.
        """
        if self._locked:
            yield
            return
        with env_file.locked(self.path, self._note):
            self._locked, self._assigned = True, None
            try:
                yield
            finally:
                self._locked = False

    def unless_changed(self, *names: str, hint: str = "run this again") -> Check:
        """Return a `check` for `save`, which raises LocalError if another program has changed one
        of these values since this was called."""
        read = {name: self.stored(name) for name in names}

        def check(stored: Mapping[str, str]) -> None:
            changed = [name for name, value in read.items() if (stored.get(name) or None) != value]
            if changed:
                were = "was" if len(changed) == 1 else "were"
                problem = f"{' and '.join(changed)} {were} changed during this run"
                raise LocalError(f"{problem}; {self.path} was not saved", hint)

        return check

    def save(
        self,
        values: Mapping[str, str],
        *,
        check: Check | None = None,
        keep_copy: bool = False,
    ) -> None:
        """Write `values` to the file in one step; an empty value clears a name.

        `check` is given what the file holds at that moment, with other runs locked out, and
        raises to prevent the save. `keep_copy` first backs up the file beside it. Raises
        LocalError, and changes nothing, if the file cannot be written safely, or if a private
        key would be lost without a backup.
        """
        target = Path(os.path.realpath(self.path))
        with self.locked():
            present = env_file.read_text(target)
            before = assignments(present or "")
            if check:
                check(dict(before))
            if keep_copy:
                self.refuse_broken_line()
            new = self._new_text(present or "", before, values)
            after = assignments(new)
            if not keep_copy and _private_keys(before) - _private_keys(after):
                problem = f"{self.path} now has a different PRIVATE_KEY; nothing was changed"
                raise LocalError(problem, "run this again")
            copy = None
            if keep_copy and present is not None:
                copy = env_file.keep_copy(self.path, present)
            looser = env_file.replace_text(target, new)
        self._assigned = after
        if copy is not None:
            back = f"mv {_quote(os.path.abspath(copy))} {_quote(target)}"
            self._note(f"backed up the previous file to {copy}; to go back: {back}")
        if looser is not None:
            self._note(f"{self.path} had mode {looser:04o}; changed to 0600")
        self._warn_of_shadows(values)

    def refuse_broken_line(self) -> None:
        """Raise LocalError if a line of the file is not an assignment: it may be part of the key
        that is about to be replaced, whose closing quote is missing."""
        if line := unreadable_line(env_file.read_text(self.path) or ""):
            raise self._unsafe(line)

    def warn_if_open_to_others(self) -> None:
        """Note a warning if other users may read or change a file that holds a private key."""
        mode = env_file.open_to_others(self.path)
        if mode is not None and self.held("PRIVATE_KEY"):
            self._note(
                f"warning: {self.path} holds the private key and is open to other users"
                f" (mode {mode:04o}): run `chmod 600 {_quote(self.path)}`"
            )

    def secrets(self) -> list[str]:
        """Return the values that must never be shown, of those read so far; without `SSWS `."""
        names = ("PRIVATE_KEY", "API_KEY")
        named = [self._environ.get(name, "") for name in names]
        named += [value for name, value in self._assigned or () if name in names]
        # What is not text is never used, and therefore never shown.
        return [value.removeprefix("SSWS ") for value in named if value and _is_text(value)]

    def _read(self) -> list[tuple[str, str]]:
        if self._assigned is None:
            text = env_file.read_text(self.path)
            self._assigned, self._missing = assignments(text or ""), text is None
        return self._assigned

    def _how_to_set(self, names: list[str]) -> str:
        """Return what to do about missing settings: what the user sets, then what to run."""
        example = self.path.with_name(".env.example")
        where = str(self.path)
        if self._missing and self.used_from_environment:
            return f"set {' and '.join(names)} in the environment, or write {where}"
        steps = []
        if self._missing and os.path.lexists(example):
            steps = [f"run `cp {_quote(example)} {_quote(where)}`, and fill in the values"]
        elif by_user := [name for name in names if WHO_WRITES[name].startswith("set by you")]:
            steps = [f"set {' and '.join(by_user)} in {where}"]
        scripts = [WHO_WRITES[n].partition("written by ")[2] for n in WHO_WRITES if n in names]
        steps += [f"run `python {script}`" for script in dict.fromkeys(filter(None, scripts))]
        return ", then ".join(steps)

    def _new_text(self, text: str, before: list[tuple[str, str]], values: Mapping[str, str]) -> str:
        new = replace(text, values)
        if read(new) != {**dict(before), **values}:
            raise self._unsafe(unreadable_line(text))
        return new

    def _unsafe(self, line: int | None) -> LocalError:
        problem = f"{self.path} cannot be changed safely: line {line} is not an assignment"
        return LocalError(problem, f"correct line {line}: {OPEN_QUOTE}")

    def _warn_of_shadows(self, values: Mapping[str, str]) -> None:
        for name, value in values.items():
            if self._environ.get(name, value) not in (value, ""):
                self._note(
                    f"warning: {name} is also set in the environment, which overrides"
                    f" {self.path}: unset {name} to use the value just written"
                )


def _private_keys(assigned: list[tuple[str, str]]) -> set[str]:
    return {value for name, value in assigned if name == "PRIVATE_KEY" and value}


def _is_text(value: str) -> bool:
    """Return whether the value is text: bytes that are not UTF-8 are surrogates (PEP 383)."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _quote(path: Path | str) -> str:
    from shlex import quote  # few runs need it

    return quote(str(path))
