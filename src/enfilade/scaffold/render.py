"""Render templates. A variable of a template that is not passed is an error, not an empty string.

Easy to get wrong: quoting. A text of the author is written into Python, TOML and YAML with `|quoted`, which gives
a string that is valid in all three.
"""

import json
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


class ScaffoldError(Exception):
    """Nothing was created; the text says why, and what to do."""


def render(template: str, **values: Any) -> str:
    """Return the rendered text of a template.

    Args:
        template: its path in `templates/`, without `.jinja`.
        values: its variables.

    Raises:
        ScaffoldError: jinja2 is not installed.
        jinja2.UndefinedError: it uses a variable that is not passed.
    """
    return _environment().get_template(f"{template}.jinja").render(values)


def require_templates() -> None:
    """Fail early where templates cannot be rendered: before the user is asked for anything.

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
        autoescape=False,  # the output is not HTML
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["quoted"] = json.dumps
    return environment
