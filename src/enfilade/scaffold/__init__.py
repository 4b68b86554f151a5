"""New projects, and the files that put a project into containers, from templates.

    from enfilade.scaffold import Plan, make_project

    folder = make_project(Plan.named("The simple server name"), Path.cwd())

Needs jinja2, `pip install "enfilade[dev]"`.

Easy to get wrong: a template that does not fit every name and every option. A new project must work from its root
without an edit; `tests/scaffold/` creates each kind and uses it.
"""

from enfilade.scaffold.containers import ContainerOptions, container_files, container_origin, write_containers
from enfilade.scaffold.origin import VENDOR, Origin, installed_origin, named_origin
from enfilade.scaffold.project import Names, Plan, Service, check_free, make_project, names_of, next_steps
from enfilade.scaffold.render import ScaffoldError, require_templates

__all__ = [
    "VENDOR",
    "ContainerOptions",
    "Names",
    "Origin",
    "Plan",
    "ScaffoldError",
    "Service",
    "check_free",
    "container_files",
    "container_origin",
    "installed_origin",
    "make_project",
    "named_origin",
    "names_of",
    "next_steps",
    "require_templates",
    "write_containers",
]
