"""Where a project gets Enfilade from: the place that the installed one came from, or one that was named.

PEP 610 has the record of it, `direct_url.json`. Without one, it came from a package index, or from the wheel of a
project that is installed in the same environment. A folder or a wheel on this machine is of no use anywhere else,
so a wheel of it is put into the project, where pip finds it by `--find-links vendor`.

Easy to get wrong: what is written into `pyproject.toml` is committed. A path of this machine, or a password in a
URL, must not be in it.
"""

import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import msgspec

from enfilade import __version__
from enfilade.scaffold.errors import ScaffoldError

#: The folder of a project that a wheel is put into.
VENDOR: Final = "vendor"
#: Longest time to build a wheel, in seconds: the build tools may have to be downloaded first.
BUILD_TIME: Final = 300

_OTHERWISE: Final = "say where it is to come from by --enfilade, such as --enfilade git+https://…"
_REQUIREMENT: Final = re.compile(r"enfilade\s*(?:\[[\w\s,.-]*\])?\s*((?:[<>=!~@].*)?)", re.IGNORECASE | re.DOTALL)
#: No quotes, variables or line ends: it is written into TOML, and into a line of shell.
_SAFE: Final = re.compile(r"[\w <>=!~@.,:/+#&%?*\[\]-]+", re.ASCII)


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where Enfilade comes from. The default is a package index, which has this version.

    Attributes:
        versions: which versions an index may give, such as `>=0.1.0`.
        url: the URL in its stead, as pip takes it, such as `git+https://…@v1`.
        source: the folder or wheel on this machine in its stead, which a wheel in the project is made from.
    """

    versions: str = f">={__version__}"
    url: str = ""
    source: Path | None = None

    def requirement(self, extra: str = "") -> str:
        """Return what a project's dependencies say, with an extra."""
        name = f"enfilade[{extra}]" if extra else "enfilade"
        return f"{name} @ {self.url}" if self.url else f"{name}{self.versions}"

    @property
    def place(self) -> str:
        """What a command says of it."""
        if self.source is not None:
            return f"the wheel in {VENDOR}/: commit it with the project"
        return self.url or f"a package index: {self.requirement()}"

    @property
    def needs_git(self) -> bool:
        """Whether pip needs git to install it."""
        return self.url.startswith("git+")


def installed_origin() -> Origin:
    """Return where the installed Enfilade came from, as PEP 610 records it.

    Raises:
        ScaffoldError: the record has a folder or a file that is gone.
    """
    try:
        text = importlib.metadata.distribution("enfilade").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:  # run from a source tree, without an installation
        return Origin()
    try:
        record = json.loads(text or "{}")
        return _recorded(record) if record else Origin(source=_wheel_of_a_project())
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ScaffoldError(
            f"the record of where Enfilade was installed from cannot be read; {_OTHERWISE}"
        ) from None


def _wheel_of_a_project() -> Path | None:
    """Return the wheel of this version that an installed project has; pip keeps no record of `--find-links`."""
    for distribution in importlib.metadata.distributions():
        try:
            record = json.loads(distribution.read_text("direct_url.json") or "{}")
            if "dir_info" not in record or urlsplit(record["url"]).scheme != "file":
                continue
            wheels = sorted((_path(record["url"]) / VENDOR).glob(f"enfilade-{__version__}-*.whl"))
        except (ValueError, LookupError, TypeError, AttributeError, OSError):  # the record of another package
            continue
        if wheels:
            return wheels[-1]
    return None


def _recorded(record: dict[str, Any]) -> Origin:
    url = str(record["url"])
    if urlsplit(url).scheme == "file" and "vcs_info" not in record:
        return _local(_path(url))
    url = _without_password(url)
    if "vcs_info" in record:
        found = record["vcs_info"]
        url = f"{found['vcs']}+{url}@{found.get('commit_id') or found['requested_revision']}"
    if folder := record.get("subdirectory"):
        url = f"{url}#subdirectory={folder}"
    return Origin(url=_safe(url))


