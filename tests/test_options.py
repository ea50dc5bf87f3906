"""The command line: what `--name` takes, and what is left of it under `python -OO`."""

import pytest
from conftest import STEP_1, STEP_2, STEP_3, Run
from scene import Scene


@pytest.mark.parametrize(
    ("name", "said"),
    [
        pytest.param("", "blank", id="empty"),
        pytest.param(" \u00a0", "blank", id="spaces"),
        pytest.param("a\nb", "control characters", id="line_end"),
        pytest.param("a\x9bb", "control characters", id="C1"),
        pytest.param("a\udcff", "control characters or invalid", id="not_UTF-8"),
        pytest.param("rocket \U0001f680", "U+FFFF", id="emoji"),
    ],
)
def test_name_that_okta_cannot_hold_is_wrong_usage(name: str, said: str, scene: Scene) -> None:
    result = scene.step_2("--name", name)

    assert (result.returncode, result.stdout, scene.sent()) == (2, "", [])
    assert f"argument --name: must not {'be' if said == 'blank' else 'contain'}" in result.stderr
    assert said in result.stderr


def test_name_in_any_script_is_registered(scene: Scene) -> None:
    result = scene.step_2("--name", "B\u00fcro \u65e5\u672c \u2026")

    assert result.returncode == 0, result.stderr
    assert scene.bodies()[0]["client_name"] == "B\u00fcro \u65e5\u672c \u2026"


def test_steps_work_without_docstrings_and_asserts(scene: Scene, process: Run) -> None:
    optimized = {"PYTHONOPTIMIZE": "2"}

    results = [process(STEP_1, "--force", env=optimized)]
    results += [process(step, env=optimized) for step in (STEP_2, STEP_3)]
    results += [process(step, "--help", env=optimized) for step in (STEP_1, STEP_2, STEP_3)]

    assert [result.returncode for result in results] == [0] * 6, [r.stderr for r in results]
    assert list(scene.sandbox.org.clients) == [scene.env["CLIENT_ID"]]
