"""What README promises: each command in it is run, each table compared with the code.

In README, `…` alone on a line stands for some lines, at the end of a token for its rest;
`{…}` stands for what only a real run knows.
"""

import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from conftest import (
    CREATE_APP,
    GENERATE_KEYS,
    GET_TOKEN,
    ROOT,
    SCOPES,
    EnvFile,
    Run,
    clean_environment,
)
from cryptography.hazmat.primitives.asymmetric import rsa
from dotenv import dotenv_values
from faults import Org, Sandbox

from pkj import env, errors, keys
from pkj.okta import hints

README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / ".env.example"
SCRIPTS = (GENERATE_KEYS, CREATE_APP, GET_TOKEN)

SETUP = "python3 -m venv env && . env/bin/activate && pip install -q -r requirements.txt && "
DEMO_LINE = SETUP + "python -m pkj.sandbox demo"
SET_UP_LINE = "python3 -m venv env && . env/bin/activate && pip install -r requirements.txt"
TESTS_LINE = (
    "python3 -m venv env && env/bin/pip install -q -r tests/requirements.txt"
    " && env/bin/python -m pytest"
)

# What differs from run to run, in the order in which it is looked for.
RANDOM = {
    r"https://127\.0\.0\.1:\d+": "{url}",
    r"(?:/[\w.+-]+)*/pkj-\w+": "{folder}",
    r"eyJ[\w-]+(?:\.[\w-]+){0,2}": "{token}",
    r"\b0oa\w{10,}": "{client id}",
    r"\b00pretend[\w-]+": "{api key}",
}
WHAT_FITS = {
    "{application object}": r"\{\n(?s:.*)\n\}",
    "{client ID of newly created app}": r"0oa\w+",
    "{scopes granted to the application}": SCOPES.replace(" ", "\n").replace(".", r"\."),
    "{access_token}": r"[\w-]+\.[\w-]+\.[\w-]+",
}


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def block_with(kind: str, part: str) -> str:
    (block,) = [block for block in blocks(kind) if part in block]
    return block


def rows(first_heading: str) -> list[list[str]]:
    """The cells of the table whose first column is headed so."""
    pattern = rf"^\| {first_heading} \|.*\n\|[-|]+\|\n((?:\|.*\|\n)+)"
    (table,) = re.findall(pattern, README, re.MULTILINE)
    return [line[2:-2].split(" | ") for line in table.splitlines()]


def shell_lines() -> list[str]:
    return [line for block in blocks("sh") for line in block.splitlines()]


def without_random(text: str) -> str:
    for pattern, name in RANDOM.items():
        text = re.sub(pattern, name, text)
    return text


def as_pattern(shown: str) -> str:
    """A regular expression for what README shows, with its cuts."""
    lines = [re.escape(without_random(line)) for line in shown.splitlines()]
    lines = [r"(?:.*\n)+" if line == "…" else line.removesuffix("…") + "\n" for line in lines]
    return "".join(lines)


def fits(shown: str, real: str) -> bool:
    whole = without_random(real).replace("…\n", "\n")
    return re.fullmatch(as_pattern(shown), whole) is not None


