"""`skills/list`, `skills/get`, `resources/directory/read` and `resources/read`, by both transports and both
kinds of revisions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from enfilade import MCPApp
from enfilade.extensions.skills import Skill
from enfilade.serving.pagination import encode_cursor
from enfilade.wire.revisions import LATEST_HANDSHAKE
from support.harness import CLIENT_KINDS, Http, McpClient, Serving, open_client
from support.http_client.connection import request_of, stateless_meta
from support.servers import skill_server
from support.servers.skill_server import ID, PIXEL, SkillServer, bytes_of, text_of_skill, verify, writer

#: The skills of the server, in listed order.
NAMES = ["refunds", "data-report", "charts", "in-code", "state-of-things"]
REPORT = "skill://data-report"


@pytest.fixture(scope="module")
def http() -> Iterator[Http]:
    with Serving(SkillServer()) as serving:
        yield serving.http


@pytest.fixture(params=CLIENT_KINDS, scope="module")
def client(request: pytest.FixtureRequest, http: Http) -> Iterator[McpClient]:
    with open_client(request.param, http, Path(skill_server.__file__)) as client:
        yield client


def read(client: McpClient, uri: str) -> dict[str, Any]:
    (contents,) = client.ask("resources/read", {"uri": uri}).result["contents"]
    found: dict[str, Any] = contents
    assert found["uri"] == uri
    return found


def entry_of(client: McpClient, uri: str) -> dict[str, Any]:
    entry: dict[str, Any] = client.ask("skills/get", {"uri": uri}).result["skill"]
    return entry


def error_of(client: McpClient, method: str, params: dict[str, Any]) -> dict[str, Any]:
    return client.ask(method, params).error


class TestDeclared:
    def test_with_its_setting(self, http: Http) -> None:
        """X-SKILL-1."""
        capabilities = http.modern("server/discover").result["capabilities"]
        assert capabilities["extensions"] == {ID: {"directoryRead": True}}
        assert capabilities["resources"] == {"subscribe": True, "listChanged": True}

    @pytest.mark.parametrize("revision", ["2025-11-25", "2025-06-18", "2025-03-26"])
    def test_in_sessions(self, http: Http, revision: str) -> None:
        """X-SKILL-1: older revisions have no extensions, so the methods are unknown there."""
        params = {"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
        capabilities = http.post(request_of("initialize", params, 1, None)).result["capabilities"]
        has_extensions = revision == LATEST_HANDSHAKE
        assert ("extensions" in capabilities) is has_extensions
        assert "resources" in capabilities
        reply = http.initialize(revision).ask("skills/list")
        assert ("result" in reply.messages[0]) is has_extensions

    def test_only_with_skills(self) -> None:
        """X-SKILL-1, X-SKILL-8: an app without them has no such method."""
        with Serving(MCPApp("plain")) as serving:
            assert "extensions" not in serving.http.modern("server/discover").result["capabilities"]
            for method, params in (
                ("skills/list", {}),
                ("skills/get", {"uri": "skill://a/SKILL.md"}),
                ("resources/directory/read", {"uri": "skill://a"}),
            ):
                reply = serving.http.modern(method, params)
                assert (reply.status, reply.error["code"]) == (404, -32601)

    def test_also_if_no_skill_is_there_yet(self, tmp_path: Path) -> None:
        """X-SKILL-1: the resources are declared as well."""
        app = MCPApp("empty")
        assert app.add_skills(tmp_path) == []
        with Serving(app) as serving:
            capabilities = serving.http.modern("server/discover").result["capabilities"]
            assert {"resources", "extensions"} <= capabilities.keys()
            assert serving.http.modern("skills/list").result["skills"] == []

    def test_no_header_is_needed_but_the_method(self, http: Http) -> None:
        """X-SKILL-9."""
        message = request_of("skills/get", {"uri": f"{REPORT}/SKILL.md"}, 1, stateless_meta())
        headers = {"mcp_protocol_version": "2026-07-28", "mcp_method": "skills/get"}
        assert "skill" in http.post(message, **headers).result
        wrong = http.post(message, **{**headers, "mcp_method": "skills/list"})
        assert (wrong.status, wrong.error["code"]) == (400, -32020)


class TestList:
    def test_all_skills(self, client: McpClient) -> None:
        """X-SKILL-2, X-SKILL-3."""
        result = client.ask("skills/list").result
        assert [entry["frontmatter"]["name"] for entry in result["skills"]] == NAMES
        assert "nextCursor" not in result
        assert [entry["uri"] for entry in result["skills"]][:2] == [
            "skill://acme/billing/refunds/SKILL.md",
            "skill://data-report/SKILL.md",
        ]
        for entry in result["skills"]:
            assert entry.keys() == {"uri", "frontmatter", "resources"}
            verify(entry, lambda uri: read(client, uri))

    def test_the_members_of_each_revision(self, client: McpClient) -> None:
        """X-SKILL-1, X-SKILL-2: hints for caches are those of 2026-07-28."""
        expected = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"} if client.stateless else {}
        for method, params in (
            ("skills/list", {}),
            ("skills/get", {"uri": f"{REPORT}/SKILL.md"}),
            ("resources/directory/read", {"uri": REPORT}),
        ):
            result = client.ask(method, params).result
            assert {
                key: result[key] for key in ("resultType", "ttlMs", "cacheScope") if key in result
            } == expected

    def test_front_matter_is_verbatim(self, client: McpClient) -> None:
        """X-SKILL-3."""
        assert entry_of(client, f"{REPORT}/SKILL.md")["frontmatter"] == {
            "name": "data-report",
            "description": "Turn a table of figures into a short report. Use it when somebody has a CSV file "
            "and wants to know what is in it.",
            "license": "MIT",
            "compatibility": "Needs a shell for the script.",
            "metadata": {"author": "everything", "version": "1.0", "reviewed": "2026-07-28"},
        }

    def test_files_are_listed_once(self, client: McpClient) -> None:
        """X-SKILL-4: with those of nested skills, and without hidden ones."""
        uris = [resource["uri"] for resource in entry_of(client, f"{REPORT}/SKILL.md")["resources"]]
        assert uris == [
            f"{REPORT}/{path}"
            for path in (
                "SKILL.md",
                "assets/mark.png",
                "charts/SKILL.md",
                "charts/palettes/calm.json",
                "references/columns.md",
                "scripts/summarize.sh",
            )
        ]

    def test_one_that_is_generated(self, client: McpClient) -> None:
        """X-SKILL-4."""
        uri = "skill://state-of-things/SKILL.md"
        assert entry_of(client, uri)["resources"] == "dynamic"
        assert read(client, uri)["text"] == (
            '---\nname: "state-of-things"\ndescription: "Tell how things are."\n---\n\nThere are 5 skills.\n'
        )

    @pytest.mark.parametrize("cursor", ["x", "p1", encode_cursor(99), "\0", "ä"])
    def test_cursors_that_were_never_given(self, client: McpClient, cursor: str) -> None:
        """X-SKILL-2."""
        assert error_of(client, "skills/list", {"cursor": cursor})["code"] == -32602
        folder = {"uri": REPORT, "cursor": cursor}
        assert error_of(client, "resources/directory/read", folder)["code"] == -32602

    def test_an_empty_cursor_is_the_first_page(self, client: McpClient) -> None:
        assert len(client.ask("skills/list", {"cursor": ""}).result["skills"]) == len(NAMES)

    @pytest.mark.parametrize("params", [{"cursor": 1}, {"cursor": []}])
    def test_params_of_another_type(self, client: McpClient, params: dict[str, Any]) -> None:
        assert error_of(client, "skills/list", params)["code"] == -32602


class TestPages:
    @pytest.fixture
    def pages(self, tmp_path: Path) -> Iterator[Http]:
        write = writer(tmp_path)
        for number in range(7):
            write(f"s{number}/SKILL.md", text_of_skill(f"s{number}"))
        for number in range(5):
            write(f"s0/files/{number}.txt", str(number))
        from enfilade import Settings

        with Serving(SkillServer(tmp_path, settings=Settings(page_size=3))) as serving:
            yield serving.http

    def test_a_list(self, pages: Http) -> None:
        """X-SKILL-2: an entry is on one page, with all of its files."""
        found: list[list[str]] = []
        cursor: dict[str, str] = {}
        while True:
            result = pages.modern("skills/list", cursor).result
            found.append([entry["frontmatter"]["name"] for entry in result["skills"]])
            if found[-1][0] == "s0":
                assert len(result["skills"][0]["resources"]) == 6
            if "nextCursor" not in result:
                break
            cursor = {"cursor": result["nextCursor"]}
        assert found == [["s0", "s1", "s2"], ["s3", "s4", "s5"], ["s6", "in-code", "state-of-things"]]

    def test_a_folder(self, pages: Http) -> None:
        """X-SKILL-8."""
        first = pages.modern("resources/directory/read", {"uri": "skill://s0/files"}).result
        assert [child["name"] for child in first["resources"]] == ["0.txt", "1.txt", "2.txt"]
        params = {"uri": "skill://s0/files", "cursor": first["nextCursor"]}
        second = pages.modern("resources/directory/read", params).result
        assert [child["name"] for child in second["resources"]] == ["3.txt", "4.txt"]
        assert "nextCursor" not in second

    def test_skills_of_many_files(self, tmp_path: Path) -> None:
        """A page has at most 2048 files, unless one skill alone has more, which none has."""
        app = MCPApp("large")
        files: dict[str, str | bytes] = {f"f/{number}.txt": b"" for number in range(511)}
        for number in range(9):
            app.add_skill(Skill(f"s{number}", "Large.", "", files=files))
        with Serving(app) as serving:
            lengths, cursor = [], {}
            while True:
                result = serving.http.modern("skills/list", cursor).result
                lengths.append(len(result["skills"]))
                if "nextCursor" not in result:
                    break
                cursor = {"cursor": result["nextCursor"]}
        assert lengths == [4, 4, 1]


class TestGet:
    def test_each_skill_as_it_is_listed(self, client: McpClient) -> None:
        """X-SKILL-2."""
        for entry in client.ask("skills/list").result["skills"]:
            assert entry_of(client, entry["uri"]) == entry

    def test_another_spelling(self, client: McpClient) -> None:
        assert entry_of(client, "SKILL://data%2Dreport/SKILL.md")["uri"] == f"{REPORT}/SKILL.md"

    @pytest.mark.parametrize(
        "uri",
        [
            "skill://nothing/SKILL.md",
            "skill://data-report",
            "skill://data-report/",
            "skill://data-report/references/columns.md",
            "skill://data-report/SKILL.md/",
            "skill://data-report/SKILL.md?x=1",
            "skill://data-report/SKILL.md#x",
            "skill://Data-Report/SKILL.md",
            "skill://data-report/../data-report/SKILL.md",
            "skill://data-report%2FSKILL.md",
            "skill://data-report/skill.md",
            "data-report",
            "",
            "skill://\0",
            "https://example.org/data-report/SKILL.md",
            "skill://" + "a/" * 4000 + "SKILL.md",
        ],
    )
    def test_what_is_no_skill(self, client: McpClient, uri: str) -> None:
        """X-SKILL-2: -32602 in every revision."""
        error = error_of(client, "skills/get", {"uri": uri})
        assert error["code"] == -32602
        assert error["message"].startswith("Invalid params: no skill is served at ")
        assert error["data"] == {"uri": uri}

    @pytest.mark.parametrize("params", [{}, {"uri": 1}, {"uri": None}, {"uri": "skill://" + "a" * 9000}])
    @pytest.mark.parametrize("method", ["skills/get", "resources/directory/read"])
    def test_params_that_cannot_be(self, client: McpClient, method: str, params: dict[str, Any]) -> None:
        assert error_of(client, method, params)["code"] == -32602


class TestFolders:
    def test_direct_children(self, client: McpClient) -> None:
        """X-SKILL-8."""
        result = client.ask("resources/directory/read", {"uri": REPORT}).result
        assert [(child["uri"], child["mimeType"]) for child in result["resources"]] == [
            (f"{REPORT}/SKILL.md", "text/markdown"),
            *((f"{REPORT}/{name}", "inode/directory") for name in ("assets", "charts", "drafts", "references")),
            (f"{REPORT}/scripts", "inode/directory"),
        ]

    def test_each_level(self, client: McpClient) -> None:
        """X-SKILL-8: files have the metadata that they have everywhere."""
        found: dict[str, dict[str, Any]] = {}
        waiting = [REPORT]
        while waiting:
            for child in client.ask("resources/directory/read", {"uri": waiting.pop()}).result["resources"]:
                if child["mimeType"] == "inode/directory":
                    assert not child["uri"].endswith("/")
                    waiting.append(child["uri"])
                else:
                    found[child["uri"]] = child
        listed = entry_of(client, f"{REPORT}/SKILL.md")["resources"]
        assert {uri: child["size"] for uri, child in found.items()} == {
            resource["uri"]: resource["size"] for resource in listed
        }
        by_uri = {each["uri"]: each for each in client.ask("resources/list").result["resources"]}
        assert found[f"{REPORT}/SKILL.md"] == by_uri[f"{REPORT}/SKILL.md"]
        assert found[f"{REPORT}/charts/SKILL.md"] == by_uri[f"{REPORT}/charts/SKILL.md"]
        assert found[f"{REPORT}/references/columns.md"] == {
            "uri": f"{REPORT}/references/columns.md",
            "name": "columns.md",
            "mimeType": "text/markdown",
            "size": found[f"{REPORT}/references/columns.md"]["size"],
        }

    def test_empty_folders_and_skills_in_code(self, client: McpClient) -> None:
        """X-SKILL-8."""
        for uri, names in {
            f"{REPORT}/drafts": [],
            "skill://made/in-code": ["in-code", "assets", "notes.txt"],
            "skill://made/in-code/assets": ["pixel.png"],
            "skill://state-of-things": ["state-of-things"],
        }.items():
            children = client.ask("resources/directory/read", {"uri": uri}).result["resources"]
            assert [child["name"] for child in children] == names

    @pytest.mark.parametrize(
        "uri",
        [
            f"{REPORT}/SKILL.md",
            f"{REPORT}/assets/mark.png",
            f"{REPORT}/",
            f"{REPORT}/nothing",
            f"{REPORT}/.git",
            f"{REPORT}/..",
            f"{REPORT}/%2e%2e",
            f"{REPORT}/assets/../assets",
            "skill://acme",
            "skill://acme/billing",
            "skill://",
            "skill:",
            "",
            "file:///",
            "/etc",
        ],
    )
    def test_what_is_no_folder(self, client: McpClient, uri: str) -> None:
        """X-SKILL-8."""
        error = error_of(client, "resources/directory/read", {"uri": uri})
        assert error["code"] == -32602
        assert error["data"] == {"uri": uri}


class TestResources:
    def test_each_skill_is_listed(self, client: McpClient) -> None:
        """X-SKILL-7."""
        listed = {each["name"]: each for each in client.ask("resources/list").result["resources"]}
        assert list(listed) == NAMES
        report = listed["data-report"]
        assert report["mimeType"] == "text/markdown"
        assert report["description"] == entry_of(client, report["uri"])["frontmatter"]["description"]
        assert report["_meta"] == {
            "io.modelcontextprotocol.skills/license": "MIT",
            "io.modelcontextprotocol.skills/compatibility": "Needs a shell for the script.",
            "io.modelcontextprotocol.skills/metadata": {
                "author": "everything",
                "version": "1.0",
                "reviewed": "2026-07-28",
            },
        }
        assert read(client, report["uri"])["_meta"] == report["_meta"]
        assert "_meta" not in listed["charts"]

    def test_other_files_by_a_template(self, client: McpClient) -> None:
        """X-SKILL-7."""
        (template,) = client.ask("resources/templates/list").result["resourceTemplates"]
        assert template["uriTemplate"] == "skill://{+path}"

    @pytest.mark.parametrize(
        ("uri", "mime_type", "data"),
        [
            ("skill://made/in-code/notes.txt", "text/plain", b"one\r\ntwo\n"),
            ("skill://made/in-code/assets/pixel.png", "image/png", PIXEL),
            ("SKILL://made/in%2Dcode/notes.txt", "text/plain", b"one\r\ntwo\n"),
        ],
    )
    def test_bytes_are_those_of_the_file(self, client: McpClient, uri: str, mime_type: str, data: bytes) -> None:
        """X-SKILL-4."""
        contents = read(client, uri)
        assert (contents["mimeType"], bytes_of(contents)) == (mime_type, data)

    @pytest.mark.parametrize(
        "uri",
        [
            f"{REPORT}/nothing.md",
            f"{REPORT}/assets",
            f"{REPORT}/drafts/.gitkeep",
            f"{REPORT}/../acme/billing/refunds/SKILL.md",
            f"{REPORT}/..%2Facme/billing/refunds/SKILL.md",
            f"{REPORT}/%2e%2e/SKILL.md",
            f"{REPORT}//SKILL.md",
            f"{REPORT}%2FSKILL.md",
            f"{REPORT}/SKILL.md%00",
            "skill:///etc/passwd",
            "skill://%2Fetc%2Fpasswd",
            "skill://..",
            "skill://nothing/SKILL.md",
        ],
    )
    def test_what_is_not_there(self, client: McpClient, uri: str) -> None:
        """X-SKILL-7."""
        error = error_of(client, "resources/read", {"uri": uri})
        assert error["code"] == (-32602 if client.stateless else -32002)
        assert error["data"] == {"uri": uri}
