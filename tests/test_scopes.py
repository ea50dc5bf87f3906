"""SCOPES as people write it."""

import pytest

from pkj import settings
from pkj.errors import LocalError


@pytest.mark.parametrize(
    ("text", "read"),
    [
        pytest.param("okta.users.read", ["okta.users.read"], id="one"),
        pytest.param("b a", ["b", "a"], id="in_the_order_of_the_text"),
        pytest.param("  a \t b\n c ", ["a", "b", "c"], id="any_blanks"),
        pytest.param("a b a a", ["a", "b"], id="one_given_twice_counts_once"),
        pytest.param("a A", ["a", "A"], id="case_matters"),
        pytest.param("!#[]~ x/y:z", ["!#[]~", "x/y:z"], id="all_that_the_rfc_allows"),
    ],
)
def test_scopes_are_separated_by_blanks(text: str, read: list[str]) -> None:
    assert settings.scopes(text) == read


@pytest.mark.parametrize(
    ("text", "problem", "hint"),
    [
        pytest.param("a,b", "commas", "SCOPES='a b'", id="commas"),
        pytest.param("a, b ,c", "commas", "SCOPES='a b c'", id="commas_and_blanks"),
        pytest.param("a,", "commas", "SCOPES='a'", id="a_comma_at_the_end"),
        pytest.param("", "SCOPES is empty", "SCOPES='okta.", id="empty"),
        pytest.param(" \n\t", "SCOPES is empty", "SCOPES='okta.", id="blank"),
        pytest.param('"okta.users.read"', '"okta.users.read"', "SCOPES='okta.", id="quotes"),
        pytest.param("a b\\c", "b\\\\c", "SCOPES='okta.", id="a_backslash"),
        pytest.param("a é", "é", "SCOPES='okta.", id="not_ascii"),
        pytest.param("a b\x1b", r"b\x1b", "SCOPES='okta.", id="a_control_character"),
    ],
)
def test_what_cannot_be_scopes_is_refused_with_the_right_form(
    text: str, problem: str, hint: str
) -> None:
    with pytest.raises(LocalError) as refused:
        settings.scopes(text)

    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)
    assert hint in refused.value.hint
    assert refused.value.setting == "SCOPES"
