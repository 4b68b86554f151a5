"""`server.json`, by which a registry lists a server (X-REG-1), from what the app and its project say.

Easy to get wrong: a registry refuses more than its schema: icons as data URIs, repositories elsewhere than at
GitHub and GitLab, images with a `version` beside their reference. And a client runs a package of PyPI by the name
of the package, so that its command needs this name.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from enfilade.primitives.names import check_registry_name
from enfilade.primitives.public_urls import fault_of_public
from enfilade.publishing.documents import remote
from enfilade.publishing.facts import MOST_TEXT, ServerFacts, fault_of_version, is_public, members, one_line
from enfilade.publishing.findings import Findings
from enfilade.publishing.ownership import check_image_owner, check_package_owner
from enfilade.publishing.project import Project
from enfilade.publishing.stored import Stored, merged

SCHEMA: Final = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"
#: Kinds of packages that can be written.
PACKAGES: Final = ("pypi", "oci")
#: What stands for no package.
NONE: Final = "none"

_REPOSITORY: Final = re.compile(
    r"https?://(?:www\.)?(?:(github)\.com/[\w.-]+/[\w.-]+|(gitlab)\.com/[\w.-]+(?:/[\w.-]+)+)/?", re.ASCII
)
#: The name of a distribution (PEP 508).
_PACKAGE: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
#: A reference of an image: registry, path, and a tag or a digest or both (OCI distribution, "Pulling manifests").
_IMAGE: Final = re.compile(
    r"(?P<host>[a-z0-9.-]+\.[a-z]{2,})/(?P<path>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?P<digest>@sha256:[0-9a-f]{64})?",
    re.ASCII,
)
_IMAGE_HOSTS: Final = ("docker.io", "ghcr.io", "quay.io", "mcr.microsoft.com")
_IMAGE_DOMAINS: Final = (".pkg.dev", ".azurecr.io")
_ICON_TYPES: Final = ("image/png", "image/jpeg", "image/jpg", "image/svg+xml", "image/webp")
_ICON_SIZE: Final = re.compile(r"\d+x\d+|any", re.ASCII)
_LONGEST_ICON: Final = 255


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody has asked for; what is empty is taken from the file that there is, or from the project.

    Attributes:
        name: in the registry.
        packages: kinds of packages.
        image: reference of the image.
        remote: URL of the endpoint.
    """

    name: str = ""
    packages: tuple[str, ...] = ()
    image: str = ""
    remote: str = ""


def server_json(
    facts: ServerFacts, project: Project, secrets: Sequence[str], stored: Stored, wishes: Wishes
) -> tuple[dict[str, Any], Findings]:
    """Return the content of `server.json`, and what is missing; it is valid unless something is missing in it.

    Args:
        facts: what the app says.
        project: what its project says.
        secrets: names of the variables in which its tools expect secrets.
        stored: what the file has so far; what is not known here is kept.
        wishes: what was asked for.
    """
    findings = Findings()
    name = _name(facts, project, stored, wishes, findings)
    version = _version(facts, project, findings)
    kinds = _kinds(project, stored, wishes)
    packages: list[dict[str, Any]] = []
    if "pypi" in kinds:
        packages += _python_package(project, secrets, findings)
        check_package_owner(project, name, findings)
    if "oci" in kinds:
        packages += _image(stored, wishes, version, secrets, findings)
        check_image_owner(project, name, findings)
    remotes = _remotes(facts, wishes, findings)
    if not (kinds or remotes or stored.has_ways):
        findings.missing.append(
            "nothing says how a client gets it: give [project] a name in pyproject.toml for a package of PyPI, "
            "--package oci --image REFERENCE, or --remote URL"
        )
    content = {
        "$schema": SCHEMA,
        "name": name,
        "title": _text("title", facts.title, "MCPApp(title=...)", findings),
        "description": _description(facts, project, stored, findings),
        "repository": _repository(facts, project, findings),
        "version": version,
        "websiteUrl": facts.website_url or (project.homepage if is_public(project.homepage) else ""),
        "icons": _icons(facts, findings),
        "packages": packages,
        "remotes": remotes,
    }
    return merged(stored, {key: value for key, value in content.items() if value}, findings), findings


