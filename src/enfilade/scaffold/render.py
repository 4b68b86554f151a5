"""Texts from templates. A name that a template uses and nobody gave is an error, never an empty place.

Easy to get wrong: quoting. What an author wrote goes into Python, TOML and YAML by `|quoted`, which is a string
in all three.
"""

import json
from functools import cache
from typing import TYPE_CHECKING, Any

from enfilade.scaffold.errors import ScaffoldError

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **values: Any) -> str:
    """Return the text of a template.

    Args:
        template: its path below `templates/`, without `.jinja`.
        values: what it may use.

    Raises:
        ScaffoldError: jinja2 is not installed.
        jinja2.UndefinedError: it uses what was not given.
    """
    return _environment().get_template(f"{template}.jinja").render(values)


def require_templates() -> None:
    """Refuse to begin where templates cannot be filled in: before anything is asked, announced or built.

    Raises:
        ScaffoldError: jinja2 is not installed.
    """
    _environment()


@cache
def _environment() -> "Environment":
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError:
        raise ScaffoldError('this needs more packages: pip install "enfilade[dev]"') from None
    environment = Environment(
        loader=PackageLoader("enfilade.scaffold"),
        undefined=StrictUndefined,
        autoescape=False,  # these are programs, not pages
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["quoted"] = json.dumps
    return environment
