"""The rules of the house that a reader relies on, checked on the source itself.

Every check takes the source of a file and returns what is wrong with it; the last test
shows each of them a source that it must find fault with.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import ROOT, STEP_1, STEP_2, STEP_3

SCRIPTS = [ROOT / name for name in (STEP_1, STEP_2, STEP_3)]
CLIENT = sorted((ROOT / "pkj").glob("*.py"))
SANDBOX = sorted((ROOT / "pkj" / "sandbox").glob("*.py"))
TESTS = sorted((ROOT / "tests").glob("*.py"))

IMPORTS: dict[str, set[str]] = {
    "errors": set(),
    "masking": set(),
    "causes": set(),
    "instead": {"causes"},
    "clock": set(),
    "deadline": set(),
    "env_text": set(),
    "options": set(),
    "keys": {"errors"},
    "assertion": {"keys"},
    "proof": {"keys"},
    "scopes": {"errors"},
    "dpop": {"errors"},
    "org_url": {"errors"},
    "env_file": {"errors"},
    "unreachable": {"errors", "instead", "masking"},
    "access_token": {"proof"},
    "answers": {"causes", "clock", "errors", "instead", "masking"},
    "retries": {"answers", "errors"},
    "env": {"env_file", "env_text", "errors"},
    "console": {"env", "errors", "masking", "options"},
    "key_settings": {"console", "env", "errors", "keys"},
    "okta": {
        *("answers", "deadline", "errors", "instead", "retries"),
        "unreachable",
    },
    "request_target": {"errors", "okta", "org_url"},
    "org_settings": {"errors", "okta", "org_url", "retries"},
    "service_app": {"answers", "errors", "instead", "keys", "masking", "okta"},
    "app_key": {
        *("answers", "console", "errors", "instead", "key_settings", "keys", "masking", "okta"),
        "service_app",
    },
    "app_choice": {
        *("answers", "app_key", "console", "errors", "key_settings", "okta", "options"),
        "service_app",
    },
    "app_deletion": {
        *("answers", "app_key", "console", "env", "errors", "key_settings", "okta"),
        *("org_settings", "service_app"),
    },
    "app_dpop": {
        *("answers", "app_key", "console", "errors", "instead", "masking", "okta"),
        "service_app",
    },
    "grants": {
        *("answers", "console", "errors", "instead", "masking", "okta", "org_url", "service_app"),
    },
    "admin_roles": {
        *("answers", "console", "errors", "instead", "masking", "okta", "service_app"),
    },
    "token_request": {
        *("access_token", "answers", "assertion", "clock", "errors", "instead", "okta", "proof"),
    },
    "api_check": {"access_token", "answers", "causes", "console", "errors", "masking", "okta"},
}
"""Who imports whom in pkj. Each may import only what stands above it: one way."""

PACKAGES = {"cryptography", "dotenv", "jwt", "requests"}
ONLY_IN = {
    "requests": {"okta.py", "unreachable.py"},
    "urllib3": {"unreachable.py"},  # requests brings it, and lets some of its errors through
    "jwt": {"assertion.py", "proof.py"},
    "dotenv": {"env_text.py"},
}
BROAD_ON_PURPOSE = {"deadline.py": ["BaseException"]}  # carries it from one thread to another
SAYS_ALL = {
    *("keys.modulus", "assertion_rules.invalid_client"),
    *("apps.read", "apps.activate", "app_keys.activate", "clients.read", "roles.list_all"),
}
"""Public functions whose name and signature leave nothing to say."""

OPENING = {"open", "fdopen", "read_text", "write_text", "read_bytes", "write_bytes", "touch"}
OWN_MODULES = set(IMPORTS)

Check = Callable[[str, str], list[str]]


def named(paths: list[Path]) -> list[object]:
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in paths]


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full name of everything imported: `pkj.env` for `from pkj import env`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            inner = node.module in ("pkj", "pkj.sandbox")
            yield from (
                (node.lineno, f"{node.module}.{alias.name}" if inner else str(node.module))
                for alias in node.names
            )


def third_parties(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for line, name in imports(tree):
        package = name.partition(".")[0]
        if package != "pkj" and package not in sys.stdlib_module_names:
            yield line, package


def own_imports(source: str) -> set[str]:
    names = (name for _, name in imports(ast.parse(source)))
    return {name.split(".")[1] for name in names if name.startswith("pkj.")}


def foreign_packages(file: str, source: str) -> list[str]:
    """Packages other than the four, or not in the module that is there for them."""
    return [
        f"{line}: {package}"
        for line, package in third_parties(ast.parse(source))
        if file not in ONLY_IN.get(package, {file} if package in PACKAGES else set())
    ]


def unlisted_packages(file: str, source: str) -> list[str]:
    del file
    found = third_parties(ast.parse(source))
    return [f"{line}: {package}" for line, package in found if package not in PACKAGES]


def crossings(file: str, source: str) -> list[str]:
    """What a client module imports of the sandbox, or the sandbox of the client."""
    del file
    own = [(line, name) for line, name in imports(ast.parse(source)) if name.startswith("pkj")]
    return [f"{line}: {name}" for line, name in own if name.startswith("pkj.sandbox")]


def crossings_back(file: str, source: str) -> list[str]:
    del file
    own = [(line, name) for line, name in imports(ast.parse(source)) if name.startswith("pkj")]
    return [f"{line}: {name}" for line, name in own if not name.startswith("pkj.sandbox")]


def early_imports(file: str, source: str) -> list[str]:
    """Top-level imports of a script but `console`: `--help` would wait for the rest."""
    del file
    top = ast.Module(
        [node for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom)],
        [],
    )
    return [f"{n}: {name}" for n, name in imports(top) if name not in ("__future__", "pkj.console")]


def openings(file: str, source: str) -> list[str]:
    """Files opened, read or written elsewhere than in env_file.py; os.devnull is none."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        owner, _, name = called.rpartition(".")
        nothing = bool(node.args) and ast.unparse(node.args[0]) == "os.devnull"
        if name in OPENING and owner not in OWN_MODULES and not nothing:
            found.append(f"{node.lineno}: {called}")
    return [] if file == "env_file.py" else found


