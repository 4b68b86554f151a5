"""The parameters of `enfilade run` as typer reads them: a few of its own, and an option for each setting."""

import inspect
from collections.abc import Collection
from typing import Annotated, Any

import typer

from enfilade.cli.setting_options import setting_options

_OWN: dict[str, Any] = {
    "target": Annotated[
        str | None,
        typer.Argument(
            metavar="FILE[:NAME]",
            help="Python file, and the app's name in it if there are several; or a project's folder "
            "(default: this one).",
            show_default=False,
        ),
    ],
    "module": Annotated[
        str | None,
        typer.Option("--module", "-m", help="Module to serve instead of a file.", metavar="MODULE[:NAME]"),
    ],
    "directory": Annotated[
        str | None, typer.Option(help="Folder to work in, where .env is looked for (default: this one).")
    ],
    "reload": Annotated[
        bool, typer.Option("--reload", help="Start anew when a Python file of the project changes, over http.")
    ],
}


def run_signature(without: Collection[str] = ()) -> inspect.Signature:
    """Return the signature that `run` has on the command line.

    Args:
        without: parameters of its own to leave out; `reload` stays.
    """
    parameters = [_parameter(name, annotation, None) for name, annotation in _OWN.items() if name not in without]
    parameters[-1] = parameters[-1].replace(default=False)  # a flag that is not given is False
    for option in setting_options():
        words = [f"{option.words[0]}/{option.opposite}"] if option.opposite else option.words
        described = typer.Option(
            *words, help=option.help, metavar=option.metavar or None, rich_help_panel=option.group
        )
        parameters.append(_parameter(option.name, Annotated[option.kind | None, described], None))
    return inspect.Signature(parameters)


def _parameter(name: str, annotation: Any, default: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
