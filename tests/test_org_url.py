"""OKTA_URL as people paste it, and the one form it is brought to."""

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from pkj import settings
from pkj.errors import LocalError

ACME = "https://acme.okta.com"


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        pytest.param(ACME, ACME, id="as_it_should_be"),
        pytest.param("https://acme.okta.com/", ACME, id="slash_at_the_end"),
        pytest.param("https://acme.okta.com//", ACME, id="slashes_at_the_end"),
        pytest.param(" \thttps://acme.okta.com/ \n", ACME, id="blanks_around_it"),
        pytest.param("HTTPS://Acme.Okta.COM", ACME, id="upper_case"),
        pytest.param("acme.okta.com", ACME, id="a_bare_domain"),
        pytest.param("acme.okta.com/", ACME, id="a_bare_domain_with_a_slash"),
        pytest.param("acme.okta.com:8443", f"{ACME}:8443", id="a_bare_domain_with_a_port"),
        pytest.param("https://acme.okta.com:443", ACME, id="the_port_of_https"),
        pytest.param("https://acme.okta.com:", ACME, id="an_empty_port"),
        pytest.param("https://acme.okta.com:8443/", f"{ACME}:8443", id="another_port"),
        pytest.param("https://127.0.0.1:1", "https://127.0.0.1:1", id="an_ipv4_address"),
        pytest.param("https://[::1]:65535", "https://[::1]:65535", id="an_ipv6_address"),
        pytest.param("https://login.acme.example", "https://login.acme.example", id="custom"),
        pytest.param("https://xn--bcher-kva.example", "https://xn--bcher-kva.example", id="idn"),
        pytest.param("https://a_b.example", "https://a_b.example", id="an_underscore"),
        pytest.param("localhost", "https://localhost", id="one_label"),
        pytest.param("https://acme-admin.example", "https://acme-admin.example", id="not_okta_s"),
        pytest.param("https://admin.okta.com", "https://admin.okta.com", id="an_org_named_admin"),
        pytest.param(f"https://{'a' * 63}.com", f"https://{'a' * 63}.com", id="longest_label"),
    ],
)
def test_an_address_is_brought_to_its_normal_form(text: str, normal: str) -> None:
    assert settings.okta_url(text) == normal
    assert settings.okta_url(normal) == normal


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("http://acme.okta.com", "http://", id="http"),
        pytest.param("HTTP://acme.okta.com", "http://", id="http_in_upper_case"),
        pytest.param("ftp://acme.okta.com", "ftp://", id="ftp"),
        pytest.param("http:acme.okta.com", "http://", id="http_without_slashes"),
        pytest.param("https:acme.okta.com", "host", id="https_without_slashes"),
        pytest.param("https://", "host", id="no_host"),
        pytest.param("https:///acme.okta.com", "host", id="a_slash_too_many"),
        pytest.param("", "host", id="empty"),
        pytest.param("https://user:word@acme.okta.com", "password", id="user_and_password"),
        pytest.param("user@acme.okta.com", "user name", id="user"),
        pytest.param("https://@acme.okta.com", "user name", id="an_empty_user"),
        pytest.param("https://acme.okta.com/oauth2", "include a path", id="path"),
        pytest.param("acme.okta.com/oauth2/default", "include a path", id="path_of_a_bare_domain"),
        pytest.param("https://acme.okta.com?a=b", "include a path", id="query"),
        pytest.param("https://acme.okta.com/#a", "include a path", id="fragment"),
        pytest.param("https://{your_okta_domain}", "placeholder", id="the_customer_s_form"),
        pytest.param("https://{yourOktaDomain}", "placeholder", id="okta_s_form"),
        pytest.param("https://${yourOktaDomain}", "placeholder", id="okta_s_other_form"),
        pytest.param("https://your_okta_domain", "placeholder", id="braces_taken_off"),
        pytest.param("https://<org>.okta.com", "placeholder", id="angle_brackets"),
        pytest.param("https://acme okta.com", "form", id="a_blank_inside"),
        pytest.param("https://acme\n.okta.com", "form", id="a_line_end_inside"),
        pytest.param("https://acme\x00.okta.com", "form", id="a_nul_inside"),
        pytest.param("https://acme\x1b[31m.okta.com", "form", id="an_escape_inside"),
        pytest.param("https:\\\\acme.okta.com", "form", id="backslashes"),
        pytest.param("https://acme..okta.com", "host name", id="an_empty_label"),
        pytest.param("https://.okta.com", "host name", id="no_first_label"),
        pytest.param("https://-acme.okta.com", "host name", id="a_hyphen_first"),
        pytest.param(f"https://{'a' * 64}.com", "host name", id="a_label_too_long"),
        pytest.param("https://" + "a." * 127 + "com", "host name", id="a_name_too_long"),
        pytest.param("https://bücher.example", "host name", id="not_ascii"),
        pytest.param("https://acme%2eokta.com", "host name", id="percent_encoded"),
        pytest.param("'https://acme.okta.com'", "host", id="quotes_within_quotes"),
        pytest.param("https://acme.okta.com:0", "host", id="port_0"),
        pytest.param("https://acme.okta.com:65536", "form", id="a_port_too_high"),
        pytest.param("https://acme.okta.com:a", "form", id="a_port_of_letters"),
        pytest.param("https://[::1", "form", id="a_bracket_not_closed"),
    ],
)
def test_what_is_not_the_address_of_an_org_is_refused_in_one_sentence(
    text: str, problem: str
) -> None:
    with pytest.raises(LocalError) as refused:
        settings.okta_url(text)

    assert str(refused.value).startswith("OKTA_URL ")
    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "OKTA_URL=https://" in refused.value.hint
    assert refused.value.setting == "OKTA_URL"