def prints(file: str, source: str) -> list[str]:
    """Uses of `print` and of the standard streams elsewhere than in console.py."""
    found = [
        f"{node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(ast.parse(source))
        if (isinstance(node, ast.Name) and node.id in ("print", "input"))
        or (isinstance(node, ast.Attribute) and node.attr in ("stdout", "stderr", "stdin"))
    ]
    return [] if file == "console.py" else found


def broad_handlers(file: str, source: str) -> list[str]:
    """Bare `except`, and `except` or `suppress` of everything."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "everything"
            found += re.findall(r"\b(?:Base)?Exception\b|everything", caught)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
            found += re.findall(r"\b(?:Base)?Exception\b", ast.unparse(node))
    return [] if found == BROAD_ON_PURPOSE.get(file) else found


def long_functions(file: str, source: str, limit: int = 40) -> list[str]:
    del file
    return [
        f"{node.name} has {length} lines"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > limit
    ]


def too_long(file: str, source: str) -> list[str]:
    limit = 75 if file in (STEP_1, STEP_2, STEP_3) else 300
    length = len(source.splitlines())
    return [f"{length} lines, over {limit}"] if length > limit else []


def unreasoned(file: str, source: str) -> list[str]:
    """Silenced checks without the code of what is silenced and the reason for it."""
    del file
    reasoned = re.compile(
        r"# noqa: [A-Z]+\d+(?:, ?[A-Z]+\d+)* (?:- |\()\w.*|# type: ignore\[[\w, -]+\]  # \w.*"
        r"|.*# pragma: no (?:cover|branch) - \w.*"
    )
    silencing = re.compile(r"#\s*(?:noqa|type:\s*ignore|pragma|ruff:|mypy:|fmt:)")
    return [
        f"{token.start[0]}: {token.string}"
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
        and silencing.match(token.string)
        and not reasoned.fullmatch(token.string)
    ]


def without_docstring(file: str, source: str) -> list[str]:
    """Public functions and classes of a module that say nothing about themselves."""
    module = file.removesuffix(".py")
    return [
        f"{node.lineno}: {node.name}"
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and f"{module}.{node.name}" not in SAYS_ALL
        and not ast.get_docstring(node)
    ]


def without_module_docstring(file: str, source: str) -> list[str]:
    return [] if ast.get_docstring(ast.parse(source)) else [f"{file} does not say what it is"]


RULES: list[tuple[Check, list[Path]]] = [
    (foreign_packages, CLIENT),
    (foreign_packages, SCRIPTS),
    (unlisted_packages, SANDBOX),
    (crossings, CLIENT),
    (crossings, SCRIPTS),
    (crossings_back, SANDBOX),
    (early_imports, SCRIPTS),
    (openings, CLIENT),
    (openings, SCRIPTS),
    (prints, CLIENT),
    (prints, SCRIPTS),
    (broad_handlers, CLIENT),
    (broad_handlers, SCRIPTS),
    (broad_handlers, SANDBOX),
    (long_functions, CLIENT),
    (long_functions, SCRIPTS),
    (long_functions, SANDBOX),
    (too_long, CLIENT),
    (too_long, SCRIPTS),
    (too_long, SANDBOX),
    (unreasoned, CLIENT),
    (unreasoned, SCRIPTS),
    (unreasoned, SANDBOX),
    (unreasoned, TESTS),
    (without_docstring, CLIENT),
    (without_docstring, SANDBOX),
    (without_module_docstring, CLIENT),
    (without_module_docstring, SCRIPTS),
    (without_module_docstring, SANDBOX),
]


@pytest.mark.parametrize(
    ("check", "paths"),
    [pytest.param(c, p, id=f"{c.__name__}-{p[0].parent.name}") for c, p in RULES],
)
def test_the_source_keeps_the_rules(check: Check, paths: list[Path]) -> None:
    wrong = {
        str(path.relative_to(ROOT)): found
        for path in paths
        if (found := check(path.name, path.read_text(encoding="utf-8")))
    }
    assert wrong == {}


def test_every_module_of_the_client_is_in_the_import_table() -> None:
    assert set(IMPORTS) == {path.stem for path in CLIENT} - {"__init__"}


def test_the_import_table_goes_one_way() -> None:
    above: set[str] = set()
    for module, imported in IMPORTS.items():
        assert imported <= above, module
        above.add(module)


@pytest.mark.parametrize("path", named([path for path in CLIENT if path.stem != "__init__"]))
def test_a_module_imports_what_the_table_says(path: Path) -> None:
    assert own_imports(path.read_text(encoding="utf-8")) == IMPORTS[path.stem]


def test_what_is_excepted_from_a_rule_still_exists() -> None:
    for excepted in SAYS_ALL:
        module, _, function = excepted.partition(".")
        sources = [p.read_text(encoding="utf-8") for p in CLIENT + SANDBOX if p.stem == module]
        assert any(f"\ndef {function}(" in source for source in sources), excepted
    for file in BROAD_ON_PURPOSE:
        assert "except BaseException" in (ROOT / "pkj" / file).read_text(encoding="utf-8")


SABOTAGE: list[tuple[Check, str, str]] = [
    (foreign_packages, "keys.py", "import jwt"),
    (foreign_packages, "env.py", "def f():\n    from requests import get"),
    (foreign_packages, "okta.py", "import urllib3.util"),
    (foreign_packages, "okta.py", "import httpx"),
    (unlisted_packages, "org.py", "import trustme"),
    (unlisted_packages, "org.py", "from urllib3 import util"),
    (crossings, "keys.py", "from pkj.sandbox.jwk import thumbprint"),
    (crossings, "keys.py", "from pkj import sandbox"),
    (crossings_back, "jwk.py", "from pkj import keys"),
    (crossings_back, "jwk.py", "import pkj.keys"),
    (early_imports, STEP_1, "from pkj import console, keys"),
    (early_imports, STEP_1, "import json"),
    (openings, "keys.py", "text = open('key.pem').read()"),
    (openings, "keys.py", "text = Path('key.pem').read_text()"),
    (openings, "console.py", "nowhere = os.open('/tmp/log', os.O_WRONLY)"),
    (prints, "keys.py", "print('a key')"),
    (prints, "keys.py", "import sys\nsys.stdout.write('a key')"),
    (broad_handlers, "keys.py", "try:\n    f()\nexcept:\n    pass"),
    (broad_handlers, "keys.py", "try:\n    f()\nexcept (OSError, Exception):\n    pass"),
    (broad_handlers, "keys.py", "with contextlib.suppress(Exception):\n    f()"),
    (broad_handlers, "deadline.py", "try:\n    f()\nexcept Exception:\n    pass"),
    (long_functions, "keys.py", "def f():\n" + "    g()\n" * 40),
    (too_long, "keys.py", "g()\n" * 301),
    (too_long, STEP_1, "g()\n" * 76),
    (unreasoned, "keys.py", "f()  # noqa"),
    (unreasoned, "keys.py", "f()  # noqa: S603"),
    (unreasoned, "keys.py", "f()  # type: ignore[arg-type]"),
    (unreasoned, "keys.py", "f()  # type: ignore  # no code"),
    (unreasoned, "keys.py", "f()  # pragma: no cover"),
    (without_docstring, "keys.py", "def f(): ..."),
    (without_docstring, "keys.py", "class C:\n    x = 1"),
    (without_module_docstring, "keys.py", "import os"),
]


@pytest.mark.parametrize(
    ("check", "file", "source"),
    [pytest.param(c, f, s, id=f"{c.__name__}-{n}") for n, (c, f, s) in enumerate(SABOTAGE)],
)
def test_a_source_that_breaks_a_rule_is_found(check: Check, file: str, source: str) -> None:
    assert check(file, source)


def test_each_rule_has_a_source_that_breaks_it() -> None:
    assert {check for check, _, _ in SABOTAGE} == {check for check, _ in RULES}
