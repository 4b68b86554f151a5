"""The files of clients: where they are on a machine, and how one is read and replaced.

A path is written as a template, `{APPDATA}/Claude/x.json`. A name in braces is an environment variable, or one
of `home`, `config` and `support`; `*` stands for the rest of the name of an existing folder.

A file is replaced as a whole or not at all:

    read ─▶ (another program may write) ─▶ unchanged? ─▶ copy beside it ─▶ new file, synced ─▶ replace

Easy to get wrong:
- WSL: graphical applications run on the Windows side, with a profile below `/mnt/c/Users`. No source names the
  profile reliably.
- What a replacement loses: the target of a symlink, the mode, the owner.
"""

import contextlib
import os
import platform
import re
import stat
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

from enfilade.client_config import ClientFileError

System = Literal["linux", "macos", "windows"]

_DRIVE: Final = re.compile(r"([A-Za-z]):[\\/](.*)")
#: Folders in `Users` that are no profile of a person.
_SYSTEM_PROFILES: Final = {"all users", "default", "default user", "defaultuser0", "public", "wsiaccount"}


class Location(msgspec.Struct, frozen=True):
    """A file of a client.

    Attributes:
        path: its path on this system.
        in_windows: whether a program on the Windows side of WSL reads it, so that commands in it run there.
    """

    path: Path
    in_windows: bool = False


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """A machine, as far as it determines the paths of files.

    Attributes:
        system: its operating system.
        home: the user's home directory.
        env: the environment variables.
        project: the folder of the project.
        distro: the name of this Linux distribution under WSL, empty if unknown; None on other systems.
        mounts: the folder in which WSL mounts the drives of Windows.
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

    def user_file(self, templates: Mapping[System, Iterable[str]], *, has_window: bool) -> Location | None:
        """Return the file that a client reads, whether it exists or not; None if it has none on this system.

        Args:
            templates: the candidates by system, the likeliest first.
            has_window: whether the client is a graphical application, which under WSL is a program of Windows.

        Raises:
            ClientFileError: it is on the Windows side of WSL, in a profile that cannot be determined.
        """
        own = self._first_path(templates.get(self.system, ()))
        if self.distro is None or not has_window:
            return None if own is None else Location(own)
        if own is not None and own.parent.is_dir():
            return Location(own)
        path = self._windows_side()._first_path(templates.get("windows", ()))
        return None if path is None else Location(path, in_windows=True)

    def in_project(self, name: str) -> Location:
        """Return the location of a file of the project."""
        return Location(self.project / name)

    def _first_path(self, templates: Iterable[str]) -> Path | None:
        return next((path for template in templates if (path := self._resolve(template)) is not None), None)

    def _resolve(self, template: str) -> Path | None:
        """Return the path of a template; None if a variable or a folder of it does not exist."""
        folders = {
            "home": str(self.home),
            "config": self.env.get("XDG_CONFIG_HOME") or str(self.home / ".config"),
            "support": str(self.home / "Library" / "Application Support"),
        }
        head, _, relative = template.partition("/")
        start = folders.get(head[1:-1]) or self.env.get(head[1:-1])
        if not start:
            return None
        head, star, tail = relative.partition("*")
        if not star:
            return Path(start, relative)
        folder, _, prefix = head.rpartition("/")
        suffix, _, below = tail.partition("/")
        matches = sorted(path for path in Path(start, folder).glob(f"{prefix}*{suffix}") if path.is_dir())
        return matches[0] / below if matches else None

    def _windows_side(self) -> "Places":
        """Return the Windows side of WSL as a machine of its own."""
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

        It is taken from what WSL inherits from Windows (`USERPROFILE`, or the user's folders on the path);
        otherwise it is the only profile, or the one with the name of the Linux user.
        """
        profile = self._mounted(self.env.get("USERPROFILE", ""))
        if profile is not None and profile.is_dir():
            return profile
        users = sorted(self.mounts.glob("?/Users"))
        for entry in self.env.get("PATH", "").split(":"):
            for folder in users:
                if entry.startswith(f"{folder}/") and "/AppData/" in entry:
                    return folder / Path(entry).relative_to(folder).parts[0]
        profiles = [profile for folder in users for profile in _profiles(folder)]
        namesakes = [profile for profile in profiles if profile.name.lower() == self.home.name.lower()]
        for candidates in (profiles, namesakes):
            if len(candidates) == 1:
                return candidates[0]
        raise ClientFileError(
            f"this is WSL, and whose Windows profile is meant of {len(profiles)} below {self.mounts}/c/Users is "
            "not clear; give the client's file by --config PATH"
        )

    def _mounted(self, path: str) -> Path | None:
        """Return the mount path of a path of Windows."""
        if drive := _DRIVE.fullmatch(path):
            return self.mounts / drive[1].lower() / drive[2].replace("\\", "/")
        return Path(path) if path.startswith("/") else None


def _profiles(users: Path) -> list[Path]:
    """Return the profiles of people who have logged in."""
    try:
        return [
            profile
            for profile in sorted(users.iterdir())
            if profile.name.lower() not in _SYSTEM_PROFILES and (profile / "AppData" / "Roaming").is_dir()
        ]
    except OSError:
        return []


class ClientFile(msgspec.Struct, frozen=True):
    """A file of a client with the content that was read.

    Attributes:
        path: its path, perhaps a symlink.
        content: its bytes; None if it does not exist.
    """

    path: Path
    content: bytes | None

    @property
    def target(self) -> Path:
        """The file that a symlink leads to."""
        return Path(os.path.realpath(self.path))

    def write(self, content: bytes) -> Path | None:
        """Replace the file, and return the path of a copy of the old one; None if there was none.

        Raises:
            ClientFileError: it cannot be written, or has been changed since it was read.
        """
        try:
            return self._replace(content)
        except OSError as error:
            raise ClientFileError(
                f"{self.path} cannot be written: {error.strerror or error}; it is as it was"
            ) from None

    def _replace(self, content: bytes) -> Path | None:
        target = self.target
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)  # of mode 600
        try:
            with os.fdopen(handle, "wb") as new:
                new.write(content)
                new.flush()
                os.fsync(new.fileno())
            copy = None if self.content is None else _copy_beside(target, self.content, Path(name))
            if read(self.path).content != self.content:
                if copy is not None:
                    copy.unlink()
                raise ClientFileError(
                    f"{self.path} was changed by another program meanwhile; check it and try again"
                )
            os.replace(name, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        _sync(target.parent)
        return copy


def _copy_beside(target: Path, content: bytes, replacement: Path) -> Path:
    """Write a copy of a file beside it; copy and replacement get the owner and the mode of the file."""
    status = target.stat()
    number = 0
    while True:
        copy = target.with_name(f"{target.name}.bak{f'.{number}' if number else ''}")
        try:
            handle = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        except FileExistsError:
            number += 1
            continue
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        break
    for path in (replacement, copy):
        if hasattr(os, "chown"):
            with contextlib.suppress(OSError):  # only root may change the owner
                os.chown(path, status.st_uid, status.st_gid)
        os.chmod(path, stat.S_IMODE(status.st_mode))
    return copy


def read(path: Path) -> ClientFile:
    """Read a file.

    Raises:
        ClientFileError: it exists and cannot be read.
    """
    try:
        return ClientFile(path, path.read_bytes())
    except FileNotFoundError:
        return ClientFile(path, None)
    except OSError as error:
        raise ClientFileError(f"{path} cannot be read: {error.strerror or error}") from None


def _sync(folder: Path) -> None:
    """Flush the directory entries of a folder to the disk, on systems that allow it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