def _kinds(project: Project, stored: Stored, wishes: Wishes) -> tuple[str, ...]:
    if wishes.packages or stored.has_ways:
        return tuple(kind for kind in wishes.packages or stored.kinds(PACKAGES) if kind != NONE)
    return ("pypi",) if project.name else ()


def _name(facts: ServerFacts, project: Project, stored: Stored, wishes: Wishes, findings: Findings) -> str:
    name = wishes.name or facts.registry_name or str(stored.content.get("name") or "")
    if not name:
        owner = _REPOSITORY.fullmatch(facts.repository or project.repository)
        parts = [] if owner is None or not owner[1] else owner[0].split("/")[3:5]
        example = f"io.github.{parts[0]}/{parts[1].removesuffix('.git')}" if parts else "io.github.ada/notes"
        findings.missing.append(
            f'it has no name: write MCPApp(registry_name="{example}"), or give --name {example}. '
            "io.github.OWNER/… is for whoever logs in at GitHub as OWNER, com.example/… for who owns example.com"
        )
        return ""
    try:
        check_registry_name(name)
    except ValueError as error:
        findings.missing.append(str(error))
    if facts.registry_name and name != facts.registry_name:
        findings.todo.append(
            f"the app itself says {facts.registry_name!r}, in its server card as well: use one name"
        )
    return name


def _version(facts: ServerFacts, project: Project, findings: Findings) -> str:
    """Return the version of the project, which is another one for each release, or else that of the app."""
    version = project.version or facts.version
    if fault := fault_of_version(version):
        findings.missing.append(fault)
    elif version != facts.version:
        findings.todo.append(
            f"the project is version {version}, and clients read {facts.version!r} of the running server: write "
            f'MCPApp(version=importlib.metadata.version("{project.name}")), or the same text in both places'
        )
    return version


def _text(member: str, text: str, where: str, findings: Findings) -> str:
    if len(text) > MOST_TEXT:
        findings.missing.append(
            f"the {member} has {len(text)} characters, and {MOST_TEXT} are allowed: shorten it in {where}"
        )
    return text


def _description(facts: ServerFacts, project: Project, stored: Stored, findings: Findings) -> str:
    stored_text = stored.content.get("description")
    sources = {
        "MCPApp(description=...)": facts.description,
        "pyproject.toml, or give MCPApp(description=...)": one_line(project.description),
        stored.label: stored_text if isinstance(stored_text, str) else "",
    }
    for where, text in sources.items():
        if text:
            return _text("description", text, where, findings)
    findings.missing.append("it has no description: write MCPApp(description=...), in up to 100 characters")
    return ""


def _repository(facts: ServerFacts, project: Project, findings: Findings) -> dict[str, str]:
    url = facts.repository or project.repository
    match = _REPOSITORY.fullmatch(url)
    if match is None:
        if url:
            findings.notes.append(f"the repository {url} is left out: registries know those of GitHub and GitLab")
        return {}
    return {"url": url, "source": match[1] or match[2]}


def _icons(facts: ServerFacts, findings: Findings) -> list[dict[str, object]]:
    """Return the icons that a registry takes."""
    icons = [
        icon
        for icon in facts.icons
        if icon.src.lower().startswith("https://")
        and len(icon.src) <= _LONGEST_ICON
        and (not icon.mime_type or icon.mime_type in _ICON_TYPES)
        and all(map(_ICON_SIZE.fullmatch, icon.sizes or ()))
    ]
    if len(icons) < len(facts.icons):
        findings.notes.append(
            f"{len(facts.icons) - len(icons)} icons are left out: registries take https URLs of up to "
            f"{_LONGEST_ICON} characters, of PNG, JPEG, SVG and WebP"
        )
    return members(icons)


