"""Where the values of settings come from, and which source wins.

Strongest first:

    the command line ▸ the environment ▸ `.env` ▸ code ▸ the default

Code is whatever the author of the server wrote: arguments of `run()` and `run_async()`, then those of `MCPApp`,
then a `Settings` object. The closer a source is to the person who starts this one process, the stronger it is.

Easy to get wrong: which `.env`. It is the one in the working directory, or else in the nearest directory above
that holds a `pyproject.toml`.
"""

import logging
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_origin

import msgspec

from enfilade.settings import PREFIX, Settings, SettingsError, closest, describe_problems, fields

log = logging.getLogger("enfilade")

#: Of other settings, an empty variable counts as one that is not set.
_MAY_BE_EMPTY: Final = frozenset({"health_path", "ready_path"})
#: Variables of this project's own tests and soak runs, which start servers in the environment that they run in.
OF_THE_TESTS: Final = frozenset(
    PREFIX + name for name in ("FAULT_LOOPS", "MATRIX", "SCHEMAS", "SEED", "SOAK_SECONDS", "TOOLS")
)


def load(
    code: Mapping[str, Any], base: Settings | None = None, command_line: Mapping[str, Any] | None = None
) -> Settings:
    """Return the settings in force.

    Args:
        code: arguments that the author of the server wrote, by setting; None means "not given".
        base: what `code` is laid over.
        command_line: what was typed to start the process, by setting; None means "not given".

    Raises:
        SettingsError: a value that cannot be; the text says which, and which source it is from.
        TypeError: there is no such setting, or `base` is no `Settings`.
    """
    if base is not None and not isinstance(base, Settings):
        names = [f"{name}=..." for name in base] if isinstance(base, Mapping) else []
        raise TypeError(
            f"settings must be a Settings object, not {type(base).__name__}; write "
            f"settings=Settings({', '.join(names) or 'port=9000'})"
        )
    values = {} if base is None else msgspec.structs.asdict(base)
    values.update({name: value for name, value in code.items() if value is not None})
    source = dict.fromkeys(values, "argument")
    for name, (text, origin) in _from_environment().items():
        values[name], source[name] = parse(name, text), origin
    for name, value in (command_line or {}).items():
        if value is not None:
            values[name] = parse(name, value) if isinstance(value, str) else value
            source[name] = "--" + name.replace("_", "-")
    try:
        return Settings(**values)
    except SettingsError as error:
        raise SettingsError(describe_problems(error.problems, source), error.problems) from None


def refuse_unknown(function: str, options: Mapping[str, Any], arguments: Collection[str]) -> None:
    """Refuse a setting, or what nearly is one, as an argument of a function that does not take it.

    Args:
        function: its name.
        options: what it was called with.
        arguments: what it takes.

    Raises:
        TypeError: one of them is a setting; the text says how to give it. What is none is left to the function.
    """
    shown, before, after = ("MCPApp", "", "") if function == "__init__" else (function, "MCPApp(", ")")
    settings = Settings.__struct_fields__
    for name, value in options.items():
        meant = name if name in settings else closest(name, (*arguments, *settings))
        if name in arguments or meant is None:
            continue
        asked = "it is a setting" if meant == name else f"did you mean {meant!r}"
        if meant in arguments:
            raise TypeError(f"{shown}() has no argument {name!r}; {asked}?")
        given = repr(value) if isinstance(value, bool | int | float) else "..."
        advice = f"write {before}settings=Settings({meant}={given}){after}"
        link = ": " if meant == name else "? It is a setting: "
        raise TypeError(f"{shown}() has no argument {name!r}; {asked}{link}{advice}")


def parse(name: str, text: str) -> Any:
    """Return the value of a setting from its text in a variable or an option; lists are separated by commas."""
    if get_origin(fields()[name].kind) is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text.strip()


def _from_environment() -> dict[str, tuple[str, str]]:
    """Return what the environment and `.env` set: by setting, the text and where it stands."""
    in_file = _dotenv()
    found: dict[str, tuple[str, str]] = {}
    for name in Settings.__struct_fields__:
        key = PREFIX + name.upper()
        text = os.environ.get(key, in_file.get(key))
        if text or (text is not None and name in _MAY_BE_EMPTY):
            found[name] = (text, key if key in os.environ else f"{key} in .env")
    return found


def _dotenv() -> Mapping[str, str | None]:
    """Return the variables of the `.env` that counts; none if there is no such file.

    Raises:
        SettingsError: the file cannot be read.
    """
    if (file := find_dotenv()) is None:
        return {}
    from enfilade.serving.secrets import read_dotenv

    try:
        return read_dotenv(file)
    except OSError as error:
        raise SettingsError(f"Invalid settings: {file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise SettingsError(f"Invalid settings: {error}") from None


def find_dotenv(start: Path | None = None) -> Path | None:
    """Return the `.env` that counts for a directory, by default the working directory."""
    here = (start or Path.cwd()).resolve()
    if (here / ".env").is_file():
        return here / ".env"
    for directory in here.parents:
        if (directory / "pyproject.toml").is_file():
            return directory / ".env" if (directory / ".env").is_file() else None
    return None


def warn_of_unknown_variables() -> None:
    """Log a warning for each `ENFILADE_*` variable that is no setting, and each line of `.env` that sets nothing.

    It belongs to the start of a server, not to its import, and not to its workers, which would repeat it.
    """
    for name, origin in _unknown_variables():
        log.warning("%s%s is no setting of this version, so it has no effect%s", name, origin, _suggestion(name))
    if (file := find_dotenv()) is not None:
        from enfilade.serving.secrets import lines_without_value

        for number in lines_without_value(file):
            log.warning("%s, line %d, has no effect; write NAME=value", file, number)


def _unknown_variables() -> Iterator[tuple[str, str]]:
    """Yield the names of variables that look like settings and are none, with " in .env" for those there."""
    known = {PREFIX + name.upper() for name in Settings.__struct_fields__} | OF_THE_TESTS
    in_file = _dotenv()
    for name in sorted({*os.environ, *in_file}):
        here = name in os.environ
        is_set = bool(
            os.environ[name] if here else in_file[name]
        )  # compose files pass on variables that are empty
        if is_set and name.upper().startswith(PREFIX) and name not in known:
            yield name, "" if here else " in .env"


def _suggestion(name: str) -> str:
    """Return the end of the warning: the setting that may have been meant."""
    near = closest(name.upper().removeprefix(PREFIX).lower(), Settings.__struct_fields__)
    return f"; did you mean {PREFIX}{near.upper()}?" if near else ""
