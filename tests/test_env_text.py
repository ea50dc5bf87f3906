"""The text of a `.env`: python-dotenv and a real shell say what stands in it, not our reader."""

import io
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from dotenv import dotenv_values
from dotenv.parser import Binding, parse_stream
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pkj import env, keys

NAMES = st.sampled_from(["A", "B", "KEY_ID", "PRIVATE_KEY"])
VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"))
QUOTED_PARTS = st.sampled_from(["x", " ", "#", "=", "\n", "\r\n", "\\\\", "\\'", '\\"', "${A}"])
WRITTEN = st.text("abcXYZ0189._~+/=-")
"""The characters of what this toolkit writes, apart from PEM."""

# Settings of no `.env` in particular, each in one of the many ways that python-dotenv takes.
ASSIGNMENTS = st.tuples(
    st.sampled_from(["", "", " ", "\t", "\n\n", "export ", "\n export\t"]),
    st.one_of(NAMES, NAMES.map("'{}'".format), st.just("OTHER")),
    st.sampled_from(["=", "=", " = ", "= ", ""]),
    st.one_of(
        st.sampled_from(["", "x", "x y", "#x", "x#y", "é", "a'b", "${A}"]),
        st.lists(QUOTED_PARTS).map(lambda parts: f"'{''.join(parts)}'"),
        st.lists(QUOTED_PARTS).map(lambda parts: f'"{"".join(parts)}"'),
    ),
    st.sampled_from(["", "", " ", " # a comment", "\t#'", "#x"]),
    st.sampled_from(["\n", "\n", "\r\n", "\r"]),
).map("".join)
COMMENTS = st.sampled_from(["# a comment\n", "#A=1\r\n", "\n", " \t\n", "# it's\n"])
TEXTS = st.one_of(
    st.lists(st.one_of(ASSIGNMENTS, COMMENTS)).map("".join),
    st.lists(st.one_of(ASSIGNMENTS, COMMENTS), min_size=1).map(lambda p: "".join(p).rstrip("\n")),
    st.text("AB=='\"# \n\r\t\\\x0b\u2028é"),
).flatmap(lambda text: st.sampled_from([text, text, f"\ufeff{text}"]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("texts")


def dotenv_reads(folder: Path, text: str) -> dict[str, str]:
    """What python-dotenv reads from a real file; a name without `=` counts as empty."""
    path = folder / ".env"
    path.write_bytes(text.encode())
    values = dotenv_values(path, interpolate=False)
    return {name: value or "" for name, value in values.items()}


def bindings(text: str) -> list[Binding]:
    return list(parse_stream(io.StringIO(text.removeprefix("\ufeff"), newline="")))


def is_readable(text: str) -> bool:
    universal = text.replace("\r\n", "\n").replace("\r", "\n")
    return not any(b.error for part in (text, universal) for b in bindings(part))


def untouched(text: str, values: Mapping[str, str]) -> list[str]:
    parts = [b.original.string for b in bindings(text) if b.key not in values]
    return [part.rstrip("\r\n") for part in parts if part.strip()]


def test_the_reader_says_what_python_dotenv_says_of_any_text(folder: Path) -> None:
    @settings(deadline=None)
    @given(st.one_of(TEXTS, st.text(st.characters(exclude_categories=["Cs"]))))
    def holds(text: str) -> None:
        assert env.read(text) == dotenv_reads(folder, text)

    holds()


@settings(max_examples=200, deadline=None)
@given(text=TEXTS, values=st.dictionaries(NAMES, VALUES))
@example(text="A#c\n", values={"A": "v"})
@example(text="'A'#c\n", values={"A": "v"})
@example(text="A='x'#c\n", values={"A": "v"})
@example(text="A=1 # c\n", values={"A": ""})
@example(text="A=1\r\nB='2\r\n3'\r\n", values={"B": "4\n5"})
def test_after_a_change_python_dotenv_reads_the_old_values_updated_by_the_new(
    folder: Path, text: str, values: dict[str, str]
) -> None:
    assume(is_readable(text))
    before = dotenv_reads(folder, text)

    after = env.replace(text, values)

    assert dotenv_reads(folder, after) == {**before, **values}
    names = [b.key for b in bindings(after)]
    assert all(names.count(name) == 1 for name in values)


@settings(max_examples=200, deadline=None)
@given(text=TEXTS, values=st.dictionaries(NAMES, VALUES))
def test_a_change_leaves_every_other_line_as_it_is_byte_for_byte(
    text: str, values: dict[str, str]
) -> None:
    assume(is_readable(text))
    names = [b.key for b in bindings(text) if b.key in values]
    assume(len(names) == len(set(names)))

    after = env.replace(text, values)

    assert untouched(after, values) == untouched(text, values)
    assert after.startswith("\ufeff") == text.startswith("\ufeff")


@settings(deadline=None)
@given(text=TEXTS, values=st.dictionaries(st.sampled_from(["NEW", "NEWER"]), VALUES))
def test_new_names_are_added_behind_what_is_there(text: str, values: dict[str, str]) -> None:
    assume(is_readable(text))

    after = env.replace(text, values)

    assert after.startswith(text)
    assert [b.key for b in bindings(after)][-len(values) :] == list(values) or not values


@settings(deadline=None)
@given(text=TEXTS, values=st.dictionaries(NAMES, VALUES))
def test_the_same_change_twice_is_the_same_as_once(text: str, values: dict[str, str]) -> None:
    assume(is_readable(text))
    once = env.replace(text, values)

    assert env.replace(once, values) == once


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("", "A=new\n", id="nothing_there"),
        pytest.param("A=old\n", "A=new\n", id="one_line"),
        pytest.param("A=old", "A=new", id="no_line_end"),
        pytest.param("A=", "A=new", id="an_empty_value"),
        pytest.param("A", "A=new", id="no_equals_sign"),
        pytest.param("B=1", "B=1\nA=new\n", id="added_where_a_line_end_was_missing"),
        pytest.param("B=1\r\n", "B=1\r\nA=new\r\n", id="added_with_the_file_s_line_end"),
        pytest.param("# c", "# c\nA=new\n", id="added_behind_a_comment"),
        pytest.param("A='old'\nB=1\n", "A=new\nB=1\n", id="single_quotes"),
        pytest.param('A="old"\nB=1\n', "A=new\nB=1\n", id="double_quotes"),
        pytest.param("A='o\nl\nd'\nB=1\n", "A=new\nB=1\n", id="several_lines"),
        pytest.param("A = old\n", "A=new\n", id="blanks_that_a_shell_refuses"),
        pytest.param("'A'=old\n", "A=new\n", id="a_quoted_name"),
        pytest.param("export A=old\n", "export A=new\n", id="export"),
        pytest.param("  export\tA=old\n", "  export\tA=new\n", id="export_indented"),
        pytest.param("export A\n", "export A=new\n", id="export_without_a_value"),
        pytest.param("A=old # why\n", "A=new # why\n", id="inline_comment"),
        pytest.param("A='old' # why\n", "A=new # why\n", id="inline_comment_behind_quotes"),
        pytest.param("A='o # d' # why\n", "A=new # why\n", id="a_number_sign_in_quotes"),
        pytest.param("A=old#new\n", "A=new\n", id="a_number_sign_in_the_value"),
        pytest.param("A= # why\n", "A=new # why\n", id="inline_comment_behind_nothing"),
        pytest.param("A # why\n", "A=new # why\n", id="inline_comment_behind_a_name"),
        pytest.param("# A=old\nA=old\n", "# A=old\nA=new\n", id="a_comment_that_looks_like_it"),
        pytest.param("AA=1\nA=old\nA_=2\n", "AA=1\nA=new\nA_=2\n", id="names_that_begin_alike"),
        pytest.param("\n\n# c\n\nA=old\n\n", "\n\n# c\n\nA=new\n\n", id="blank_lines"),
        pytest.param("A=old\r\nB=1\r\n", "A=new\r\nB=1\r\n", id="windows_line_ends"),
        pytest.param("A=old\nB=1\r\n", "A=new\nB=1\r\n", id="mixed_line_ends"),
        pytest.param("A=old\rB=1\r", "A=new\rB=1\r", id="old_macintosh_line_ends"),
        pytest.param("\ufeffA=old\n", "\ufeffA=new\n", id="byte_order_mark"),
        pytest.param("A=1\nB=2\nA=3\n", "B=2\nA=new\n", id="twice_the_last_place_counts"),
        pytest.param("A=1 # why\nA=3\n", "# why\nA=new\n", id="twice_with_a_comment"),
        pytest.param("\n\nA=1\n\nA=3\n", "\n\n\nA=new\n", id="twice_with_blank_lines"),
        pytest.param("B=1\r\rA=1\rA=3\r", "B=1\r\rA=new\r", id="twice_with_old_macintosh_ends"),
        pytest.param("export A=1\nA=3", "A=new", id="twice_once_exported"),
    ],
)
def test_a_line_before_and_after(before: str, after: str) -> None:
    assert env.replace(before, {"A": "new"}) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("A=1\r\n", "A='x\r\ny'\r\n", id="windows_line_ends"),
        pytest.param("A=1 # c\n", "A='x\ny' # c\n", id="inline_comment"),
        pytest.param("B=1\r\n", "B=1\r\nA='x\r\ny'\r\n", id="added"),
    ],
)
def test_a_value_of_several_lines_takes_the_file_s_line_ends(before: str, after: str) -> None:
    assert env.replace(before, {"A": "x\ny"}) == after


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param("", None, id="nothing"),
        pytest.param("A=1\n# c\n\nB='2\n3'\n", None, id="all_well"),
        pytest.param("A='1\n", 1, id="the_first"),
        pytest.param("A=1\n# c\nB='2\nC=3\n", 3, id="a_later_one"),
        pytest.param("A=1\r\nB='2\r\n3'\r\nC='4\r\n", 4, id="behind_a_value_of_two_lines"),
        pytest.param("A=1\n\n\nB='2\n", 4, id="behind_blank_lines"),
        pytest.param("\n\n A='1", 3, id="behind_blank_lines_at_the_beginning"),
        pytest.param("\ufeffA=1\n=2\n", 2, id="no_name"),
    ],
)
def test_the_line_that_cannot_be_read_is_named(text: str, line: int | None) -> None:
    assert env.unreadable_line(text) == line


