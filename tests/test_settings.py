"""What each setting must look like; any other is a local error before anything is sent."""

import json
import re

import pytest
from conftest import CREATE_APP, GENERATE_KEYS, GET_TOKEN, SETTINGS, EnvFile, Run
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from faults import Sandbox

from pkj import keys, settings
from pkj.errors import LocalError
from pkj.sandbox.state import Client

ACME = "https://acme.okta.com"
TOKEN = "00QCjAl4MlV-WPXMabcdefghij_klmno0HmjFx-vbG"  # noqa: S105 - made up
PKCS8 = serialization.PrivateFormat.PKCS8
PKCS1 = serialization.PrivateFormat.TraditionalOpenSSL
OURS = rsa.generate_private_key(65537, 2048)
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def pem(key: PrivateKey, form: serialization.PrivateFormat = PKCS8, password: str = "") -> str:
    lock = serialization.BestAvailableEncryption(password.encode()) if password else None
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, lock or plain).decode()


PUBLIC = keys.public_pem(keys.modulus_of(OURS))
EMPTY_PEM = "-----BEGIN PRIVATE KEY-----\n\n-----END PRIVATE KEY-----"
JWK = json.dumps(keys.jwk(keys.modulus_of(OURS), "kid"))
SHORT = rsa.generate_private_key(65537, 1024)  # noqa: S505 - made to be refused
ELLIPTIC = ec.generate_private_key(ec.SECP256R1())
BOTH, APP = (CREATE_APP, GET_TOKEN), (CREATE_APP,)
BAD = [
    # scripts, setting, what is said, texts
    (BOTH, "PRIVATE_KEY", "PEM", "garb\u00e4ge", EMPTY_PEM, EMPTY_PEM[:27], pem(OURS)[:900]),
    (BOTH, "PRIVATE_KEY", "PEM", "".join(pem(OURS).split("\n")[1:-2])),
    (BOTH, "PRIVATE_KEY", "public key", PUBLIC, PUBLIC.replace("PUBLIC KEY", "CERTIFICATE")),
    (BOTH, "PRIVATE_KEY", "public key", "ssh-rsa AAAAB3NzaC1yc2E= me@here"),
    (BOTH, "PRIVATE_KEY", "JWK", JWK, ' \n{"keys":[]}'),
    (BOTH, "PRIVATE_KEY", "encrypted", pem(OURS, PKCS8, "word"), pem(OURS, PKCS1, "word")),
    (BOTH, "PRIVATE_KEY", "RSA", pem(ELLIPTIC), pem(ed25519.Ed25519PrivateKey.generate())),
    (BOTH, "PRIVATE_KEY", "1024 bits", pem(SHORT)),
    (BOTH, "PRIVATE_KEY", "exponent", pem(rsa.generate_private_key(3, 2048))),
    (APP, "MODULUS", "base64url", " \n", "====", "A", "AQ=B", "AQ.B", "AQ\u0661B", "c8:0e:af"),
    (APP, "MODULUS", "", pem(OURS)),
    (APP, "MODULUS", "17 bits", "AQAB"),
    (APP, "MODULUS", "2047 bits", keys.to_base64url(2**2047 - 1)),
    (BOTH, "CLIENT_ID", "", "0oa any", "0oaAny\n", '"0oaAny"', "..", "0oa/any", pem(OURS)),
    (BOTH, "CLIENT_ID", "", "0oa\u00fc", "0oaAny\u200b", "0" * 513),
    (APP, "API_KEY", "placeholder", "{okta_api_key}", "<token>"),
    (APP, "API_KEY", "is a URL", "https://acme.okta.com/", "Acme.Okta.com"),
    (APP, "API_KEY", "", "00pre\nX-Evil: 1", "00pre tend", "00pret\u00e4nd", "00\u4e2d", "SSWS "),
    (APP, "API_KEY", "", f"SSWS {TOKEN}  ", f" {TOKEN}", f"{TOKEN}\n", f"ssws {TOKEN}"),
    (BOTH, "SCOPES", "commas", "okta.users.read,okta.users.manage"),
    (BOTH, "SCOPES", "SCOPES is empty", "  "),
    (BOTH, "DPOP", "'perhaps'", "perhaps"),
    (APP, "ADMIN_ROLES", "'read_only'", "SUPER_ADMIN read_only lower"),
    (APP, "ADMIN_ROLES", "'CUSTOM'", "CUSTOM"),
    (BOTH, "OKTA_URL", "https", "http://127.0.0.1"),
    (BOTH, "OKTA_URL", "API token", TOKEN),
]
ROWS = [(script, *row[1:3], text) for row in BAD for text in row[3:] for script in row[0]]
IDS = [f"{row[1]}-{number}" for number, row in enumerate(ROWS)]


