"""The source from which a project installs Enfilade: that of the present installation, or one that was named.

An installation records its source in `direct_url.json` (PEP 610). Without that record it came from a package
index, or from the wheel of a project in the same environment. A folder or a wheel on this machine cannot be used
on others, so a wheel is put into the project, where pip finds it with `--find-links vendor`.

Easy to get wrong: `pyproject.toml` is committed. It must contain no path of this machine and no password.
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
from enfilade.scaffold.render import ScaffoldError

#: The folder of a project for the wheel.
VENDOR: Final = "vendor"
#: Timeout for building a wheel, in seconds: build tools may have to be downloaded first.
BUILD_TIME: Final = 300

_ADVICE: Final = "say where it is to come from by --enfilade, such as --enfilade git+https://…"
_REQUIREMENT: Final = re.compile(r"enfilade\s*(?:\[[\w\s,.-]*\])?\s*((?:[<>=!~@].*)?)", re.IGNORECASE | re.DOTALL)
#: No quotes, variables or line ends, because the text is written into TOML and shell code.
_SAFE: Final = re.compile(r"[\w <>=!~@.,:/+#&%?*\[\]-]+", re.ASCII)


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """A source of Enfilade. The default is a package index that has this version.

    Attributes:
        versions: the versions accepted from an index, such as `>=0.1.0`.
        url: a URL instead of the index, in pip's notation, such as `git+https://…@v1`.
        source: a folder or wheel on this machine instead, from which the wheel of the project is made.
    """

    versions: str = f">={__version__}"
    url: str = ""
    source: Path | None = None

    def requirement(self, extra: str = "") -> str:
        """Return the requirement for a project's dependencies, with an extra."""
        name = f"enfilade[{extra}]" if extra else "enfilade"
        return f"{name} @ {self.url}" if self.url else f"{name}{self.versions}"

    @property
    def description(self) -> str:
        """A description for messages."""
        if self.source is not None:
            return f"the wheel in {VENDOR}/: commit it with the project"
        return self.url or f"a package index: {self.requirement()}"

    @property
    def needs_git(self) -> bool:
        """Whether pip needs git for the installation."""
        return self.url.startswith("git+")


def installed_origin() -> Origin:
    """Return the source of the present installation, as PEP 610 records it.

    Raises:
        ScaffoldError: the record is malformed, or names a folder or a file that does not exist.
    """
    try:
        text = importlib.metadata.distribution("enfilade").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:  # a source tree without an installation
        return Origin()
    try:
        record = json.loads(text or "{}")
        return _recorded(record) if record else Origin(source=_wheel_of_a_project())
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ScaffoldError(
            f"the record of where Enfilade was installed from cannot be read; {_ADVICE}"
        ) from None


def _wheel_of_a_project() -> Path | None:
    """Return the wheel of this version in an installed project; pip does not record `--find-links`."""
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
        vcs = record["vcs_info"]
        url = f"{vcs['vcs']}+{url}@{vcs.get('commit_id') or vcs['requested_revision']}"
    if folder := record.get("subdirectory"):
        url = f"{url}#subdirectory={folder}"
    return Origin(url=_safe(url))


def named_origin(spec: str) -> Origin:
    """Return the source that a requirement, a URL, or the path of a folder or a wheel names.

    Raises:
        ScaffoldError: it is none of these, or the folder or file does not exist.
    """
    spec = spec.strip()
    if match := _REQUIREMENT.fullmatch(spec):
        specifier = match[1].strip()
        if not specifier.startswith("@"):
            return Origin(versions=_safe(specifier).replace(" ", ""))
        spec = specifier.removeprefix("@").strip()
    scheme = urlsplit(spec).scheme
    if scheme == "file":
        return _local(_path(spec))
    if "://" in spec and scheme:
        return Origin(url=_safe(spec))
    if Path(spec).exists():
        return _local(Path(spec).resolve())
    raise ScaffoldError(
        f"{spec!r} is no requirement such as 'enfilade>={__version__}', no URL, and nothing that is here"
    )


def _local(path: Path) -> Origin:
    """Return the source for a folder or a wheel on this machine."""
    if not path.exists():
        raise ScaffoldError(f"Enfilade comes from {str(path)!r}, which is not there; {_ADVICE}")
    return Origin(source=path)


def _path(url: str) -> Path:
    """Return the path of a file URL."""
    parts = urlsplit(url)
    host = f"//{parts.netloc}" if parts.netloc not in ("", "localhost") else ""
    from urllib.request import url2pathname  # it imports `http`, which a file of the user may shadow

    return Path(url2pathname(host + parts.path))


def _without_password(url: str) -> str:
    """Return a URL without a password, or a variable that stands for one; a user name as in `git@` stays."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=host)) if ":" in user or "$" in user else url


def _safe(text: str) -> str:
    if text and not _SAFE.fullmatch(text):
        raise ScaffoldError(f"{text!r} has characters that cannot be in a requirement here; {_ADVICE}")
    return text


def vendored(folder: Path) -> Origin | None:
    """Return the source for the wheel of Enfilade in a project; None if there is none."""
    wheels = sorted((folder.resolve() / VENDOR).glob("enfilade-*.whl"))
    if not wheels:
        return None
    # Exactly this version: an index may have another project of the same name with a higher one.
    return Origin(versions=f"=={wheels[-1].name.split('-')[1]}", source=wheels[-1])


def put_wheel(origin: Origin, folder: Path) -> Origin:
    """Put a wheel into a project if the source is on this machine; return the source for the project.

    Raises:
        ScaffoldError: the wheel cannot be built.
        OSError: it cannot be written.
    """
    vendor = folder.resolve() / VENDOR
    if origin.source is None or origin.source.parent == vendor:
        return origin
    vendor.mkdir(parents=True, exist_ok=True)
    for old_wheel in vendor.glob("enfilade-*.whl"):
        old_wheel.unlink()
    if origin.source.suffix == ".whl":
        shutil.copy2(origin.source, vendor)
    else:
        _build(origin.source, vendor)
    if project_origin := vendored(folder):
        return project_origin
    raise ScaffoldError(f"no wheel of Enfilade came of {str(origin.source)!r}; {_ADVICE}")


def _build(source: Path, folder: Path) -> None:
    """Build a wheel with pip or, if it is not installed, with uv."""
    if importlib.util.find_spec("pip"):
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "-q", "--no-deps"]
        if importlib.util.find_spec("hatchling"):
            command.append("--no-build-isolation")  # the build tools are installed
        command += ["--wheel-dir", str(folder), str(source)]
    elif uv := shutil.which("uv"):
        command = [uv, "build", "-q", "--wheel", "--out-dir", str(folder), str(source)]
    else:
        raise ScaffoldError(f"a wheel of Enfilade is to be built, and neither pip nor uv is here; {_ADVICE}")
    try:
        process = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONSAFEPATH": "1"},
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=BUILD_TIME,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ScaffoldError(f"building a wheel of Enfilade took more than {BUILD_TIME} s; {_ADVICE}") from None
    if process.returncode:
        last = (process.stderr.strip().splitlines() or [f"status {process.returncode}"])[-1]
        raise ScaffoldError(f"no wheel of Enfilade could be built from {str(source)!r} ({last}); {_ADVICE}")
