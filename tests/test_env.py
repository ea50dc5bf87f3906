"""The settings: the text of a `.env`, as python-dotenv and a shell read it, and the class Env."""

import io
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from conftest import SETTINGS
from cryptography.hazmat.primitives.asymmetric import rsa
from dotenv import dotenv_values
from dotenv.parser import Binding, parse_stream
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pkj import env, keys
from pkj.env import WHO_WRITES, Env
from pkj.errors import LocalError

NAMES = st.sampled_from(["A", "B", "KEY_ID", "PRIVATE_KEY"])
VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"))
QUOTED = st.lists(
    st.sampled_from(["x", " ", "#", "=", "\n", "\r\n", "\\\\", "\\'", '\\"', "${A}"])
).map("".join)
ASSIGNMENTS = st.tuples(
    st.sampled_from(["", "", " ", "\t", "\n\n", "export ", "\n export\t"]),
    st.one_of(NAMES, NAMES.map("'{}'".format), st.just("OTHER")),
    st.sampled_from(["=", "=", " = ", "= ", ""]),
    st.one_of(
        st.sampled_from(["", "x", "x y", "#x", "x#y", "é", "a'b", "${A}"]),
        QUOTED.map("'{}'".format),
        QUOTED.map('"{}"'.format),
    ),
    st.sampled_from(["", "", " ", " # a comment", "\t#'", "#x"]),
    st.sampled_from(["\n", "\n", "\r\n", "\r"]),
).map("".join)
COMMENTS = st.sampled_from(["# a comment\n", "#A=1\r\n", "\n", " \t\n", "# it's\n"])
LINES = st.lists(st.one_of(ASSIGNMENTS, COMMENTS)).map("".join)
TEXTS = st.one_of(
    LINES, LINES.map(lambda text: text.rstrip("\n")), st.text("AB=='\"# \n\r\t\\\x0b\u2028é")
).flatmap(lambda text: st.sampled_from([text, text, f"\ufeff{text}"]))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `.env` for all the texts of a property."""
    return tmp_path_factory.mktemp("texts") / ".env"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def put(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="")
    path.chmod(0o600)


def dotenv_reads(path: Path, text: str | None = None) -> dict[str, str]:
    """What python-dotenv reads from the file; a name without `=` counts as empty."""
    if text is not None:
        put(path, text)
    return {name: value or "" for name, value in dotenv_values(path, interpolate=False).items()}


def shell_reads(path: Path, text: str, shell: str = "sh") -> dict[str, str]:
    """What a shell that sources the text hands to the programs it starts."""
    put(path, text)
    program = shutil.which(shell) or pytest.skip(f"there is no {shell} here")
    command = [program, "-c", f"set -a; . {path}; env -0"]
    result = subprocess.run(command, env={}, capture_output=True, check=True)
    assert result.stderr == b""
    return dict(line.split("=", 1) for line in result.stdout.decode().split("\0")[:-1])


def bindings(text: str) -> list[Binding]:
    return list(parse_stream(io.StringIO(text.removeprefix("\ufeff"), newline="")))


def untouched(text: str, values: Mapping[str, str]) -> list[str]:
    parts = [b.original.string for b in bindings(text) if b.key not in values]
    return [part.rstrip("\r\n") for part in parts if part.strip()]


@settings(deadline=None)
@given(text=st.one_of(TEXTS, st.text(st.characters(exclude_categories=["Cs"]))))
def test_reader_agrees_with_python_dotenv(shared: Path, text: str) -> None:
    assert env.read(text) == dotenv_reads(shared, text)


@settings(max_examples=250, deadline=None)
@given(text=TEXTS, values=st.dictionaries(NAMES | st.sampled_from(["NEW", "NEWER"]), VALUES))
@example(text="A#c\n", values={"A": "v"})
@example(text="'A'#c\n", values={"A": "v"})
@example(text="A='x'#c\n", values={"A": "v"})
@example(text="A=1 # c\n", values={"A": ""})
@example(text="A=1\r\nB='2\r\n3'\r\n", values={"B": "4\n5"})
def test_replace_changes_only_these_values(shared: Path, text: str, values: dict[str, str]) -> None:
    universal = text.replace("\r\n", "\n").replace("\r", "\n")
    assume(not any(b.error for part in (text, universal) for b in bindings(part)))
    expected = dotenv_reads(shared, text) | values

    after = env.replace(text, values)

    assert dotenv_reads(shared, after) == env.read(after) == expected
    assert env.replace(after, values) == after
    assert after.startswith("\ufeff") == text.startswith("\ufeff")
    old, new = ([b.key for b in bindings(each)] for each in (text, after))
    added = [name for name in values if name not in old]
    assert new[len(new) - len(added) :] == added
    assert all(new.count(name) == 1 for name in values)
    if all(old.count(name) < 2 for name in values):
        assert untouched(after, values) == untouched(text, values)
    if len(added) == len(values):
        assert after.startswith(text)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "A=new\n"),
        ("A=1\r\n", "A='x\r\ny'\r\n"),
        ("A=1 # c\n", "A='x\ny' # c\n"),
        ("B=1\r\n", "B=1\r\nA='x\r\ny'\r\n"),
        ("# c", "# c\nA=new\n"),
        ("A = old\n", "A=new\n"),
        ("  export\tA=old\n", "  export\tA=new\n"),
        ("export A\n", "export A=new\n"),
        ("A=old # why\n", "A=new # why\n"),
        ("A='o # d' # why\n", "A=new # why\n"),
        ("A=old#new\n", "A=new\n"),
        ("A= # why\n", "A=new # why\n"),
        ("A # why\n", "A=new # why\n"),
        ("\n\n# c\n\nA=old\n\n", "\n\n# c\n\nA=new\n\n"),
        ("A=old\nB=1\r\n", "A=new\nB=1\r\n"),
        ("A=old\rB=1\r", "A=new\rB=1\r"),
        ("A=1\nB=2\nA=3\n", "B=2\nA=new\n"),
        ("A=1 # why\nA=3\n", "# why\nA=new\n"),
        ("\n\nA=1\n\nA=3\n", "\n\n\nA=new\n"),
        ("B=1\r\rA=1\rA=3\r", "B=1\r\rA=new\r"),
        ("export A=1\nA=3", "A=new"),
    ],
    ids=ascii,
)
def test_replaced_line(before: str, after: str) -> None:
    value = "new" if "new" in after else "x\ny"
    assert env.replace(before, {"A": value}) == after


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", None),
        ("A=1\n# c\n\nB='2\n3'\n", None),
        ("A=1\n# c\nB='2\nC=3\n", 3),
        ("A=1\r\nB='2\r\n3'\r\nC='4\r\n", 4),
        ("A=1\n\n\nB='2\n", 4),
        ("\n\n A='1", 3),
        ("\ufeffA=1\nB='2\n", 2),
    ],
    ids=ascii,
)
def test_unreadable_line_prevents_a_save(text: str, line: int | None, path: Path) -> None:
    put(path, text)
    assert env.unreadable_line(text) == line
    if line:
        with pytest.raises(LocalError, match=f"line {line} is not an assignment") as refused:
            Env(path, {}, print).save({"PRIVATE_KEY": "-----BEGIN\n\"'\n-----END"})
        assert "quote" in refused.value.hint
        assert path.read_bytes() == text.encode()


@pytest.mark.parametrize(
    "before",
    [
        "# it's\nexport B=1\nA='1' # \"why\n",
        *("A='x' # why\n", "A=x # why\n", "A='x'# why\n", 'A="x"#why\n', "A# why\n"),
    ],
)
@settings(max_examples=20, deadline=None)
@given(value=st.text("abcXYZ0189._~+/=-"))
@example(value="~")
@example(value="=~/a=~")
@example(value="--")
@example(value="two\nlines")
def test_shell_reads_what_was_written(shared: Path, before: str, value: str) -> None:
    after = env.replace(before, {"A": value})
    assert shell_reads(shared, after)["A"] == dotenv_reads(shared)["A"] == value
    assert "why" in after


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_shell_reads_a_key(path: Path, key: rsa.RSAPrivateKey, shell: str) -> None:
    values = {"SCOPES": "a b", **keys.settings_of(key)}
    text = env.replace("SCOPES='a b'\n", values)
    assert values.items() <= shell_reads(path, text, shell).items()
    assert dotenv_reads(path) == values


@pytest.mark.parametrize("raw", ["pa${HOME}ss", "$HOME", "`id`", "$(id)", "a#b", "100%"])
def test_values_are_never_expanded(path: Path, raw: str) -> None:
    put(path, f"API_KEY={raw}\nQUOTED='{raw}'\n")
    have = Env(path, {}, print)
    assert have.get("API_KEY") == raw
    have.save({"COPY": raw})
    assert dotenv_reads(path) == {"API_KEY": raw, "QUOTED": raw, "COPY": raw}
    have.save({"COPY": ""})
    assert (path.read_text().splitlines()[-1], have.get("COPY")) == ("COPY=", None)


@pytest.mark.parametrize(
    ("text", "environ", "value", "stored"),
    [
        ("\ufeffA=1\n", {}, "1", "1"),
        ("", {"A": "2"}, "2", None),
        ("A=1\n", {"A": "2"}, "2", "1"),
        ("A=1\n", {"A": ""}, "1", "1"),
        ("A=\n", {}, None, None),
        ("A\n", {"A": ""}, None, None),
        ("", {}, None, None),
        ("A=1\nA=2\n", {}, "2", "2"),
    ],
)
def test_environment_wins_and_empty_counts_as_absent(
    path: Path, text: str, environ: dict[str, str], value: str | None, stored: str | None
) -> None:
    put(path, text)
    have = Env(path, environ, print)
    assert (have.get("A"), have.stored("A")) == (value, stored)
    assert have.is_from_environment("A") == (value != stored)
    assert have.used_from_environment == ({"A"} if value != stored else set())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", []),
        ("MODULUS=m\nMODULUS=\n", ["a later line clears MODULUS"]),
        ("# c\nKEY_ID='a\nPRIVATE_KEY='p'\n", ["line 2 of the file is not an assignment"]),
    ],
    ids=["nothing", "cleared", "open-quote"],
)
def test_missing_settings_are_listed(path: Path, text: str, said: list[str]) -> None:
    put(path, text)
    have = Env(path, {"SCOPES": "a", "API_KEY": ""}, print)

    with pytest.raises(LocalError) as error:
        have.require("OKTA_URL", "API_KEY", "SCOPES", "MODULUS or PRIVATE_KEY")

    assert str(error.value).splitlines() == [
        "missing settings:",
        f"  OKTA_URL: {WHO_WRITES['OKTA_URL']}",
        f"  API_KEY: {WHO_WRITES['API_KEY']}",
        f"  MODULUS or PRIVATE_KEY: {WHO_WRITES['MODULUS']}",
        *said,
    ]
    to_set = f"set OKTA_URL and API_KEY in {path}, then run `python generate_keys.py`"
    broken = f"correct line 2 of {path}: {env.OPEN_QUOTE}"
    assert error.value.hint == (broken if "KEY_ID" in text else to_set)
    assert set(WHO_WRITES) == set(SETTINGS)


@pytest.mark.parametrize(
    ("text", "environ", "missing", "hint"),
    [
        ("A=1", {}, "CLIENT_ID", "run `python create_okta_service_app.py`"),
        ("A=1", {}, "OKTA_URL", "set OKTA_URL in {path}"),
        ("A=1", {"SCOPES": "a"}, "OKTA_URL", "set OKTA_URL in {path}"),
        (None, {}, "OKTA_URL", "set OKTA_URL in {path}"),
        (None, {"SCOPES": "a"}, "CLIENT_ID", "set CLIENT_ID in the environment, or write {path}"),
    ],
)
def test_hint_says_how_to_set_what_is_missing(
    text: str | None, environ: dict[str, str], missing: str, hint: str, path: Path
) -> None:
    if text:
        put(path, text)
    have = Env(path, environ, print)
    have.get("SCOPES")
    with pytest.raises(LocalError) as error:
        have.require(missing)
    assert error.value.hint == hint.format(path=path)


def test_required_settings_are_returned_and_secrets_are_known(path: Path) -> None:
    put(path, "API_KEY=00file\nPRIVATE_KEY=p\nOTHER=x\n")
    have = Env(path, {"API_KEY": "00set"}, print)
    found = have.require("API_KEY", "MODULUS or PRIVATE_KEY")
    assert found == {"API_KEY": "00set", "PRIVATE_KEY": "p"}
    assert sorted(have.secrets()) == ["00file", "00set", "p"]


def test_file_that_the_user_named_must_exist(path: Path) -> None:
    path.symlink_to("nothing")
    with pytest.raises(LocalError, match="does not exist") as error:
        Env(path, {"A": "1"}, print, explicit=True).require("A")
    assert "--env-file" in error.value.hint
    assert Env(path, {"A": "1"}, print).require("A") == {"A": "1"}
    put(path, "")
    assert Env(path, {"A": "1"}, print, explicit=True).require("A") == {"A": "1"}


def test_without_a_file_the_hint_copies_the_example(tmp_path: Path) -> None:
    path = tmp_path / "a b" / ".env"
    path.parent.mkdir()
    path.with_name(".env.example").write_text("A=\n")
    for commands in (1, 0):
        with pytest.raises(LocalError) as error:
            Env(path, {}, print).require("OKTA_URL")
        found = re.findall("run `(cp .*)`", error.value.hint)
        assert len(found) == commands
        for command in found:
            subprocess.run(["/bin/sh", "-c", command], cwd="/", check=True)
    assert path.read_text() == "A=\n"


@pytest.mark.parametrize(
    ("environ", "warned"),
    [({}, False), ({"A": ""}, False), ({"A": "new"}, False), ({"A": "old"}, True)],
)
def test_saving_a_hidden_value_warns(path: Path, environ: dict[str, str], warned: bool) -> None:
    notes: list[str] = []
    have = Env(path, environ, notes.append)
    have.save({"A": "new"})
    assert (dotenv_reads(path), have.stored("A")) == ({"A": "new"}, "new")
    assert ["A is also set" in note and "unset A" in note for note in notes] == [True] * warned


def test_check_prevents_a_save_over_what_has_changed(path: Path) -> None:
    put(path, "A=1\nB=1\n")
    have = Env(path, {}, print)
    check = have.unless_changed("A", "B")
    for text, problem in (("A=2\nB=1\n", "^A was changed"), ("A=2\n", "^A and B were changed")):
        put(path, text)
        before = path.stat()
        with pytest.raises(LocalError, match=problem):
            have.save({"A": "3"}, check=check, keep_copy=True)
        assert os.path.samestat(before, path.stat())
        assert (path.read_text(), [*path.parent.iterdir()]) == (text, [path])
    put(path, "B=1\nA=1\n")
    have.save({"A": "3"}, check=check)
    assert have.get("A") == "3"


def test_other_private_key_is_not_lost(path: Path) -> None:
    text = "A=1\nPRIVATE_KEY=old\nPRIVATE_KEY=\n"
    put(path, text)
    have = Env(path, {}, print)
    with pytest.raises(LocalError, match="a different PRIVATE_KEY; nothing was changed"):
        have.save({"PRIVATE_KEY": "new"})
    assert (path.read_text(), [*path.parent.iterdir()]) == (text, [path])
    have.save({"A": "2"})
    assert path.read_text() == text.replace("A=1", "A=2")
    have.save({"PRIVATE_KEY": "new"}, keep_copy=True)
    assert "old" in path.with_name(".env.previous").read_text()