def usage(*command: str) -> list[str]:
    """The options of a command as `--help` shows them, choices as README writes them."""
    environment = clean_environment(COLUMNS="400")
    full = [sys.executable, *command, "--help"]
    shown = subprocess.run(full, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert shown.returncode == 0
    groups: list[str] = re.findall(r"\[(?:[^][]|\[[^]]*\])+\]", shown.stdout.partition("\n\n")[0])
    braces = str.maketrans({"{": None, "}": None, ",": "|"})
    return [group.translate(braces) for group in groups if group != "[-h]"]


def shell(line: str, folder: Path, environment: Mapping[str, str]) -> str:
    """Run a line as a person would; its output, stdout before stderr."""
    bash = shutil.which("bash")
    assert bash
    ended = subprocess.run(
        [bash, "-o", "pipefail", "-ec", line],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the project, so that the commands need no `--env-file`."""
    folder = tmp_path / "clone"
    folder.mkdir()
    for name in (*SCRIPTS, ".env.example", ".gitignore"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "pkj", folder / "pkj", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture
def activated(sandbox: Sandbox) -> dict[str, str]:
    """The environment after `source env/bin/activate`, with the sandbox's CA for all."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return clean_environment(
        PATH=path, REQUESTS_CA_BUNDLE=sandbox.ca_file, CURL_CA_BUNDLE=sandbox.ca_file
    )


def fill_in(file: Path, sandbox: Sandbox) -> None:
    """What README's block of three lines says to fill in, with the org's own values."""
    lines = block_with("sh", "API_KEY=").replace("https://{your_okta_domain}", sandbox.url)
    text = file.read_text(encoding="utf-8")
    for line in lines.replace("{okta_api_key}", sandbox.org.api_key).splitlines():
        name, line = line.partition("=")[0], line.partition("  #")[0]
        text, count = re.subn(rf"^{name}=.*$", line, text, flags=re.MULTILINE)
        assert count == 1, name
    file.write_text(text, encoding="utf-8")


def test_the_two_set_up_lines_are_in_readme() -> None:
    assert f"{DEMO_LINE}\n" in blocks("sh")
    assert f"{TESTS_LINE}\n" in blocks("sh")


def test_ci_runs_the_test_command_of_readme() -> None:
    ci = ROOT / ".ci" / "run"
    assert os.access(ci, os.X_OK)
    assert TESTS_LINE in ci.read_text(encoding="utf-8").splitlines()


def test_the_demo_prints_what_readme_shows() -> None:
    arguments = shlex.split(DEMO_LINE.removeprefix(SETUP))
    assert arguments[0] == "python"
    real = subprocess.run(
        [sys.executable, *arguments[1:]],
        cwd=ROOT,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert real.returncode == 0
    shown = block_with("text", "A mock Okta org is running")
    assert fits(shown, real.stdout), f"README:\n{shown}\nreal:\n{real.stdout}"


@pytest.mark.parametrize(
    ("shown", "real"),
    [
        pytest.param("one\n", "two\n", id="another line"),
        pytest.param("one\n", "one\ntwo\n", id="a line more"),
        pytest.param("one\ntwo\n", "one\n", id="a line less"),
        pytest.param("one\n…\ntwo\n", "one\ntwo\n", id="nothing where it is cut"),
        pytest.param("one eyJhb…\n", "one 0oa12345678901\n", id="no token"),
        pytest.param("one\n", "one \n", id="a space at the end"),
    ],
)
def test_output_that_differs_from_readme_is_noticed(shown: str, real: str) -> None:
    assert not fits(shown, real)


def test_set_up_is_one_line_and_mentions_virtualenv() -> None:
    assert SET_UP_LINE in shell_lines()
    assert "`virtualenv env` does the same as `python3 -m venv env`" in README


def steps() -> list[tuple[str, str]]:
    """Command and output of each console block that runs a script."""
    shown = [block.partition("\n") for block in blocks("console")]
    return [(c.removeprefix("$ "), out) for c, _, out in shown if "pkj.sandbox" not in c]


def test_following_readme_gives_a_token(
    clone: Path, activated: dict[str, str], sandbox: Sandbox
) -> None:
    (set_up,) = [line for line in shell_lines() if line.startswith("cp -n .env.example")]
    shell(set_up, clone, activated)
    fill_in(clone / ".env", sandbox)
    assert [command for command, _ in steps()] == [f"python {script}" for script in SCRIPTS]
    for command, shown in steps():
        pattern = re.escape(shown)
        for name, what_fits in WHAT_FITS.items():
            pattern = pattern.replace(re.escape(name), what_fits)
        real = shell(command, clone, activated)
        assert re.fullmatch(pattern, real), f"README:\n{shown}\nreal:\n{real}"
    name = re.escape("**Private Key JWT Service App**")
    assert re.search(rf"under Applications as {name}", README)
    (app,) = sandbox.org.clients.values()
    assert app.metadata["client_name"] == "Private Key JWT Service App"


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
def test_the_curl_commands_work_after_the_three_steps(
    clone: Path, activated: dict[str, str], registered: EnvFile
) -> None:
    shutil.copy(registered.path, clone / ".env")
    EnvFile(clone / ".env").write(ADMIN_ROLES="READ_ONLY_ADMIN")
    shell("python create_okta_service_app.py", clone, activated)
    use, bound = block_with("sh", "TOKEN="), block_with("sh", "--for GET")
    (header,) = re.findall(r"`(python get_access_token.py -o header .*)` \|$", README, re.MULTILINE)
    for lines in (use, f". ./.env\n{bound}", ". ./.env\n" + header.replace("\\|", "|")):
        assert "ada@pretend.example" in shell(lines, clone, activated), lines


def test_a_ci_job_needs_only_the_environment(
    clone: Path, activated: dict[str, str], sandbox: Sandbox, registered: EnvFile
) -> None:
    exported, run_it = block_with("sh", "op read").splitlines()
    values = {"https://{your_okta_domain}": sandbox.url, "{client_id}": registered["CLIENT_ID"]}
    for shown, real in values.items():
        exported = exported.replace(shown, str(real))
    one_line = str(registered["PRIVATE_KEY"]).replace("\n", "\\n")
    run_it = run_it.replace("op read op://vault/okta/private-key", 'printf %s "$SECRET"')
    printed = shell(f"{exported}\n{run_it}", clone, activated | {"SECRET": one_line})
    assert printed.startswith("eyJ")


def test_the_python_example_works(
    sandbox: Sandbox, registered: EnvFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    for client in sandbox.org.clients.values():
        client.roles["READ_ONLY_ADMIN"] = {"type": "READ_ONLY_ADMIN"}
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", sandbox.ca_file)
    monkeypatch.chdir(registered.path.parent)
    names: dict[str, object] = {}
    (example,) = blocks("python")
    exec(example.replace("https://{your_okta_domain}", sandbox.url), names)  # noqa: S102 - README's own
    assert names["users"] == sandbox.org.users


def test_every_command_in_readme_is_run_by_a_test() -> None:
    kinds = set(re.findall(r"^```(.+)$", README, re.MULTILINE))
    assert kinds == {"sh", "console", "text", "python", "mermaid"}
    assert README.count("\n```") % 2 == 0
    known = {DEMO_LINE, TESTS_LINE, SET_UP_LINE, ". ./.env"}
    filled_in = "OKTA_URL= API_KEY= SCOPES= ADMIN_ROLES="
    run_above = "cp TOKEN= URL= curl export PRIVATE_KEY= python"
    others = [line for line in shell_lines() if line not in known]
    beginnings = (". ./.env; ", *filled_in.split(), *run_above.split())
    assert all(line.startswith(beginnings) for line in others)


def test_every_option_in_readme_exists() -> None:
    options = {
        o
        for script in SCRIPTS
        for group in usage(script)
        for o in re.findall(r"--?\w[\w-]*", group)
    }
    options |= set(re.findall(r"--?\w[\w-]*", " ".join(usage("-m", "pkj.sandbox", "demo"))))
    named = set(re.findall(r"(?<=[ `])--?[a-z][a-z-]*(?=[ `])", README))
    others = {"-admin", "-m", "-q", "-r", "-n", "-sS", "-H"}  # of other programs, and a host name
    assert "--rotate-key" in named
    assert named - others <= options


def test_exit_codes_match_the_code_and_help(run: Run) -> None:
    (sentence,) = re.findall(r"^Exit codes: (.*)\.$", README, re.MULTILINE)
    listed = re.findall(r"`(\d+)` ([^`]+?)(?:, |$)", sentence)
    codes = {str(kind.exit_code) for kind in all_errors()} | {"0", "130"}
    assert {code for code, _ in listed} == codes
    documented = " ".join(run(GET_TOKEN, "--help", env_file=None).stdout.split())
    assert "exit codes: " + ", ".join(f"{c} {text}" for c, text in listed) in documented


def all_errors() -> list[type[errors.PkjError]]:
    found = [errors.PkjError]
    for kind in found:
        found += kind.__subclasses__()
    return found


def test_the_settings_table_says_who_sets_each() -> None:
    table = rows("Setting")
    assert [name for name, _, _ in table] == [f"`{name}`" for name in env.WHO_WRITES]
    for name, who, what in table:
        source = env.WHO_WRITES[name.strip("`")]
        script = source.removeprefix("written by ")
        expected = "you" if script == source else f"`{script}`"
        assert (who, bool(what)) == (expected, True), name


def test_the_example_has_every_setting_once_for_python_and_a_shell(tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert re.findall(r"^(\w+)=", text, re.MULTILINE) == list(env.WHO_WRITES)
    assert f"\nSCOPES='{SCOPES}'\n" in text
    read = dotenv_values(EXAMPLE, interpolate=False)
    assert {name: value for name, value in read.items() if value} == {
        "SCOPES": SCOPES,
        "ADMIN_ROLES": "READ_ONLY_ADMIN",
    }
    names = " ".join(f'"${name}"' for name in env.WHO_WRITES)
    printed = shell(f"set -u; . {EXAMPLE}; printf '%s\\n' {names}", tmp_path, clean_environment())
    assert printed.splitlines() == [read[name] or "" for name in env.WHO_WRITES]


def test_an_example_not_filled_in_is_refused_by_setting(clone: Path, run: Run) -> None:
    shutil.copy(EXAMPLE, clone / ".env")
    refused = run(CREATE_APP, env_file=clone / ".env")
    assert refused.returncode == 1
    assert all(name in refused.stderr for name in ("OKTA_URL", "API_KEY"))
    assert "SCOPES" not in refused.stderr


ACTION = re.compile(
    r"(?i)\b(run|set|check|correct|create|delete|remove|activate|register|add|see|use|clear|wait|"
    r"give|point|the API token is fine|be used only from)\b"
)
CONSTANTS = [value for name, value in vars(hints).items() if name.isupper()]
OTHERS = CONSTANTS[CONSTANTS.index(hints.UNKNOWN) :]


@pytest.mark.parametrize("hint", [*(row.hint for row in hints.TABLE), *OTHERS])
def test_each_hint_names_an_action(hint: str) -> None:
    assert ACTION.search(hint)


def test_each_code_has_a_row_without_conditions_last() -> None:
    for code in {row.code for row in hints.TABLE} - {"E0000001"}:
        narrow = [bool(row.says or row.doing) for row in hints.TABLE if row.code == code]
        assert narrow == sorted(narrow, reverse=True), code


def test_each_row_can_be_reached() -> None:
    for row in hints.TABLE:
        assert hints.for_refusal(row.doing, 400, row.code, row.says) == row.hint


def test_an_error_says_what_failed_what_okta_said_and_what_to_do(
    registered: EnvFile, run: Run, other_key: rsa.RSAPrivateKey
) -> None:
    registered.write(**keys.settings_of(other_key))
    refused = run(GET_TOKEN)
    assert (refused.returncode, refused.stdout) == (3, "")
    said, _, to_do = refused.stderr.partition("\n")
    assert said.startswith("error: asking for a token for ")
    assert "Okta answered 401 invalid_client: " in said
    (hint,) = [r.hint for r in hints.TABLE if r.says and r.says in said and r.code in said]
    assert to_do == f"what to do: {hint}\n"


def test_an_org_that_requires_dpop_works_as_readme_says(
    tmp_path: Path, key: rsa.RSAPrivateKey, run: Run
) -> None:
    assert "`get_access_token.py` detects this" in README
    with Sandbox(Org("https://127.0.0.1", require_dpop=True)) as strict:
        file = EnvFile(tmp_path / ".env")
        file.write(OKTA_URL=strict.url, API_KEY=strict.org.api_key, SCOPES=SCOPES)
        file.write(ADMIN_ROLES="READ_ONLY_ADMIN")
        file.write(**keys.settings_of(key))
        environment = {"REQUESTS_CA_BUNDLE": strict.ca_file}
        results = [run(CREATE_APP, env=environment), run(GET_TOKEN, "--check", env=environment)]
    assert [result.returncode for result in results] == [0, 0]
    assert "`DPOP=true` skips the failed first request" in README
    assert "DPOP=true skips the failed first request" in results[1].stderr


def test_get_access_token_needs_no_api_token(registered: EnvFile, run: Run) -> None:
    assert "only `create_okta_service_app.py` needs it" in README
    registered.write(API_KEY="")
    assert run(GET_TOKEN).returncode == 0
    assert run(CREATE_APP).returncode == 1


def test_a_replaced_key_is_backed_up_and_can_be_restored(
    registered: EnvFile, run: Run, tmp_path: Path
) -> None:
    before = registered.path.read_bytes()
    registered.path.chmod(0o644)
    assert run(GENERATE_KEYS).returncode == 1
    assert registered.path.read_bytes() == before
    assert run(GENERATE_KEYS, "--force").returncode == 0
    kept = registered.path.with_name(".env.previous")
    assert kept.read_bytes() == before
    assert [stat.S_IMODE(p.stat().st_mode) for p in (kept, registered.path)] == [0o600, 0o600]
    assert run(GET_TOKEN).returncode == 3
    assert "run `mv .env.previous .env`" in README
    shell("mv .env.previous .env", tmp_path, clean_environment())
    assert run(GET_TOKEN).returncode == 0


@pytest.mark.usefixtures("registered")
def test_a_replaced_key_is_added_to_the_same_app(run: Run, sandbox: Sandbox) -> None:
    assert run(GENERATE_KEYS, "--force").returncode == 0
    assert run(GET_TOKEN).returncode == 3
    assert [run(CREATE_APP).returncode, run(GET_TOKEN).returncode] == [0, 0]
    assert [len(app.keys) for app in sandbox.org.clients.values()] == [2]


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git on this machine")
def test_git_ignores_files_with_keys_and_no_others(clone: Path) -> None:
    secret = [".env", ".env.previous", ".env.previous.1", ".env.pkj-0123"]
    names = " ".join([*secret, ".env.example", "README.md"])
    shown = shell(f"git init -q . && git check-ignore {names}", clone, clean_environment())
    assert shown.split() == secret


def test_the_diagram_shows_the_requests_that_are_sent(
    sandbox: Sandbox, registered: EnvFile, run: Run
) -> None:
    assert run(GET_TOKEN).returncode == 0
    sent = [f"{seen.request.method} {seen.request.path}" for seen in sandbox.seen]
    (diagram,) = blocks("mermaid")
    shown = re.findall(r"->>Okta: .*?\b((?:GET|POST) \S+)", diagram)
    in_words = [path.replace("{client_id}", str(registered["CLIENT_ID"])) for path in shown]
    assert in_words[-1] == "GET /api/v1/users"
    assert [request for request in dict.fromkeys(sent) if request in in_words] == in_words[:-1]
    assert not set(diagram) & set(";#"), "Mermaid takes these for an end and for an entity"


def test_the_lines_that_serve_prints_can_be_pasted(
    tmp_path: Path, activated: dict[str, str]
) -> None:
    (shown_command,) = re.findall(r"`(python -m pkj\.sandbox serve)` runs a mock org", README)
    served = subprocess.Popen(
        [sys.executable, *shlex.split(shown_command)[1:]],
        cwd=ROOT,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with served:
        try:
            assert served.stdout
            real = "".join(served.stdout.readline() for _ in range(8))
            for_file, _, for_shell = real.partition("# in the shell where the scripts run\n")
            pasted = tmp_path / "pasted.env"
            settings = "\n".join(for_file.splitlines()[1:])
            pasted.write_text(f"{settings}\nSCOPES='{SCOPES}'\n", encoding="utf-8")
            commands = [f"python {ROOT / name} --env-file {pasted}" for name in SCRIPTS]
            token = shell("\n".join([for_shell, *commands]), tmp_path, activated)
        finally:
            served.send_signal(signal.SIGINT)
            served.communicate(timeout=20)
    assert "///////////////// Access Token:" in token
    assert served.returncode == 130


def test_every_file_named_in_readme_exists() -> None:
    names = set(re.findall(r"`((?:tests|pkj|\.ci)/[\w./]+)`", README))
    assert names
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= 200
    assert len(README) <= 13_000