def test_a_password_in_the_address_is_not_repeated() -> None:
    with pytest.raises(LocalError) as refused:
        settings.okta_url("https://user:hunter2@acme.okta.com")

    assert "hunter2" not in f"{refused.value} {refused.value.hint}"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        pytest.param("https://acme-admin.okta.com", ACME, id="okta"),
        pytest.param("https://ACME-Admin.Okta.com/", ACME, id="upper_case"),
        pytest.param("acme-admin.okta.com", ACME, id="a_bare_domain"),
        pytest.param("https://acme-admin.okta.com/admin/dashboard", ACME, id="with_its_path"),
        pytest.param("https://acme-admin.okta.com.", ACME, id="with_the_root_s_point"),
        pytest.param("https://a-b-admin.okta.com", "https://a-b.okta.com", id="hyphens"),
        *(
            pytest.param(f"https://acme-admin.{domain}", f"https://acme.{domain}", id=domain)
            for domain in (
                *("oktapreview.com", "okta-emea.com", "okta-gov.com"),
                *("okta.mil", "okta-miltest.com", "trex-govcloud.com"),
            )
        ),
    ],
)
def test_the_address_of_the_admin_console_is_refused_with_the_one_that_was_meant(
    text: str, meant: str
) -> None:
    with pytest.raises(LocalError, match="Admin Console") as refused:
        settings.okta_url(text)

    assert refused.value.hint.endswith(f"OKTA_URL={meant}")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        pytest.param("https://acme.okta.com/oauth2/default", ACME, id="path"),
        pytest.param("https://acme.okta.com/?a=b", ACME, id="query"),
        pytest.param("https://acme.okta.com:8443/oauth2", f"{ACME}:8443", id="path_and_port"),
    ],
)
def test_an_address_with_more_behind_it_is_refused_with_the_one_that_was_meant(
    text: str, meant: str
) -> None:
    with pytest.raises(LocalError, match="include a path") as refused:
        settings.okta_url(text)

    assert refused.value.hint.endswith(f"OKTA_URL={meant}")


TOKEN = "00QCjAl4MlV-WPXMabcdefghij_klmno0HmjFx-vbG"  # noqa: S105 - made up


@pytest.mark.parametrize("form", ["{}", "https://{}", "https://{}/", " {}:443", "https://{}/x?y"])
def test_an_api_token_is_neither_an_address_nor_shown(form: str) -> None:
    assert len(TOKEN) == 42
    with pytest.raises(LocalError, match="looks like an API token") as refused:
        settings.okta_url(form.format(TOKEN))

    assert TOKEN[2:9].lower() not in f"{refused.value} {refused.value.hint}".lower()
    assert "swapped" in refused.value.hint


@pytest.mark.parametrize(
    "text", [f"{TOKEN}=", f"SSWS {TOKEN}", f"https://user@{TOKEN}", f"{TOKEN}~x/y"]
)
def test_what_is_no_host_name_is_not_shown(text: str) -> None:
    with pytest.raises(LocalError) as refused:
        settings.okta_url(text)

    assert TOKEN[2:9].lower() not in f"{refused.value} {refused.value.hint}".lower()


@examples(deadline=None)
@given(
    st.one_of(
        st.text(),
        st.text().map("https://".__add__),
        st.text(alphabet="aA1.-_:/@?#[]{}%\\ \t").map("https://acme".__add__),
    )
)
def test_any_text_is_either_refused_or_brought_to_a_form_that_stays(text: str) -> None:
    try:
        normal = settings.okta_url(text)
    except LocalError:
        return
    assert normal.startswith("https://")
    assert not normal.endswith("/")
    assert settings.okta_url(normal) == normal