def shell_reads(folder: Path, text: str, name: str, shell: str = "sh") -> str:
    (folder / ".env").write_bytes(text.encode())
    script = f'set -a; . ./.env; unset IFS; printf "%s|" "${name}"; env | grep -c "^{name}="'
    program = shutil.which(shell)
    assert program
    result = subprocess.run(
        [program, "-c", script], cwd=folder, env={}, capture_output=True, check=True, text=True
    )
    assert result.stderr == ""
    value, exported = result.stdout.rsplit("|", 1)
    assert exported == "1\n", "not in the environment of what the shell starts"
    return value


@settings(max_examples=60, deadline=None)
@given(value=WRITTEN)
@example(value="~")
@example(value="=~/a=~")
@example(value="--")
def test_a_shell_reads_what_this_toolkit_writes(folder: Path, value: str) -> None:
    text = env.replace("# it's\nexport B=1\nA='1' # \"why\n", {"A": value})

    assert shell_reads(folder, text, "A") == value


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("name", ["PRIVATE_KEY", "PUBLIC_KEY", "MODULUS", "KEY_ID"])
def test_a_shell_reads_a_key_as_it_was_written(
    folder: Path, key: rsa.RSAPrivateKey, name: str, shell: str
) -> None:
    if not shutil.which(shell):
        pytest.skip(f"there is no {shell} here")
    values = keys.of_new_key(key)

    text = env.replace("SCOPES='a b'\n", values)

    assert shell_reads(folder, text, name, shell) == values[name]
    assert dotenv_values(stream=io.StringIO(text)) == {"SCOPES": "a b", **values}


@pytest.mark.parametrize(
    "before",
    [
        pytest.param("A='x' # why\n", id="behind_quotes"),
        pytest.param("A=x # why\n", id="behind_a_bare_value"),
        pytest.param("A='x'# why\n", id="close_behind_quotes"),
        pytest.param('A="x"#why\n', id="closer_behind_quotes"),
        pytest.param("A# why\n", id="close_behind_a_name"),
    ],
)
@pytest.mark.parametrize("value", ["plain", "in~quotes", "two\nlines"], ids=["bare", "~", "lines"])
def test_a_comment_behind_a_value_is_a_comment_to_a_shell_as_well(
    folder: Path, before: str, value: str
) -> None:
    after = env.replace(before, {"A": value})

    assert shell_reads(folder, after, "A") == value
    assert dotenv_reads(folder, after) == {"A": value}
    assert "why" in after
