"""The text of a `.env` file: read its values, replace some, leave the rest as it is."""

import io
import re
from collections.abc import Mapping

from dotenv.parser import Binding, parse_stream

BYTE_ORDER_MARK = "\ufeff"

BARE = re.compile(r"[A-Za-z0-9._+/=:@%,-]*")
"""Values that python-dotenv, a shell and `docker --env-file` all read alike without quotes."""

# The parts of one binding as python-dotenv's parser delimits them (dotenv/parser.py);
# a binding's text begins with whatever blank lines stand before it.
BINDING = r"""(?P<lead>\s*(?:export[^\S\r\n]+)?)
        (?:'[^']+'|[^=\#\s]+)[^\S\r\n]*
        (?:=[^\S\r\n]*(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")(?P<near>[^\S\r\n]*\#[^\r\n]*)?
          |=(?P<unquoted>[^\r\n]*)
          |(?P<bare>\#[^\r\n]*)?
        )[^\S\r\n]*
        (?P<end>\r\n|\n|\r|)\Z"""

COMMENT = re.compile(r"(?<![^\S\r\n])[^\S\r\n]+\#.*")
"""Behind a value without quotes; looked for once a run of blanks, not once a blank."""


def read(text: str) -> dict[str, str]:
    """The values of a `.env` text, as python-dotenv reads them without expanding variables.

    The last of several equal names counts; a name without `=` counts as empty.
    """
    return dict(assignments(text))


def assignments(text: str) -> list[tuple[str, str]]:
    """Every name with its value, in the order of the text, also those that a later one hides."""
    text = text.removeprefix(BYTE_ORDER_MARK)
    return [(b.key, b.value or "") for b in _bindings(_unix(text)) if b.key is not None]


def unreadable_line(text: str) -> int | None:
    """The number of the first line that is neither an assignment nor a comment, if any."""
    broken = next((b.original for b in _bindings(text) if b.error), None)
    if broken is None:
        return None
    blank_lines = broken.string[: -len(broken.string.lstrip()) or None]
    return broken.line + len(re.findall(r"\r\n|\n|\r", blank_lines))


def replace(text: str, values: Mapping[str, str]) -> str:
    """`text` with each name of `values` assigned exactly once.

    Comments, order, blank lines, other assignments, `export ` and line ends stay. A name
    that stood several times keeps its last place, which is the one that counted. Values
    hold no NUL, CR or surrogates.
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
    """`value` as it stands behind the `=`; in single quotes unless it needs none."""
    if BARE.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _bindings(text: str) -> list[Binding]:
    return list(parse_stream(io.StringIO(text, newline="")))


def _unix(text: str) -> str:
    # python-dotenv opens the file with universal newlines, inside quoted values too.
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _rewritten(binding: Binding, value: str | None, line_end: str) -> str:
    """The binding's text with another value; None takes the assignment out."""
    match = re.match(BINDING, binding.original.string, re.VERBOSE | re.DOTALL)
    assert match is not None, "BINDING follows python-dotenv's own grammar"
    apart = COMMENT.search(match["unquoted"] or "")
    comment = (apart[0] if apart else match["near"] or match["bare"] or "").strip()
    if value is None:
        blank_lines = re.match(r"(?:.*[\r\n])?", match["lead"], re.DOTALL)
        assert blank_lines is not None, "it matches anything"
        return blank_lines[0] + (comment + match["end"] if comment else "")
    assignment = f"{binding.key}={quoted(value)}".replace("\n", line_end)
    # A shell wants a blank before a comment, python-dotenv 1.2.3 something before that.
    if comment and not value:
        assignment += "''"
    return match["lead"] + assignment + (f" {comment}" if comment else "") + match["end"]
