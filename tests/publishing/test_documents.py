"""X-CARD-1, X-CARD-3: what is in the server card and in the catalog, and when there are none."""

import logging
from typing import Any

import pytest

from enfilade import MCPApp, Settings
from enfilade.auth import APIKeys, Principal, ResourceServer, hash_key
from enfilade.primitives.names import check_registry_name
from enfilade.primitives.public_urls import is_internal_host
from enfilade.publishing.documents import Documents, card, catalog, documents_of, warn_of_fault
from enfilade.publishing.facts import ServerFacts, facts_of, fault_of_version, shortened
from enfilade.settings import SettingsError
from enfilade.testing import Issuer
from enfilade.wire.content import Icon
from support.publishing.schemas import CARD, complaints

URL = "https://mcp.example.com/mcp"
issuer = Issuer()


def make(name: str = "Notes", *, url: str = URL, **options: Any) -> MCPApp:
    options = {"registry_name": "io.github.ada/notes", **options}
    return MCPApp(name, settings=Settings(public_url=url), **options)


def card_of(app: MCPApp) -> dict[str, Any]:
    content = card(facts_of(app))
    assert complaints(CARD, content) == []
    return content


def test_all_that_an_app_says_is_in_the_card() -> None:
    """X-CARD-1."""
    app = make(
        title="Notes of everybody",
        version="1.2.3",
        description="Keep notes.",
        instructions="Ask the owner.",
        website_url="https://notes.example.com",
        repository="https://github.com/ada/notes",
        icons=[{"src": "https://notes.example.com/icon.png", "sizes": ["48x48"]}, "data:image/png;base64,AA=="],
    )

    @app.tool(requires_secrets=["KEY"])
    def hidden() -> None:
        """Do it."""

    assert card_of(app) == {
        "$schema": "https://static.modelcontextprotocol.io/schemas/v1/server-card.schema.json",
        "name": "io.github.ada/notes",
        "title": "Notes of everybody",
        "description": "Keep notes.",
        "version": "1.2.3",
        "websiteUrl": "https://notes.example.com",
        "icons": [
            {"src": "https://notes.example.com/icon.png", "sizes": ["48x48"]},
            {"src": "data:image/png;base64,AA=="},
        ],
        "repository": {"url": "https://github.com/ada/notes", "source": "github"},
        "remotes": [
            {
                "type": "streamable-http",
                "url": URL,
                "supportedProtocolVersions": ["2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"],
            }
        ],
    }


def test_what_an_app_does_not_say_is_not_made_up() -> None:
    """X-CARD-1: the required description is the name."""
    assert card_of(make()) == {
        "$schema": "https://static.modelcontextprotocol.io/schemas/v1/server-card.schema.json",
        "name": "io.github.ada/notes",
        "title": "Notes",
        "description": "Notes",
        "version": "0.1.0",
        "remotes": card_of(make())["remotes"],
    }


def test_nothing_internal_and_no_secret_is_in_it() -> None:
    """X-CARD-2: instructions may be for callers with a token alone."""
    app = make(
        instructions="The password is tea.",
        website_url="https://wiki.corp/notes",
        icons=["https://10.0.0.5/icon.png", "https://static.internal/icon.png"],
        secrets={"KEY": "tea"},
        auth=ResourceServer(URL, [issuer.server()], scopes=["notes:read"]),
    )
    content = card_of(app)
    assert {"websiteUrl", "icons"} & content.keys() == set()
    assert "tea" not in str(content)
    assert issuer.url not in str(content)


@pytest.mark.parametrize(
    ("title", "description"),
    [
        ("T" * 100, "D" * 100),
        ("T" * 101, "word " * 60),
        ("日本語" * 60, "é" * 300),
        ("a\nb", "Zwei\r\nZeilen\t und  mehr"),
        ("\U0001f375" * 101, "a\ud800b"),
        ("a\x00 \x1b[31m b", "up\u202e \x85 down\u2066"),
    ],
    ids=["100", "101", "unicode", "lines", "astral", "controls"],
)
def test_texts_that_are_too_long_or_on_several_lines(title: str, description: str) -> None:
    """X-CARD-1: 1 to 100 characters."""
    content = card_of(make(title=title, description=description))
    for text in (content["title"], content["description"]):
        assert text.isprintable()
        text.encode()


def test_a_text_is_cut_behind_a_word() -> None:
    assert shortened("one two three", 9) == "one two…"
    assert shortened("one, two", 6) == "one…"
    assert shortened("onetwothree", 6) == "onetw…"
    assert shortened("one two", 7) == "one two"


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("com.example/weather", "urn:air:example.com:mcp:weather"),
        ("io.github.ada/notes_2.x", "urn:air:ada.github.io:mcp:notes_2.x"),
    ],
)
def test_the_catalog_names_the_card(name: str, identifier: str) -> None:
    """X-CARD-3."""
    assert catalog(facts_of(make(registry_name=name, url="https://mcp.example.com/a/mcp/"))) == {
        "specVersion": "1.0",
        "entries": [
            {
                "identifier": identifier,
                "type": "application/mcp-server-card+json",
                "url": "https://mcp.example.com/a/mcp/server-card",
            }
        ],
    }