def named_origin(said: str) -> Origin:
    """Return what a requirement, a URL, or the path of a folder or a wheel says.

    Raises:
        ScaffoldError: it is none of these, or there is no such folder or file.
    """
    said = said.strip()
    if match := _REQUIREMENT.fullmatch(said):
        rest = match[1].strip()
        if not rest.startswith("@"):
            return Origin(versions=_safe(rest).replace(" ", ""))
        said = rest.removeprefix("@").strip()
    scheme = urlsplit(said).scheme
    if scheme == "file":
        return _local(_path(said))
    if "://" in said and scheme:
        return Origin(url=_safe(said))
    if Path(said).exists():
        return _local(Path(said).resolve())
    raise ScaffoldError(
        f"{said!r} is no requirement such as 'enfilade>={__version__}', no URL, and nothing that is here"
    )


def _local(path: Path) -> Origin:
    """Return what makes a wheel from a folder, or takes one that is built."""
    if not path.exists():
        raise ScaffoldError(f"Enfilade comes from {str(path)!r}, which is not there; {_OTHERWISE}")
    return Origin(source=path)


def _path(url: str) -> Path:
    """Return the path that a file URL has."""
    parts = urlsplit(url)
    host = f"//{parts.netloc}" if parts.netloc not in ("", "localhost") else ""
    from urllib.request import url2pathname  # which imports `http`, and so may a file of the user be called

    return Path(url2pathname(host + parts.path))


def _without_password(url: str) -> str:
    """Return a URL without a password or a variable in its place; a name alone, as in `git@`, stays."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=host)) if ":" in user or "$" in user else url


def _safe(text: str) -> str:
    if text and not _SAFE.fullmatch(text):
        raise ScaffoldError(f"{text!r} has characters that cannot be in a requirement here; {_OTHERWISE}")
    return text


def vendored(folder: Path) -> Origin | None:
    """Return the wheel that a project has of Enfilade as its origin."""
    wheels = sorted((folder.resolve() / VENDOR).glob("enfilade-*.whl"))
    if not wheels:
        return None
    # This one and no other: an index may have another project of the same name, with a higher version.
    return Origin(versions=f"=={wheels[-1].name.split('-')[1]}", source=wheels[-1])


def put_wheel(origin: Origin, folder: Path) -> Origin:
    """Put a wheel into a project if Enfilade comes from this machine, and return what the project is to say.

    Args:
        origin: where Enfilade comes from.
        folder: the project's.

    Raises:
        ScaffoldError: no wheel can be built.
        OSError: it cannot be written.
    """
    place = folder.resolve() / VENDOR
    if origin.source is None or origin.source.parent == place:
        return origin
    place.mkdir(parents=True, exist_ok=True)
    for old in place.glob("enfilade-*.whl"):
        old.unlink()
    if origin.source.suffix == ".whl":
        shutil.copy2(origin.source, place)
    else:
        _build(origin.source, place)
    if found := vendored(folder):
        return found
    raise ScaffoldError(f"no wheel of Enfilade came of {str(origin.source)!r}; {_OTHERWISE}")


def _build(source: Path, place: Path) -> None:
    """Build a wheel, by pip or, where there is none, by uv."""
    if importlib.util.find_spec("pip"):
        words = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "-q", "--no-deps"]
        if importlib.util.find_spec("hatchling"):
            words.append("--no-build-isolation")  # what it would download is here
        words += ["--wheel-dir", str(place), str(source)]
    elif uv := shutil.which("uv"):
        words = [uv, "build", "-q", "--wheel", "--out-dir", str(place), str(source)]
    else:
        raise ScaffoldError(f"a wheel of Enfilade is to be built, and neither pip nor uv is here; {_OTHERWISE}")
    try:
        done = subprocess.run(
            words,
            cwd=place,
            env={**os.environ, "PYTHONSAFEPATH": "1"},
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=BUILD_TIME,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ScaffoldError(f"building a wheel of Enfilade took more than {BUILD_TIME} s; {_OTHERWISE}") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise ScaffoldError(f"no wheel of Enfilade could be built from {str(source)!r} ({last}); {_OTHERWISE}")
