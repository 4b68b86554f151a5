"""Where the file of each client is, on every system."""

from pathlib import Path

import pytest

from enfilade.client_config import ClientFileError
from enfilade.client_config.entry import CLIENTS
from enfilade.client_config.locations import Places
from enfilade.client_config.plan import client_named, installations, location_of
from support.client_config.machines import linux, macos, windows, wsl

USER = {
    "claude-desktop": (
        "home/.config/Claude/claude_desktop_config.json",
        "home/Library/Application Support/Claude/claude_desktop_config.json",
        "home/AppData/Roaming/Claude/claude_desktop_config.json",
    ),
    "claude-code": ("home/.claude.json",) * 3,
    "cursor": ("home/.cursor/mcp.json",) * 3,
    "vscode": (
        "home/.config/Code/User/mcp.json",
        "home/Library/Application Support/Code/User/mcp.json",
        "home/AppData/Roaming/Code/User/mcp.json",
    ),
    "gemini": ("home/.gemini/settings.json",) * 3,
    "goose": (
        "home/.config/goose/config.yaml",
        "home/.config/goose/config.yaml",
        "home/AppData/Roaming/Block/goose/config/config.yaml",
    ),
    "windsurf": ("home/.codeium/windsurf/mcp_config.json",) * 3,
    "zed": (
        "home/.config/zed/settings.json",
        "home/.config/zed/settings.json",
        "home/AppData/Roaming/Zed/settings.json",
    ),
}
PROJECT = {
    "claude-code": ".mcp.json",
    "cursor": ".cursor/mcp.json",
    "vscode": ".vscode/mcp.json",
    "gemini": ".gemini/settings.json",
    "mcp.json": "mcp.json",
}


def user_file(name: str, places: Places) -> str:
    path = location_of(client_named(name), places, "user").path
    root = places.project.parent
    return path.relative_to(root).as_posix()


@pytest.mark.parametrize("name", CLIENTS)
def test_the_user_s_file(name: str, tmp_path: Path) -> None:
    for place, expected in zip((linux, macos, windows), USER.get(name, (None,) * 3), strict=True):
        if expected is None:
            with pytest.raises(ClientFileError, match="has no file of the user here; give it by --config"):
                user_file(name, place(tmp_path))
        else:
            assert user_file(name, place(tmp_path)) == expected


@pytest.mark.parametrize("name", CLIENTS)
def test_the_project_s_file_goes_first(name: str, tmp_path: Path) -> None:
    places, client = linux(tmp_path), client_named(name)
    if name in PROJECT:
        assert location_of(client, places).path == tmp_path / "project" / PROJECT[name]
    else:
        assert location_of(client, places) == location_of(client, places, "user")
        with pytest.raises(ClientFileError, match="no file in a project"):
            location_of(client, places, "project")


def test_variables_that_move_files_are_heeded(tmp_path: Path) -> None:
    moved = linux(tmp_path, XDG_CONFIG_HOME=str(tmp_path / "xdg"), CLAUDE_CONFIG_DIR=str(tmp_path / "claude"))
    assert user_file("zed", moved) == "xdg/zed/settings.json"
    assert user_file("claude-code", moved) == "claude/.claude.json"


def test_claude_desktop_as_a_package_of_windows_has_a_file_of_its_own(tmp_path: Path) -> None:
    inner = "home/AppData/Local/Packages/Claude_pzs8/LocalCache/Roaming/Claude/claude_desktop_config.json"
    assert user_file("claude-desktop", windows(tmp_path, packaged=True)) == inner


def test_a_file_that_is_named_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "any.json"
    assert location_of(client_named("cursor"), linux(tmp_path), "user", file).path == file


def test_no_such_client() -> None:
    with pytest.raises(
        ClientFileError, match=r"no client 'emacs' here; choose one of claude-desktop, claude-code,"
    ):
        client_named("emacs")


# -- WSL -------------------------------------------------------------------------------------------------------

