"""`enfilade registry`: `server.json` from an app and its project, what is missing, and whether the file is stale.

Easy to get wrong: the environment. A name or a URL in it would be taken for those of the app.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from support.cli.runner import Outcome, spawned
from support.publishing.schemas import SERVER_JSON, complaints

NAME = "io.github.ada/notes"
SERVER = """
import importlib.metadata
from enfilade import MCPApp, Settings
from enfilade.auth import APIKeys, Principal, ResourceServer, hash_key

app = MCPApp("Notes", version="1.2.0"{options})


@app.tool(requires_secrets=["NOTES_KEY"])
def add(text: str) -> str:
    \"\"\"Add a note.\"\"\"
    return text


@app.tool(requires_secrets=["notes_key", "BACKUP_TOKEN"])
def save() -> str:
    \"\"\"Save all.\"\"\"
    return ""
"""
PYPROJECT = """
[project]
name = "notes-mcp"
version = "1.2.0"
description = "Keep notes."
readme = "README.md"

[project.scripts]
notes-mcp = "notes.server:main"

[project.urls]
Homepage = "https://notes.example.com/#install"
Source = "https://github.com/ada/notes"
"""
README = f"# Notes\n\n<!-- mcp-name: {NAME} -->\n"
VARIABLES = [
    {"name": "ENFILADE_TRANSPORT", "value": "stdio"},
    {"name": "BACKUP_TOKEN", "isRequired": True, "isSecret": True},
    {"name": "notes_key", "isRequired": True, "isSecret": True},
]
REGISTERED = f', registry_name="{NAME}"'


def project(folder: Path, options: str = REGISTERED, **files: str | None) -> Path:
    """Lay out a project.

    Args:
        options: further arguments of the app.
        files: texts by the name of the file up to its suffix; None for no such file.
    """
    texts = {"server.py": SERVER.replace("{options}", options), "pyproject.toml": PYPROJECT, "README.md": README}
    suffixes = {"pyproject": ".toml", "README": ".md", "server": ".json", "Dockerfile": ""}
    for name, text in files.items():
        texts.pop(f"{name}{suffixes[name]}", None)
        if text is not None:
            texts[f"{name}{suffixes[name]}"] = text
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def written(folder: Path, *words: str, **variables: str) -> dict[str, Any]:
    """Run the command, and return the file, which is valid."""
    done = spawned("registry", *words, cwd=folder, **variables)
    assert done.status == 0, done.err
    assert done.err == ""
    return read(folder)


def read(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "server.json").read_text(encoding="utf-8"))
    assert complaints(SERVER_JSON, content) == []
    return content


def refused(folder: Path, *words: str) -> Outcome:
    """Run the command, which writes nothing."""
    before = sorted(path.name for path in folder.iterdir())
    done = spawned("registry", *words, cwd=folder)
    assert done.status in (1, 2), done.out
    assert "Traceback" not in done.err
    assert sorted(path.name for path in folder.iterdir() if path.name != "__pycache__") == [
        name for name in before if name != "__pycache__"
    ]
    return done


def test_a_project_with_all_that_it_needs(tmp_path: Path) -> None:
    """X-REG-1: the whole file, and nothing left to do; checking it finds nothing."""
    folder = project(tmp_path)
    assert written(folder) == {
        "$schema": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json",
        "name": NAME,
        "title": "Notes",
        "description": "Keep notes.",
        "repository": {"url": "https://github.com/ada/notes", "source": "github"},
        "version": "1.2.0",
        "websiteUrl": "https://notes.example.com/#install",
        "packages": [
            {
                "registryType": "pypi",
                "identifier": "notes-mcp",
                "version": "1.2.0",
                "runtimeHint": "uvx",
                "transport": {"type": "stdio"},
                "environmentVariables": VARIABLES,
            }
        ],
    }
    checked = spawned("registry", "--check", cwd=folder)
    assert (checked.status, checked.out, checked.err) == (0, "server.json is up to date.\n", "")


def test_what_it_says(tmp_path: Path) -> None:
    done = spawned("registry", cwd=project(tmp_path))
    assert done.out == (
        f"Wrote server.json: {NAME} 1.2.0.\n\nNext:\n\n  mcp-publisher login github\n  mcp-publisher publish\n"
    )
    other = spawned("registry", "--name", "com.example/notes", "--out", "-", cwd=tmp_path)
    assert json.loads(other.out)["name"] == "com.example/notes"


def test_in_another_folder_and_from_a_file_below(tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    (folder / "src").mkdir(parents=True)
    project(folder)
    (folder / "server.py").rename(folder / "src/server.py")
    done = spawned("registry", "notes/src/server.py", cwd=tmp_path)
    assert done.status == 0, done.err
    assert "Wrote notes/server.json" in done.out
    assert "  cd notes\n" in done.out
    assert read(folder)["packages"][0]["identifier"] == "notes-mcp"


def test_an_image(tmp_path: Path) -> None:
    """X-REG-1, X-REG-2: its version is in the reference alone, and `enfilade docker` writes the label."""
    folder = project(tmp_path, pyproject=PYPROJECT.replace("readme =", 'dependencies = ["enfilade"]\nreadme ='))
    assert spawned("docker", "--enfilade", "enfilade>=0.1", cwd=folder).status == 0
    assert f'\nLABEL io.modelcontextprotocol.server.name="{NAME}"\n' in (folder / "Dockerfile").read_text("utf-8")
    content = written(folder, "--package", "oci", "--image", "ghcr.io/ada/notes:1.2.0")
    assert content["packages"] == [
        {
            "registryType": "oci",
            "identifier": "ghcr.io/ada/notes:1.2.0",
            "runtimeHint": "docker",
            "transport": {"type": "stdio"},
            "environmentVariables": VARIABLES,
        }
    ]
    assert spawned("registry", "--check", cwd=folder).status == 0
    both = written(folder, "--package", "pypi", "--package", "oci")
    assert [package["registryType"] for package in both["packages"]] == ["pypi", "oci"]


def test_the_tag_of_an_image_follows_the_version(tmp_path: Path) -> None:
    """The file says what was asked for."""
    folder = project(tmp_path, Dockerfile=f"FROM x\nLABEL a=b \\\n  io.modelcontextprotocol.server.name={NAME}\n")
    written(folder, "--package", "oci", "--image", "ghcr.io/ada/notes:1.2.0")
    for file in ("server.py", "pyproject.toml"):
        text = (folder / file).read_text(encoding="utf-8")
        (folder / file).write_text(text.replace("1.2.0", "1.3.0"), encoding="utf-8")
    stale = spawned("registry", "--check", cwd=folder)
    assert (stale.status, stale.out) == (1, "")
    assert stale.err == (
        "enfilade: server.json is stale in version, packages; `enfilade registry` writes it anew\n"
    )
    assert written(folder)["packages"][0]["identifier"] == "ghcr.io/ada/notes:1.3.0"


def test_a_remote_server(tmp_path: Path) -> None:
    """X-REG-1: by the option, by a setting, and by the resource of `auth=`; keys are asked for."""
    folder = project(tmp_path)
    url = "https://mcp.example.com/mcp"
    remote = {"type": "streamable-http", "url": url}
    assert written(folder, "--remote", url)["remotes"] == [remote]
    assert written(folder)["remotes"] == [remote]  # as the file has it
    project(folder, f'{REGISTERED}, settings=Settings(public_url="{url}2")')
    assert written(folder)["remotes"] == [{**remote, "url": f"{url}2"}]
    keys = 'verifiers=[APIKeys({hash_key("k"): Principal("ci")})]'
    project(folder, f'{REGISTERED}, auth=ResourceServer("{url}", {keys})')
    (with_key,) = written(folder)["remotes"]
    assert with_key["headers"][0]["value"] == "Bearer {key}"
    project(folder, f'{REGISTERED}, auth=ResourceServer("{url}", ["https://idp.example.com"])')
    (folder / "server.json").unlink()
    assert written(folder)["remotes"] == [remote]


def test_a_server_that_nobody_else_runs(tmp_path: Path) -> None:
    """Once the file has no package, it gets none."""
    folder = project(tmp_path, README=None)
    content = written(folder, "--remote", "https://mcp.example.com/mcp", "--package", "none")
    assert "packages" not in content
    assert written(folder) == content
    assert spawned("registry", "--check", cwd=folder).status == 0
    assert "nothing says how" in refused(folder, "--package", "none", "--out", "other.json").err


def test_without_a_project_there_is_a_remote_server(tmp_path: Path) -> None:
    folder = project(tmp_path, f'{REGISTERED}, description="Keep notes."', pyproject=None, README=None)
    assert "nothing says how a client gets it" in refused(folder).err
    content = written(folder, "--remote", "https://mcp.example.com/mcp")
    assert "packages" not in content


def test_values_of_secrets_and_names_of_tools_are_not_in_it(tmp_path: Path) -> None:
    folder = project(tmp_path)
    text = json.dumps(written(folder, NOTES_KEY="tea", BACKUP_TOKEN="milk"))
    assert not any(word in text for word in ("tea", "milk", "add", "save"))
    project(folder, REGISTERED + ', secrets={"NOTES_KEY": "tea"}')
    (folder / "server.json").unlink()
    (package,) = written(folder)["packages"]
    assert package["environmentVariables"] == VARIABLES[:1]


# -- what is missing --------------------------------------------------------------------------------------------
MISSING: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "a name": (
        {"options": ""},
        [],
        'MCPApp(registry_name="io.github.ada/notes"), or give --name io.github.ada/notes',
    ),
    "a name that can be": ({}, ["--name", "notes"], "'notes' is no name for a registry"),
    "a description": ({"pyproject": PYPROJECT.replace('description = "Keep notes."', "")}, [], "no description"),
    "a shorter description": (
        {"pyproject": PYPROJECT.replace("Keep notes.", "é" * 101)},
        [],
        "the description has 101 characters, and 100 are allowed: shorten it in pyproject.toml",
    ),
    "a shorter title": ({"options": f'{REGISTERED}, title="{"t" * 101}"'}, [], "the title has 101 characters"),
    "a version": ({"pyproject": PYPROJECT.replace('"1.2.0"', '"^1.2"')}, [], "'^1.2' stands for several ones"),
    "a version of the package": (
        {"pyproject": PYPROJECT.replace('version = "1.2.0"', 'dynamic = ["version"]')},
        [],
        "nobody knows the version of the package",
    ),
    "a package": (
        {"pyproject": "[project]\n"},
        ["--package", "pypi"],
        "pyproject.toml has no [project] with a name",
    ),
    "a name of a package": (
        {"pyproject": PYPROJECT.replace('name = "notes-mcp"', 'name = "notes mcp"')},
        [],
        "is no name that a package",
    ),
    "an image": ({}, ["--package", "oci"], "--image ghcr.io/OWNER/NAME:VERSION"),
    "a public URL": ({}, ["--remote", "https://10.0.0.5/mcp"], "known in one network only"),
    "https": ({}, ["--remote", "http://mcp.example.com/mcp"], "needs https://"),
    "a URL of another machine": ({}, ["--remote", "https://localhost/mcp"], "known in one network only"),
    "other metadata": ({"server": '{"_meta": {"com.example": 1}}'}, [], "registries drop com.example in _meta"),
    "metadata of a kind": ({"server": '{"_meta": 1}'}, [], "registries drop _meta in _meta"),
    "less metadata": (
        {
            "server": json.dumps(
                {"_meta": {"io.modelcontextprotocol.registry/publisher-provided": {"a": "<" * 700}}}
            )
        },
        [],
        "has 4208 bytes of JSON, and 4096 are allowed",
    ),
}


@pytest.mark.parametrize("case", MISSING)
def test_without_it_nothing_is_written(case: str, tmp_path: Path) -> None:
    """X-REG-1, X-REG-3: and it says what to do; with --check as well."""
    files, words, text = MISSING[case]
    folder = project(tmp_path, **files)
    for more in ([], ["--check"]):
        done = refused(folder, *words, *more)
        assert (done.status, done.out) == (1, "")
        assert text in done.err


@pytest.mark.parametrize(
    ("image", "text"),
    [
        ("notes", "is no reference of an image"),
        ("ada/notes:1.0", "is no reference of an image"),
        ("ghcr.io/ada/notes", "is another image each time"),
        ("ghcr.io/ada/notes:latest", "is another image each time"),
        ("ghcr.io/Ada/notes:1", "is no reference of an image"),
        ("registry.example.com/ada/notes:1", "the registry does not read images of registry.example.com"),
        ("ghcr.io/ada/notes:1 2", "is no reference of an image"),
        ("evil-pkg.dev/ada/notes:1", "the registry does not read images of evil-pkg.dev"),
    ],
)
def test_images_that_registries_refuse(image: str, text: str, tmp_path: Path) -> None:
    """X-REG-1."""
    assert text in refused(project(tmp_path), "--package", "oci", "--image", image).err


@pytest.mark.parametrize("image", [f"docker.io/ada/notes@sha256:{'a' * 64}", "eu-docker.pkg.dev/p/r/notes_x:v1"])
def test_images_that_they_take(image: str, tmp_path: Path) -> None:
    content = written(project(tmp_path), "--package", "oci", "--image", image)
    assert content["packages"][0]["identifier"] == image


TO_DO: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "the line of the README": (
        {"README": "# Notes\n"},
        [],
        f"README.md does not say that the package is {NAME}: add the line <!-- mcp-name: {NAME} -->",
    ),
    "the line of another": ({"README": f"mcp-name: {NAME}-evil\n"}, [], "README.md does not say"),
    "a line that ends in a stop": ({"README": f"It is mcp-name: {NAME}.\n"}, [], "README.md does not say"),
    "a README": ({"pyproject": PYPROJECT.replace('readme = "README.md"', "")}, [], 'write readme = "README.md"'),
    "the file of the README": ({"README": None}, [], "PyPI shows no README"),
    "a command": (
        {"pyproject": PYPROJECT.replace("notes-mcp = ", "notes = ")},
        [],
        'clients run `uvx notes-mcp`, so the package needs a command of this name: add notes-mcp = "MODULE:main"',
    ),
    "to be published": (
        {
            "pyproject": PYPROJECT.replace("[project.urls]", "[tool.x]").replace(
                'name = "notes-mcp"', 'name = "notes-mcp"\nclassifiers = ["Private :: Do Not Upload"]'
            )
        },
        [],
        "PyPI refuses the package",
    ),
    "one version": (
        {"pyproject": PYPROJECT.replace("1.2.0", "1.3.0")},
        [],
        "the project is version 1.3.0, and clients read '1.2.0' of the running server",
    ),
    "one name": ({}, ["--name", "com.example/notes"], f"the app itself says '{NAME}'"),
    "one URL": (
        {"options": f'{REGISTERED}, settings=Settings(public_url="https://a.example/mcp")'},
        ["--remote", "https://b.example/mcp"],
        "the app itself says https://a.example/mcp",
    ),
    "a Dockerfile": ({}, ["--package", "oci", "--image", "ghcr.io/ada/notes:1"], "there is no Dockerfile here"),
    "the label": (
        {"Dockerfile": "FROM python\n# LABEL io.modelcontextprotocol.server.name=x\n"},
        ["--package", "oci", "--image", "ghcr.io/ada/notes:1"],
        f'the Dockerfile has no label: add the line LABEL io.modelcontextprotocol.server.name="{NAME}"',
    ),
    "the label of this one": (
        {"Dockerfile": "FROM x\nLABEL io.modelcontextprotocol.server.name='com.example/other'\n"},
        ["--package", "oci", "--image", "ghcr.io/ada/notes:1"],
        "the Dockerfile has the label of com.example/other",
    ),
}


@pytest.mark.parametrize("case", TO_DO)
def test_what_is_to_be_done_before_it_is_published(case: str, tmp_path: Path) -> None:
    """X-REG-2: the file is written, and says what a registry would refuse; --check fails."""
    files, words, text = TO_DO[case]
    folder = project(tmp_path, **files)
    done = spawned("registry", *words, cwd=folder)
    assert (done.status, done.err) == (0, "")
    assert "Before it can be published:\n" in done.out
    assert text in done.out
    read(folder)
    checked = spawned("registry", *words, "--check", cwd=folder)
    assert (checked.status, checked.out) == (1, "")
    assert text in checked.err
    assert "is stale" not in checked.err


@pytest.mark.parametrize(
    "readme",
    [
        f"mcp-name: {NAME}",
        f"`mcp-name: {NAME}`",
        f"<!--mcp-name: {NAME}-->".replace("-->", " -->"),
        f"<p>mcp-name: {NAME}</p>",
    ],
)
def test_a_line_of_the_readme_that_counts(readme: str, tmp_path: Path) -> None:
    """X-REG-2: also where pyproject.toml has the text itself."""
    folder = project(tmp_path, README=readme)
    assert "Before it" not in spawned("registry", cwd=folder).out
    table = f"readme = {{text = '{readme}', content-type = 'text/markdown'}}"
    project(folder, README=None, pyproject=PYPROJECT.replace('readme = "README.md"', table))
    assert "Before it" not in spawned("registry", cwd=folder).out


# -- the file that there is -------------------------------------------------------------------------------------
def changed(folder: Path, **members: Any) -> None:
    content = json.loads((folder / "server.json").read_text(encoding="utf-8"))
    (folder / "server.json").write_text(json.dumps({**content, **members}), encoding="utf-8")


def test_what_the_author_has_added_is_kept(tmp_path: Path) -> None:
    """X-REG-3: descriptions, arguments, other packages, and the metadata that registries keep."""
    folder = project(tmp_path)
    (package,) = written(folder)["packages"]
    described = {**VARIABLES[2], "description": "From your account."}
    further = {"name": "NOTES_COLOUR", "default": "blue"}
    npm = {"registryType": "npm", "identifier": "@ada/notes", "version": "1.0.0", "transport": {"type": "stdio"}}
    sse = {"type": "sse", "url": "https://old.example.com/sse"}
    meta = {"io.modelcontextprotocol.registry/publisher-provided": {"tool": "ci"}}
    changed(
        folder,
        packages=[
            {
                **package,
                "version": "1.0.0",
                "packageArguments": [{"type": "positional", "value": "serve"}],
                "environmentVariables": [described, further],
            },
            npm,
        ],
        remotes=[sse],
        _meta=meta,
        repository={"url": "https://github.com/ada/notes", "source": "github", "subfolder": "server"},
    )
    content = written(folder)
    kept, other = content["packages"]
    assert kept["version"] == "1.2.0"
    assert kept["packageArguments"] == [{"type": "positional", "value": "serve"}]
    assert kept["environmentVariables"] == [*VARIABLES[:2], described, further]
    assert (other, content["remotes"], content["_meta"]) == (npm, [sse], meta)
    assert content["repository"]["subfolder"] == "server"
    assert spawned("registry", "--check", cwd=folder).status == 0
    assert written(folder) == content


def test_a_secret_that_no_tool_asks_for_is_kept_and_named(tmp_path: Path) -> None:
    folder = project(tmp_path)
    (package,) = written(folder)["packages"]
    old = {"name": "OLD_KEY", "isRequired": True, "isSecret": True}
    changed(folder, packages=[{**package, "environmentVariables": [*VARIABLES, old]}])
    done = spawned("registry", cwd=folder)
    assert "Note: no tool asks for the secret OLD_KEY, which the file keeps.\n" in done.out
    assert read(folder)["packages"][0]["environmentVariables"] == [*VARIABLES, old]


def test_members_of_an_old_form_are_left_out(tmp_path: Path) -> None:
    """X-REG-1: and named."""
    folder = project(tmp_path)
    written(folder)
    changed(folder, version_detail={"version": "1"}, status="active")
    assert "is stale in version_detail, status" in spawned("registry", "--check", cwd=folder).err
    done = spawned("registry", cwd=folder)
    assert "Note: version_detail, status of server.json is left out" in done.out
    read(folder)


@pytest.mark.parametrize(
    "text", ["", "nonsense", "[]", '{"name": ', "\x00"], ids=["empty", "no JSON", "list", "cut", "null"]
)
def test_a_file_that_is_something_else_is_left_alone(text: str, tmp_path: Path) -> None:
    folder = project(tmp_path, server=text)
    done = refused(folder)
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert done.err.startswith("enfilade: server.json is no JSON")
    assert (folder / "server.json").read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    "content",
    [
        {"packages": 1},
        {"packages": [1, {}]},
        {"remotes": {"a": 1}},
        {"repository": "x"},
        {"name": 1, "icons": None},
    ],
    ids=json.dumps,
)
def test_a_file_with_members_of_other_types_is_written_anew(content: Mapping[str, Any], tmp_path: Path) -> None:
    folder = project(tmp_path, server=json.dumps(content))
    assert spawned("registry", cwd=folder).status == 0
    assert json.loads((folder / "server.json").read_text(encoding="utf-8"))["name"] == NAME


def test_without_a_file_the_check_says_so(tmp_path: Path) -> None:
    done = refused(project(tmp_path), "--check")
    assert (done.status, done.err) == (1, "enfilade: there is no server.json; `enfilade registry` writes it\n")


def test_what_registries_do_not_take_is_left_out_and_named(tmp_path: Path) -> None:
    """X-REG-1."""
    options = (
        f'{REGISTERED}, repository="https://codeberg.org/ada/notes", website_url="http://notes.example.com", '
        'icons=["data:image/png;base64,AA==", "https://a.example/i.png", '
        '{"src": "https://a.example/i.gif", "mimeType": "image/gif"}]'
    )
    folder = project(tmp_path, options)
    done = spawned("registry", cwd=folder)
    content = read(folder)
    assert content["icons"] == [{"src": "https://a.example/i.png"}]
    assert "repository" not in content
    assert content["websiteUrl"].startswith("https://")
    assert "Note: 2 icons are left out" in done.out
    assert "Note: the repository https://codeberg.org/ada/notes is left out" in done.out


def test_an_internal_url_is_left_out(tmp_path: Path) -> None:
    folder = project(tmp_path, f'{REGISTERED}, settings=Settings(public_url="http://127.0.0.1:8000/mcp")')
    done = spawned("registry", cwd=folder)
    assert "Note: the URL of the server is left out" in done.out
    assert "remotes" not in read(folder)


def test_mistakes_of_the_command(tmp_path: Path) -> None:
    folder = project(tmp_path)
    assert "--image is for an image: add --package oci" in refused(folder, "--image", "ghcr.io/a/b:1").err
    assert "is not one of 'pypi', 'oci', 'none'" in refused(folder, "--package", "npm").err
    assert "cannot be written" in refused(folder, "--out", "absent/server.json").err
    assert "cannot be written" in refused(folder, "--out", str(folder)).err
    assert "--check compares a file" in refused(folder, "--check", "--out", "-").err
    assert "there is no file" in refused(folder, "other.py").err


def test_a_file_keeps_its_permissions(tmp_path: Path) -> None:
    folder = project(tmp_path)
    written(folder)
    assert (folder / "server.json").stat().st_mode & 0o777 == 0o644
    (folder / "server.json").chmod(0o664)
    written(folder)
    assert (folder / "server.json").stat().st_mode & 0o777 == 0o664
    assert [path.name for path in folder.glob(".server-*")] == []


def test_a_version_that_the_build_tool_makes(tmp_path: Path) -> None:
    """It is that of the installed project, here of one that is there in any case."""
    pyproject = PYPROJECT.replace('version = "1.2.0"', 'dynamic = ["version"]').replace("notes-mcp", "msgspec")
    import importlib.metadata

    version = importlib.metadata.version("msgspec")
    assert written(project(tmp_path, pyproject=pyproject))["packages"][0]["version"] == version


def test_a_link_stays_one_and_a_pipe_is_written_to(tmp_path: Path) -> None:
    folder = project(tmp_path)
    (folder / "kept").mkdir()
    (folder / "server.json").symlink_to(folder / "kept/server.json")
    content = written(folder)
    assert (folder / "server.json").is_symlink()
    assert json.loads((folder / "kept/server.json").read_text(encoding="utf-8")) == content
    piped = spawned("registry", "--out", "/dev/stdout", cwd=folder)
    assert piped.status == 0, piped.err
    assert json.JSONDecoder().raw_decode(piped.out)[0] == content


def test_the_app_of_a_host(tmp_path: Path) -> None:
    host = "from fastapi import FastAPI\nfrom server import app\napi = FastAPI()\napi.mount('/tools', app)\n"
    folder = project(tmp_path)
    (folder / "main.py").write_text(host, encoding="utf-8")
    assert written(folder, "main.py:api")["name"] == NAME


@pytest.mark.parametrize(
    "table",
    [
        "project = 3",
        "[project]\nname = 5\nversion = 1\nurls = 'x'\nscripts = []\nclassifiers = 'a'\nreadme = 7\ndynamic = 3",
        "[project]\nurls = [1]\nreadme = {file = 1}\nclassifiers = [1]\ndynamic = [1]",
        "[project]\nname = ''\nreadme = {}",
    ],
    ids=["no table", "other types", "lists", "empty"],
)
def test_a_pyproject_that_is_not_as_it_should_be(table: str, tmp_path: Path) -> None:
    """What cannot be read is as if it was not there."""
    folder = project(tmp_path, f"{REGISTERED}, description='Notes.'", pyproject=table)
    assert written(folder, "--remote", "https://mcp.example.com/mcp")["name"] == NAME


def test_a_pyproject_that_is_no_toml(tmp_path: Path) -> None:
    assert "cannot be read" in refused(project(tmp_path, pyproject="[")).err
