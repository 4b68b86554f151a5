"""Machines of every kind, made of folders of one test: where a client's file is depends on these alone."""

from pathlib import Path

from enfilade.client_config.locations import Places


def linux(root: Path, **env: str) -> Places:
    return Places(system="linux", home=root / "home", env=env, project=root / "project")


def macos(root: Path) -> Places:
    return Places(system="macos", home=root / "home", env={}, project=root / "project")


def windows(root: Path, *, packaged: bool = False) -> Places:
    local = root / "home" / "AppData" / "Local"
    if packaged:
        (local / "Packages" / "Claude_pzs8" / "LocalCache").mkdir(parents=True)
    env = {"APPDATA": str(root / "home" / "AppData" / "Roaming"), "LOCALAPPDATA": str(local)}
    return Places(system="windows", home=root / "home", env=env, project=root / "project")


def wsl(root: Path, *profiles: str, **env: str) -> Places:
    for name in (*profiles, "Public", "Default"):
        (root / "mnt" / "c" / "Users" / name / "AppData" / "Roaming").mkdir(parents=True)
    home = root / "home" / "ada"
    return Places(
        system="linux", home=home, env=env, project=root / "project", distro="Ubuntu", mounts=root / "mnt"
    )