@pytest.mark.parametrize(("script", "setting", "said", "text"), ROWS, ids=IDS)
def test_wrong_setting_is_a_local_error(
    script: str, setting: str, said: str, text: str, env: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    env.write(**{"PRIVATE_KEY": pem(OURS), "CLIENT_ID": "0oaAny", setting: text})
    before = env.path.read_bytes()

    result = run(script, "-v")

    assert (result.returncode, result.stdout) == (1, ""), result.stderr
    (error,) = re.findall(r"\Aerror: (.{,293})\nwhat to do: .*\n\Z", result.stderr)
    assert setting in error
    assert said in error
    assert TOKEN[:9] not in result.stderr
    assert not [word for word in text.split() if len(word) >= 60 and word in result.stderr]
    assert text not in result.stderr or setting not in ("PRIVATE_KEY", "API_KEY")
    assert env.path.read_bytes() == before
    assert sandbox.connections == 0


GOOD: list[dict[str, str]] = [
    *({}, {"API_KEY": "SSWS {}"}, {"CLIENT_ID": "0" * 512}, {"DPOP": " TRUE\n"}, {"DPOP": "False"}),
    {"ADMIN_ROLES": "REPORT_ADMIN  HELP_DESK_ADMIN\nREPORT_ADMIN"},
]


@pytest.mark.parametrize("script", [CREATE_APP, GET_TOKEN])
@pytest.mark.parametrize("changes", GOOD)
def test_right_setting_reaches_the_org(
    changes: dict[str, str], script: str, env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    changes = {name: text.format(sandbox.org.api_key) for name, text in changes.items()}
    env_with_key.write(**({"CLIENT_ID": "0oaAny"} | changes))

    result = run(script)

    assert result.returncode == (0 if script == CREATE_APP else 3), result.stderr
    sent = {seen.request.headers.get("authorization") for seen in sandbox.seen}
    # The org's public documents are asked for without it.
    assert sent == ({f"SSWS {sandbox.org.api_key}", None} if script == CREATE_APP else {None})
    assert sandbox.org.api_key not in result.stdout + result.stderr
    if script == CREATE_APP:
        (app,) = sandbox.org.clients.values()
        assert app.dpop_bound == ("TRUE" in changes.get("DPOP", ""))
        assert list(app.roles) == list(dict.fromkeys(changes.get("ADMIN_ROLES", "").split()))


UNUSED = {GENERATE_KEYS: {*SETTINGS}, CREATE_APP: {"PUBLIC_KEY", "ADMIN_ROLES"}}
UNUSED[GET_TOKEN] = {"API_KEY", "MODULUS", *UNUSED[CREATE_APP]}


@pytest.mark.parametrize("script", [GENERATE_KEYS, CREATE_APP, GET_TOKEN])
@pytest.mark.parametrize("setting", SETTINGS)
def test_environment_that_is_not_utf_8_is_a_local_error(
    script: str, setting: str, env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    env_with_key.write(CLIENT_ID="0oaAny")
    before = env_with_key.path.read_bytes()

    result = run(
        script, "-v" if script != GENERATE_KEYS else "--force", env={setting: "00\udcff\udcfe"}
    )

    refused = f"error: {setting} in the environment is not UTF-8 text\n" in result.stderr
    assert refused == (setting not in UNUSED[script])
    if refused:
        assert (result.returncode, sandbox.seen) == (1, [])
        assert env_with_key.path.read_bytes() == before
    assert "udcff" not in result.stdout + result.stderr


SCOPES = {
    "b a": ["b", "a"],
    "  a \t b\n c ": ["a", "b", "c"],
    "a b a A a": ["a", "b", "A"],
    "!#[]~ x/y:z": ["!#[]~", "x/y:z"],
}


@pytest.mark.parametrize(("text", "read"), SCOPES.items())
def test_scopes_are_separated_by_spaces(text: str, read: list[str]) -> None:
    assert settings.scopes(text) == read


BAD_SCOPES = {
    "a,b": ("commas", "a b"),
    "a, b ,c": ("commas", "a b c"),
    "a,": ("commas", "a"),
    ",": ("commas", settings.EXAMPLE_SCOPES),
    "": ("SCOPES is empty", settings.EXAMPLE_SCOPES),
    " \n\t": ("SCOPES is empty", settings.EXAMPLE_SCOPES),
    '"okta.users.read': ('"okta.users.read', settings.EXAMPLE_SCOPES),
    "a b\\c d\\e": ("b\\\\c", settings.EXAMPLE_SCOPES),
    "a \u00e9": ("\u00e9", settings.EXAMPLE_SCOPES),
    "a b\x1b": (r"b\x1b", settings.EXAMPLE_SCOPES),
}


@pytest.mark.parametrize("text", BAD_SCOPES)
def test_what_cannot_be_scopes_is_refused_with_the_right_form(text: str) -> None:
    said, meant = BAD_SCOPES[text]
    with pytest.raises(LocalError, match=f"^[^\n]*{re.escape(said)}[^\n]*$") as refused:
        settings.scopes(text)

    assert f"SCOPES='{meant}'" in refused.value.hint


@pytest.mark.parametrize(("written", "warned"), [("{url}", False), ("{host}", True)])
def test_url_without_https_is_warned_about(
    written: str, warned: bool, app: Client, env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    host = sandbox.url.removeprefix("https://")
    env_with_key.write(OKTA_URL=written.format(url=sandbox.url, host=host))
    result = run(GET_TOKEN)
    assert (result.returncode, app.status) == (0, "ACTIVE")
    assert (f"warning: set OKTA_URL={sandbox.url}: " in result.stderr) == warned


URLS = {
    ACME: [
        *(ACME, f"{ACME}/", f"{ACME}//", f" \t{ACME}/ \n", f"{ACME}:443", f"{ACME}:", f"{ACME}."),
        *("HTTPS://Acme.Okta.COM", "acme.okta.com", "acme.okta.com/"),
    ],
    f"{ACME}:8443": ["acme.okta.com:8443", f"{ACME}:8443/"],
    "https://localhost": ["localhost"],
    f"https://{TOKEN[:19].lower()}": [f"https://{TOKEN[:19]}"],
}
UNCHANGED = [
    *("https://127.0.0.1:1", "https://[::1]:65535", "https://login.acme.example"),
    *("https://xn--bcher-kva.example", "https://a_b.example", "https://acme-admin.example"),
    *("https://admin.okta.com", f"https://{'a' * 35}", f"https://{'a' * 63}.com"),
    f"https://{'a.' * 125}com",
]
URLS |= {url: [url] for url in UNCHANGED}


@pytest.mark.parametrize(
    ("text", "normal"), [(text, normal) for normal, texts in URLS.items() for text in texts]
)
def test_okta_url_is_brought_to_one_form(text: str, normal: str) -> None:
    assert settings.okta_url(text) == normal
    assert settings.okta_url(normal) == normal


BAD_URLS = {
    "http://": ["http://acme.okta.com", "HTTP://acme.okta.com", "http:acme.okta.com"],
    "ftp://": ["ftp://acme.okta.com"],
    "no valid host": ["https:acme.okta.com", "https://", "https:///acme.okta.com", "", f"'{ACME}'"],
    "user name or password": ["https://user:hunter2@a.com", "user@a.com", "https://@a.com"],
    "include a path": [f"{ACME}/oauth2", "a.com/oauth2/default", f"{ACME}?a=b", f"{ACME}/#a"],
    "placeholder": [
        *("https://{your_okta_domain}", "https://{yourOktaDomain}", "https://${yourOktaDomain}"),
        *("https://your_okta_domain", "https://<org>.okta.com"),
    ],
    "form https://host": [
        *("https://acme okta.com", "https://acme\n.okta.com", "https://acme\x00.okta.com"),
        *("https://acme\x1b[31m.okta.com", "https:\\\\acme.okta.com", "https://[::1"),
        *(f"{ACME}:65536", f"{ACME}:a"),
    ],
    "host name": [
        *("https://acme..okta.com", "https://.okta.com", "https://-acme.okta.com", f"{ACME}:0"),
        *("https://b\u00fccher.example", "https://acme%2eokta.com", f"https://{'a' * 64}.com"),
        *(f"https://{'a.' * 125}comm", f"{TOKEN}=", f"{TOKEN}~x/y"),
    ],
    "looks like an API token": [
        *(TOKEN, f"https://{TOKEN}", f"https://{TOKEN}/", f" {TOKEN}:443", f"https://{TOKEN}/x?y"),
        *(f"https://{TOKEN[:20]}", f"https://{'a' * 36}"),
    ],
    "is not of the form": [f"SSWS {TOKEN}"],
    "must not include": [f"https://user@{TOKEN}"],
}


DOMAINS = (
    *("okta.com", "oktapreview.com", "okta-emea.com", "okta-gov.com"),
    *("okta.mil", "okta-miltest.com", "trex-govcloud.com"),
)
ADMIN = "https://acme-admin.okta.com"
MEANT_BY_ADMIN = {
    **{f"https://acme-admin.{domain}": f"https://acme.{domain}" for domain in DOMAINS},
    **dict.fromkeys([f"{ADMIN.upper()}/", ADMIN[8:], f"{ADMIN}/admin/home", f"{ADMIN}."], ACME),
    "https://a-b-admin.okta.com": "https://a-b.okta.com",
}
MEANT_BY_PATH = {f"{ACME}/oauth2": ACME, f"{ACME}/?a=b": ACME, f"{ACME}:1/oauth2": f"{ACME}:1"}
BAD_ROWS = [(said, text, "https://") for said, texts in BAD_URLS.items() for text in texts]
BAD_ROWS += [("Admin Console", text, meant) for text, meant in MEANT_BY_ADMIN.items()]
BAD_ROWS += [("include a path", text, meant) for text, meant in MEANT_BY_PATH.items()]


@pytest.mark.parametrize(("said", "text", "meant"), BAD_ROWS)
def test_okta_url_that_is_not_of_an_org_is_refused(said: str, text: str, meant: str) -> None:
    with pytest.raises(LocalError) as refused:
        settings.okta_url(text)

    error, hint = str(refused.value), refused.value.hint
    assert re.fullmatch(f"OKTA_URL .*{re.escape(said)}.*", error)
    assert f"OKTA_URL={meant}" in hint
    assert hint.endswith(meant) or meant == "https://"
    assert ("swapped" in hint) == ("API token" in said)
    assert TOKEN[2:9].lower() not in f"{error}{hint}".lower()
    assert "hunter2" not in f"{error}{hint}"