@pytest.mark.parametrize(
    "name",
    [
        "io.github.ada/notes",
        "com.example/A.b_c-d",
        "a.b/cc",
        "com.example.deep-er/x1",
        f"com.example/{'n' * 188}",
    ],
)
def test_names_that_registries_take(name: str) -> None:
    """X-REG-1."""
    assert check_registry_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("notes", "ada/notes", "com.example/", "/notes", "com.example/a/b", "com..example/notes", ".com/notes"),
        *(
            "com.example./notes",
            "com.-a/notes",
            "com.example/-a",
            "com.example/a-",
            "com.example/a",
            "com.exä/notes",
        ),
        *("com.example/nötes", "com.example/notes\n", "com.example /notes", f"com.example/{'n' * 189}"),
        *("com.example/../etc", "com.example/a%2fb", "com.example/a\x00b", "com_x.example/notes"),
    ],
)
def test_names_that_they_refuse(name: str) -> None:
    """X-REG-1: the setting is refused as well, and says how it is written."""
    with pytest.raises(ValueError, match=r"is no name for a registry: write .*io\.github\.ada/notes"):
        check_registry_name(name)
    with pytest.raises(SettingsError, match=r"registry_name \(argument\): .* is no name for a registry"):
        make(registry_name=name)


def test_a_long_name_takes_no_long_time() -> None:
    """The pattern is not tried on what is longer than a name."""
    with pytest.raises(ValueError, match="is no name"):
        check_registry_name("a" * 1_000_000)


@pytest.mark.parametrize(
    "version", ["1.0.2", "v1", "2.1.0-alpha", "2026-11-28", "1.0+local.1", "xenial", "1.0-x1"]
)
def test_versions_of_one(version: str) -> None:
    """X-CARD-1."""
    assert fault_of_version(version) == ""


@pytest.mark.parametrize(
    "version",
    [
        *(
            "",
            "^1.2.3",
            "~1.2",
            ">=1.0.0",
            "<2",
            "=1.0.0",
            "1.x",
            "1.2.X",
            "x",
            "1.*",
            "*",
            "1 - 2",
            "1.2 || 1.3",
        ),
        *("latest", "1" * 256, "v1.x", "1.x-beta"),
    ],
)
def test_versions_of_several(version: str) -> None:
    """X-CARD-1: no ranges."""
    assert "version" in fault_of_version(version)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://mcp.example.com/mcp",
            "https://10.0.0.5/mcp",
            "https://192.168.1.1/mcp",
            "https://[fd00::1]/mcp",
        ),
        *(
            "https://[fe80::1%25eth0]/mcp",
            "https://[::ffff:10.0.0.1]/mcp",
            "https://mcp/mcp",
            "https://mcp.local/mcp",
        ),
        *(
            "https://notes.svc.cluster.local/mcp",
            "https://mcp.corp/",
            "https://mcp.internal./mcp",
            "https://10.1/mcp",
        ),
        *(
            "https://0x7f000001/mcp",
            "https://167772161/mcp",
            "https://169.254.169.254/mcp",
            "https://0.0.0.0/mcp",
        ),
        *(
            "https://ada:pw@mcp.example.com/mcp",
            "https://mcp.example.com/mcp?key=tea",
            "https://mcp.example.com/#a",
        ),
        *("https://{tenant}.example.com/mcp", "mcp.example.com", "ftp://mcp.example.com", "https:///mcp"),
        *(
            "https://mcp.example.com:0/mcp",
            "https://mcp.exam ple.com/mcp",
            "https://mcp.exämple.com/mcp",
            "//a.b/mcp",
        ),
        *(
            "https://mcp.example.com:99999/mcp",
            "https://100.64.0.1/mcp",
            "https://[::]/mcp",
            "javascript:alert(1)",
        ),
    ],
)
def test_urls_that_are_told_to_nobody(url: str) -> None:
    """X-CARD-2: as a setting they are an error, which shows no password; of `auth=` they make no card."""
    with pytest.raises(SettingsError, match=r"public_url: .*; write the URL that clients call") as caught:
        make(url=url)
    assert "pw" not in str(caught.value)
    assert "tea" not in str(caught.value)
    facts = facts_of(make())
    documents = Documents(ServerFacts(registry_name="a.b/cc", title="t", version="1", url=url), "/mcp")
    assert documents.fault
    assert documents.at("/mcp/server-card", is_mounted=False) is None
    assert facts.url == URL