ROAMING = "mnt/c/Users/{}/AppData/Roaming/Claude/claude_desktop_config.json"


def test_under_wsl_windows_programs_have_their_files_over_there(tmp_path: Path) -> None:
    places = wsl(tmp_path, "Ada L")
    location = location_of(client_named("claude-desktop"), places)
    assert location.path == tmp_path / ROAMING.format("Ada L")
    assert location.in_windows
    assert user_file("vscode", places) == "mnt/c/Users/Ada L/AppData/Roaming/Code/User/mcp.json"
    assert user_file("cursor", places) == "mnt/c/Users/Ada L/.cursor/mcp.json"


def test_under_wsl_others_have_theirs_here(tmp_path: Path) -> None:
    places = wsl(tmp_path, "Ada L")
    assert user_file("goose", places) == "home/ada/.config/goose/config.yaml"
    assert user_file("claude-code", places) == "home/ada/.claude.json"
    (places.home / ".cursor").mkdir(parents=True)
    assert user_file("cursor", places) == "home/ada/.cursor/mcp.json"
    assert not location_of(client_named("cursor"), places).in_windows  # a project is opened from this side


@pytest.mark.parametrize(
    ("profiles", "env", "chosen"),
    [
        (["grace"], {}, "grace"),
        (["ADA", "grace"], {}, "ADA"),
        (["ada", "grace"], {"PATH": "/usr/bin:{mnt}/c/Users/grace/AppData/Local/Microsoft/WindowsApps"}, "grace"),
        (["ada", "grace"], {"USERPROFILE": "{mnt}/c/Users/grace"}, "grace"),
    ],
    ids=["the only one", "the same name", "on the path", "said"],
)
def test_the_profile_under_wsl(tmp_path: Path, profiles: list[str], env: dict[str, str], chosen: str) -> None:
    places = wsl(tmp_path, *profiles, **{key: value.format(mnt=tmp_path / "mnt") for key, value in env.items()})
    assert user_file("claude-desktop", places) == ROAMING.format(chosen)


def test_a_profile_of_windows_is_found_as_windows_writes_it(tmp_path: Path) -> None:
    places = wsl(tmp_path, "ada", "grace", USERPROFILE=r"C:\Users\grace")
    assert user_file("claude-desktop", places) == ROAMING.format("grace")


def test_a_profile_is_not_guessed_at(tmp_path: Path) -> None:
    with pytest.raises(ClientFileError, match=r"whose Windows profile is meant of 2 .* --config PATH"):
        location_of(client_named("claude-desktop"), wsl(tmp_path, "grace", "alan"))


# -- all of them -----------------------------------------------------------------------------------------------


def test_what_is_here_is_found(tmp_path: Path) -> None:
    places = linux(tmp_path)
    for folder in (places.home / ".cursor", places.home / ".config" / "zed", places.project):
        folder.mkdir(parents=True)
    (places.home / ".claude.json").write_text('{"mcpServers": {"sums": {}}}', encoding="utf-8")
    (places.home / ".config" / "zed" / "settings.json").write_text("{broken", encoding="utf-8")
    (places.project / ".mcp.json").write_text("{}", encoding="utf-8")
    here = {
        (each.client.name, each.scope): list(each.servers) for each in installations(places) if each.is_present
    }
    assert here == {
        ("cursor", "user"): [],
        ("zed", "user"): [],
        ("claude-code", "user"): ["sums"],
        ("claude-code", "project"): [],
    }
    assert {each.client.name for each in installations(places)} == set(CLIENTS)


def test_a_profile_that_nobody_knows_does_not_keep_the_others_from_being_found(tmp_path: Path) -> None:
    unknown = [
        each
        for each in installations(wsl(tmp_path, "grace", "alan"))
        if "whose Windows profile" in each.display_path
    ]
    assert {each.client.name for each in unknown} == {"claude-desktop", "cursor", "vscode", "windsurf", "zed"}
