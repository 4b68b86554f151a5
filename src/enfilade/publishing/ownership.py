"""What proves to a registry whose a package is, and what lets a client run it (X-REG-2)."""

from enfilade.publishing.findings import Findings
from enfilade.publishing.project import LABEL, MARKER, Project, declares


def check_package_owner(project: Project, name: str, findings: Findings) -> None:
    """Find what a package of PyPI lacks.

    Args:
        name: in the registry; empty if there is none yet.
    """
    if not project.name:
        return
    if project.is_private:
        findings.todo.append(
            "PyPI refuses the package: pyproject.toml has a classifier that begins with Private ::"
        )
    if project.name not in project.scripts:
        others = f", which has {', '.join(project.scripts)}" if project.scripts else ""
        findings.todo.append(
            f"clients run `uvx {project.name}`, so the package needs a command of this name: add "
            f'{project.name} = "MODULE:main" under [project.scripts] in pyproject.toml{others}'
        )
    if not name:
        return
    line = f"<!-- {MARKER}{name} -->"
    if project.readme is None:
        findings.todo.append(
            f'PyPI shows no README of the package: write readme = "{project.readme_name}" under [project] in '
            f"pyproject.toml, and {line} into that file"
        )
    elif not declares(project.readme, name):
        findings.todo.append(
            f"{project.readme_name} does not say that the package is {name}: add the line {line}, and release "
            "the package with it, since the registry reads the README at PyPI"
        )


def check_image_owner(project: Project, name: str, findings: Findings) -> None:
    """Find what an image lacks.

    Args:
        name: in the registry; empty if there is none yet.
    """
    if not name:
        return
    line = f'LABEL {LABEL}="{name}"'
    if project.dockerfile is None:
        findings.todo.append(
            "there is no Dockerfile here: `enfilade docker` writes one with the label; in one of your own, add "
            f"{line}"
        )
    elif project.label != name:
        other = f"has the label of {project.label}" if project.label else "has no label"
        findings.todo.append(
            f"the Dockerfile {other}: add the line {line}, or let `enfilade docker --force` write it anew"
        )