@pytest.mark.parametrize(
    "url",
    [
        *(URL, "https://mcp.example.com", "https://MCP.example.com:8443/a/", "https://[2606:4700::1111]/mcp"),
        *("https://8.8.8.8/mcp", "http://127.0.0.1:8000/mcp", "http://[::1]:8000/mcp", "http://localhost/mcp"),
    ],
)
def test_urls_that_are_told(url: str) -> None:
    """X-CARD-2: http is for this machine alone."""
    assert card_of(make(url=url))["remotes"][0]["url"] == url


def test_internal_hosts() -> None:
    assert is_internal_host("localhost")
    assert not is_internal_host("internal.example.com")


def test_the_url_is_that_of_the_resource() -> None:
    """X-CARD-2: with `auth=` nothing else is needed, and two URLs are a mistake that is said at the start."""
    auth = ResourceServer("https://mcp.example.com/mcp/", [issuer.server()])
    assert card_of(make(url="", auth=auth))["remotes"][0]["url"] == URL
    assert card_of(make(url=f"{URL}/", auth=auth))["remotes"][0]["url"] == f"{URL}/"
    with pytest.raises(
        SettingsError, match=r"public_url: it is 'https://other.example.com/mcp', but tokens are for"
    ):
        make(url="https://other.example.com/mcp", auth=auth).authenticator


def test_callers_that_cannot_log_in_are_told_what_to_send() -> None:
    """X-CARD-1: a client that can log in finds out where by itself."""
    keys = APIKeys({hash_key("the-key"): Principal("ci")})
    (remote,) = card_of(make(url="", auth=ResourceServer(URL, verifiers=[keys])))["remotes"]
    assert remote["headers"] == [
        {
            "name": "Authorization",
            "isRequired": True,
            "isSecret": True,
            "value": "Bearer {key}",
            "variables": {"key": {"description": "API key or token", "isRequired": True, "isSecret": True}},
        }
    ]
    assert "headers" not in card_of(make(url="", auth=ResourceServer(URL, [issuer.server()])))["remotes"][0]


@pytest.mark.parametrize(
    ("repository", "source"),
    [
        ("https://github.com/ada/notes", "github"),
        ("https://www.gitlab.com/ada/group/notes", "gitlab"),
        ("https://codeberg.org/ada/notes", "codeberg.org"),
    ],
)
def test_the_service_of_a_repository(repository: str, source: str) -> None:
    assert card_of(make(repository=repository))["repository"] == {"url": repository, "source": source}


def test_a_repository_that_is_no_page_is_refused() -> None:
    with pytest.raises(
        SettingsError, match=r"repository \(argument\): .*write one such as https://github.com/ada"
    ):
        make(repository="git@github.com:ada/notes.git")


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"registry_name": None}, "registry_name"),
        ({"url": ""}, "public_url"),
        ({"version": "^1"}, "stands for several"),
        ({"url": "", "auth": ResourceServer("https://mcp.corp/mcp", [issuer.server()])}, "one network only"),
    ],
    ids=["name", "url", "version", "internal"],
)
def test_without_what_it_needs_there_is_no_card(
    options: dict[str, Any], fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    """X-CARD-1, X-CARD-2: the log says why, where somebody has said the URL."""
    app = make(**options)
    assert fault in documents_of(app).fault
    with caplog.at_level(logging.WARNING, logger="enfilade"):
        warn_of_fault(app)
    assert [line for line in caplog.messages if fault in line] == (
        caplog.messages[:1] if facts_of(app).url else []
    )


def test_icons_are_those_of_the_handshake() -> None:
    icon = Icon(src="https://a.example/i.svg", mime_type="image/svg+xml", theme="dark")
    assert card_of(make(icons=[icon]))["icons"] == [
        {"src": "https://a.example/i.svg", "mimeType": "image/svg+xml", "theme": "dark"}
    ]


def test_the_same_app_makes_the_same_bytes() -> None:
    """So that an entity tag of one worker is known to the others."""
    first, second = (documents_of(make()).at("/mcp/server-card", is_mounted=False) for _ in range(2))
    assert first == second
    assert first is not None


@pytest.mark.parametrize(
    ("path", "warned"), [("/mcp", 0), ("/mcp/", 0), ("/tools/mcp", 0), ("", 1), ("/other", 1)]
)
def test_a_url_that_leads_elsewhere_is_warned_of(
    path: str, warned: int, caplog: pytest.LogCaptureFixture
) -> None:
    """X-CARD-2: the card would contradict the server."""
    with caplog.at_level(logging.WARNING, logger="enfilade"):
        warn_of_fault(make(url=f"https://mcp.example.com{path}"))
    assert len([line for line in caplog.messages if "does not end in the path of the endpoint" in line]) == warned
