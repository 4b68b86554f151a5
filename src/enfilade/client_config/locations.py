"""Where programs keep their files on this machine, behind one small door: all of it is given, nothing asked.

A place is written as a template, `{APPDATA}/Claude/x.json`: names in braces are variables of the environment, or
one of `home`, `config` and `support`; a `*` is a folder that must exist. The easy thing to get wrong is WSL: the
programs with windows run on the Windows side, whose profile lies below `/mnt/c/Users`, and which one it is nobody
says for sure.
"""

import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

from enfilade.client_config.errors import ClientFileError

System = Literal["linux", "macos", "windows"]

_DRIVE: Final = re.compile(r"([A-Za-z]):[\\/](.*)")
_NOBODY: Final = {"all users", "default", "default user", "defaultuser0", "public", "wsiaccount"}


class Location(msgspec.Struct, frozen=True):
    """A file of a client.

    Attributes:
        path: where it is, as this system has it.
        across: whether a program on the Windows side of WSL reads it, so that a command in it runs over there.
    """

    path: Path
    across: bool = False


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """A machine, as far as it matters for where files are.

    Attributes:
        system: its operating system.
        home: the user's home directory.
        env: the environment.
        project: the folder whose project files are meant.
        distro: the name of this Linux under WSL; None elsewhere.
        mounts: where WSL has the drives of Windows.
    """

    system: System
    home: Path
    env: Mapping[str, str]
    project: Path
    distro: str | None = None
    mounts: Path = Path("/mnt")

    @classmethod
    def current(cls) -> "Places":
        """Return this machine."""
        system: System = {"win32": "windows", "darwin": "macos"}.get(sys.platform, "linux")  # type: ignore[assignment]
        distro = os.environ.get("WSL_DISTRO_NAME")
        if distro is None and system == "linux" and "microsoft" in platform.uname().release.lower():
            distro = ""
        return cls(system=system, home=Path.home(), env=os.environ, project=Path.cwd(), distro=distro)

    def first(self, templates: Mapping[System, Iterable[str]], *, windowed: bool) -> Location | None:
        """Return the file that a client reads, or would if it were there; None if it has none on this system.

        Args:
            templates: where it may be, by system, the likeliest first.
            windowed: whether the client has a window of its own, so that under WSL it is a program of Windows.

        Raises:
            ClientFileError: it is on the Windows side of WSL, and nobody can say in whose profile.
        """
        own = self._among(templates.get(self.system, ()))
        if self.distro is None or not windowed:
            return None if own is None else Location(own)
        if own is not None and own.parent.is_dir():
            return Location(own)
        there = self._across()._among(templates.get("windows", ()))
        return None if there is None else Location(there, across=True)

    def in_project(self, name: str) -> Location:
        """Return a file of the project."""
        return Location(self.project / name)

    def _among(self, templates: Iterable[str]) -> Path | None:
        return next((path for each in templates if (path := self._filled(each)) is not None), None)

    def _filled(self, template: str) -> Path | None:
        """Return the path that a template stands for, or None if it stands for none here."""
        known = {
            "home": str(self.home),
            "config": self.env.get("XDG_CONFIG_HOME") or str(self.home / ".config"),
            "support": str(self.home / "Library" / "Application Support"),
        }
        head, _, rest = template.partition("/")
        start = known.get(head[1:-1]) or self.env.get(head[1:-1])
        if not start:
            return None
        before, star, after = rest.partition("*")
        if not star:
            return Path(start, rest)
        folder, _, prefix = before.rpartition("/")
        inner, _, below = after.partition("/")
        found = sorted(path for path in Path(start, folder).glob(f"{prefix}*{inner}") if path.is_dir())
        return found[0] / below if found else None

    def _across(self) -> "Places":
        """Return the Windows side of WSL."""
        profile = self._profile()
        roaming, local = profile / "AppData" / "Roaming", profile / "AppData" / "Local"
        return Places(
            system="windows",
            home=profile,
            env={"APPDATA": str(roaming), "LOCALAPPDATA": str(local)},
            project=self.project,
        )

    def _profile(self) -> Path:
        """Return the user's profile folder on the Windows side.

        What WSL takes over from Windows says it (`USERPROFILE`, or the user's own folders on the path); else it
        is the only profile there is, or the one of the same name.
        """
        said = self._mounted(self.env.get("USERPROFILE", ""))
        if said is not None and said.is_dir():
            return said
        users = sorted(self.mounts.glob("?/Users"))
        for entry in self.env.get("PATH", "").split(":"):
            for folder in users:
                if entry.startswith(f"{folder}/") and "/AppData/" in entry:
                    return folder / Path(entry).relative_to(folder).parts[0]
        found = [each for folder in users for each in _profiles(folder)]
        named = [each for each in found if each.name.lower() == self.home.name.lower()]
        for choice in (found, named):
            if len(choice) == 1:
                return choice[0]
        raise ClientFileError(
            f"this is WSL, and whose Windows profile is meant of {len(found)} below {self.mounts}/c/Users is not "
            "clear; give the client's file by --config PATH"
        )

    def _mounted(self, path: str) -> Path | None:
        """Return where a path of Windows is in this Linux."""
        if drive := _DRIVE.fullmatch(path):
            return self.mounts / drive[1].lower() / drive[2].replace("\\", "/")
        return Path(path) if path.startswith("/") else None


def _profiles(users: Path) -> list[Path]:
    """Return the folders of people who have logged in."""
    try:
        return [
            each
            for each in sorted(users.iterdir())
            if each.name.lower() not in _NOBODY and (each / "AppData" / "Roaming").is_dir()
        ]
    except OSError:
        return []
