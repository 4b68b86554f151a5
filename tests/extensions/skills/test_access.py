"""Skills that are not for everybody: entries, folders and files, by every way to them (X-AUTH-5)."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from enfilade.auth import APIKeys, Principal, ResourceServer
from enfilade.auth.api_keys import hash_key
from enfilade.extensions.skills import Skill
from enfilade.serving.channel import Peer
from support.harness import Http, Serving
from support.http_client.connection import Reply
from support.servers.skill_server import SkillServer, text_of_skill, writer

AUDITOR, WRITER, GUEST = "key-of-the-auditor", "key-of-the-writer", "key-of-a-guest"
SCOPE = "skills:write"


def audits(principal: Principal | None, peer: Peer) -> bool:
    return principal is not None and principal.subject == "auditor"


def server(root: Path) -> SkillServer:
    """Return a server of skills for everybody and others, in folders below a root."""
    principals = {
        AUDITOR: Principal("auditor"),
        WRITER: Principal("writer", scopes=frozenset({SCOPE})),
        GUEST: Principal("guest"),
    }
    keys = APIKeys({hash_key(key): principal for key, principal in principals.items()})
    writer(root)("open/open/SKILL.md", text_of_skill("open"))
    writer(root)("closed/closed/SKILL.md", text_of_skill("closed"))
    writer(root)("closed/closed/deep/notes.txt", "closed")
    app = SkillServer(root / "open", auth=ResourceServer("https://mcp.example.com/mcp", verifiers=[keys]))
    app.add_skills(root / "closed", requires_scopes=[SCOPE])
    files: dict[str, str | bytes] = {"notes.txt": "hidden"}
    app.add_skill(Skill("hidden", "Hidden.", "# Hidden\n", files=files), visible=audits)
    return app


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Http]:
    with Serving(server(tmp_path_factory.mktemp("skills"))) as serving:
        yield serving.http


def ask(http: Http, key: str, method: str, **params: str) -> Reply:
    return http.modern(method, params, authorization=f"Bearer {key}")


CLOSED = [
    ("skills/get", "skill://closed/SKILL.md"),
    ("resources/read", "skill://closed/SKILL.md"),
    ("resources/read", "skill://closed/deep/notes.txt"),
    ("resources/directory/read", "skill://closed"),
    ("resources/directory/read", "skill://closed/deep"),
]
HIDDEN = [
    ("skills/get", "skill://hidden/SKILL.md"),
    ("resources/read", "skill://hidden/SKILL.md"),
    ("resources/read", "skill://hidden/notes.txt"),
    ("resources/directory/read", "skill://hidden"),
]


@pytest.mark.parametrize(("method", "uri"), CLOSED)
def test_scopes(http: Http, method: str, uri: str) -> None:
    assert "result" in ask(http, WRITER, method, uri=uri).messages[0]
    refused = ask(http, GUEST, method, uri=uri)
    assert refused.status == 403
    assert f'scope="{SCOPE}"' in str(refused.header("www-authenticate"))


@pytest.mark.parametrize(("method", "uri"), HIDDEN)
def test_what_is_hidden_is_unknown(http: Http, method: str, uri: str) -> None:
    assert "result" in ask(http, AUDITOR, method, uri=uri).messages[0]
    refused = ask(http, GUEST, method, uri=uri).error
    unknown = ask(http, GUEST, method, uri=uri.replace("hidden", "absent")).error
    assert refused["code"] == unknown["code"] == -32602
    assert refused["message"] == unknown["message"].replace("absent", "hidden")


@pytest.mark.parametrize(
    "uri",
    [
        "skill://hidden%2Fnotes.txt",
        "skill://hidden/%6Eotes.txt",
        "SKILL://hidden/notes.txt",
        "skill://open/../hidden/notes.txt",
        "skill://open%2F..%2Fhidden/notes.txt",
        "skill://hidden/notes.txt#x",
        "skill://hidden/notes.txt?x=1",
        "skill://hidden//notes.txt",
    ],
)
def test_no_spelling_leads_past_it(http: Http, uri: str) -> None:
    assert ask(http, GUEST, "resources/read", uri=uri).error["code"] == -32602


@pytest.mark.parametrize("name", ["SKILL.md", "notes.txt"])
def test_a_skill_that_a_read_finds_first(tmp_path: Path, name: str) -> None:
    """Who may read it was not known when the caller was checked, so nobody gets it by this read."""
    uri = f"skill://new/{name}"
    with Serving(server(tmp_path)) as serving:
        for key in (GUEST, WRITER):
            writer(tmp_path)("closed/new/notes.txt", "closed")
            writer(tmp_path)("closed/new/SKILL.md", text_of_skill("new"))
            assert ask(serving.http, key, "resources/read", uri=uri).error["code"] == -32602
            assert ask(serving.http, GUEST, "resources/read", uri=uri).status == 403
            assert "result" in ask(serving.http, WRITER, "resources/read", uri=uri).messages[0]
            shutil.rmtree(tmp_path / "closed/new")
            ask(serving.http, GUEST, "skills/list")


def test_a_skill_that_gives_way_to_one_for_others(tmp_path: Path) -> None:
    app = server(tmp_path)
    writer(tmp_path)("other/closed/SKILL.md", text_of_skill("closed"))
    writer(tmp_path)("other/closed/deep/notes.txt", "for others")
    app.add_skills(tmp_path / "other", requires_scopes=["skills:other"])
    with Serving(app) as serving:
        shutil.rmtree(tmp_path / "closed/closed")
        listed = ask(serving.http, WRITER, "skills/list").result["skills"]
        assert "skill://closed/SKILL.md" in [entry["uri"] for entry in listed]
        for method, uri in CLOSED:
            refused = ask(serving.http, WRITER, method, uri=uri)
            assert refused.status == 403
            assert 'scope="skills:other"' in str(refused.header("www-authenticate"))


def test_lists(http: Http) -> None:
    """X-AUTH-6: a list that not everybody gets alike is private."""
    for key, names in (
        (GUEST, ["open", "in-code", "state-of-things", "closed"]),
        (AUDITOR, ["open", "in-code", "state-of-things", "closed", "hidden"]),
    ):
        result = ask(http, key, "skills/list").result
        assert [entry["frontmatter"]["name"] for entry in result["skills"]] == names
        assert result["cacheScope"] == "private"
        listed = [each["name"] for each in ask(http, key, "resources/list").result["resources"]]
        assert ("hidden" in listed) is (key == AUDITOR)
        templates = ask(http, key, "resources/templates/list").result["resourceTemplates"]
        assert ("skill://hidden/{+path}" in [each["uriTemplate"] for each in templates]) is (key == AUDITOR)


def test_hints_for_caches(tmp_path: Path) -> None:
    writer(tmp_path)("a/SKILL.md", text_of_skill("a"))
    from enfilade import MCPApp

    app = MCPApp("cached")
    app.add_skills(tmp_path, ttl=60, cache_scope="public")
    with Serving(app) as serving:
        http = serving.http
        for method, params in (
            ("skills/list", {}),
            ("skills/get", {"uri": "skill://a/SKILL.md"}),
            ("resources/read", {"uri": "skill://a/SKILL.md"}),
        ):
            result = http.modern(method, params).result
            assert (result["ttlMs"], result["cacheScope"]) == (60_000, "public")
        app.add_skill(Skill("b", "Does b.", ""), ttl=1)
        result = http.modern("skills/list").result
        assert (result["ttlMs"], result["cacheScope"]) == (1000, "private")