# -- what a client runs, or calls -------------------------------------------------------------------------------


def _python_package(project: Project, secrets: Sequence[str], findings: Findings) -> list[dict[str, Any]]:
    if not project.name:
        findings.missing.append("pyproject.toml has no [project] with a name, by which PyPI knows the package")
        return []
    if not _PACKAGE.fullmatch(project.name):
        findings.missing.append(f"{project.name!r} in pyproject.toml is no name that a package can have")
        return []
    if not project.version:
        findings.missing.append(
            "nobody knows the version of the package: write it into [project] in pyproject.toml, or install the "
            "project where this runs, if its build tool makes the version"
        )
        return []
    if fault := fault_of_version(project.version):
        findings.missing.append(f"of the package, {fault}")
    return [
        {
            "registryType": "pypi",
            "identifier": project.name,
            "version": project.version,
            "runtimeHint": "uvx",
            "transport": {"type": "stdio"},
            "environmentVariables": _variables(secrets),
        }
    ]


def _variables(secrets: Sequence[str]) -> list[dict[str, Any]]:
    """Return the environment of a server that a client starts; there, the environment outranks the code."""
    transport = {"name": "ENFILADE_TRANSPORT", "value": "stdio"}
    return [transport, *({"name": name, "isRequired": True, "isSecret": True} for name in secrets)]


def _image(
    stored: Stored, wishes: Wishes, version: str, secrets: Sequence[str], findings: Findings
) -> list[dict[str, Any]]:
    reference = wishes.image or stored.image(version)
    fault = _fault_of_image(reference)
    if fault:
        findings.missing.append(fault)
        return []
    return [
        {
            "registryType": "oci",
            "identifier": reference,
            "runtimeHint": "docker",
            "transport": {"type": "stdio"},
            "environmentVariables": _variables(secrets),
        }
    ]


def _fault_of_image(reference: str) -> str:
    if not reference:
        return "say which image it is: --image ghcr.io/OWNER/NAME:VERSION"
    match = _IMAGE.fullmatch(reference)
    if match is None:
        advice = "it is written registry/owner/name:version, such as ghcr.io/ada/notes:1.0.2, or with @sha256:…"
        return f"{reference!r} is no reference of an image: {advice}"
    host = match["host"]
    if host not in _IMAGE_HOSTS and not host.endswith(_IMAGE_DOMAINS):
        hosts = ", ".join([*_IMAGE_HOSTS, *(f"*{domain}" for domain in _IMAGE_DOMAINS)])
        return f"the registry does not read images of {host}; it knows {hosts}"
    if not match["digest"] and match["tag"] in (None, "latest"):
        return (
            f"{reference!r} is another image each time; give the tag of one version, such as :1.0.2, or a digest"
        )
    return ""


def _remotes(facts: ServerFacts, wishes: Wishes, findings: Findings) -> list[dict[str, Any]]:
    url = wishes.remote or facts.url  # else those of the file stay as they are
    if not url:
        return []
    if fault := fault_of_public(url):
        if wishes.remote:
            advice = "give the URL that everybody calls, such as https://mcp.example.com/mcp"
            findings.missing.append(f"--remote {fault}; {advice}")
        else:
            findings.notes.append("the URL of the server is left out: only clients of one network reach it")
        return []
    if wishes.remote and facts.url and wishes.remote.rstrip("/") != facts.url.rstrip("/"):
        findings.todo.append(f"the app itself says {facts.url} (public_url, or auth=): use one URL")
    return [remote(url, needs_key=facts.needs_key)]


def publish_commands(name: str) -> list[str]:
    """Return the commands of the official publisher for a name."""
    namespace = name.partition("/")[0]
    if namespace.lower().startswith("io.github."):
        return ["mcp-publisher login github", "mcp-publisher publish"]
    return ["mcp-publisher login dns --domain DOMAIN --private-key KEY", "mcp-publisher publish"]
