"""The sources of settings, and their precedence.

Highest first:

    the command line ▸ the environment ▸ `.env` ▸ code ▸ the default

Code means the arguments of `run()` and `run_async()`, then those of `MCPApp`, then a `Settings` object. The
person who starts a process outranks the author of the server.

Easy to get wrong: which `.env` is read. It is the one in the working directory, or else the one in the nearest
parent directory with a `pyproject.toml`.
"""

import logging
import os
import re
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, get_origin

import msgspec

from enfilade.settings import PREFIX, Secret, Settings, SettingsError, closest, describe_problems, fields

log = logging.getLogger("enfilade")

#: Settings that may be empty; an empty variable of any other setting counts as not set.
_MAY_BE_EMPTY: Final = frozenset({"health_path", "ready_path"})
_FILE: Final = "_FILE"
#: Most bytes of a file that has a secret.
_LONGEST_FILE: Final = 64 * 1024
_OF_AUTHORIZATION: Final = PREFIX + "AUTH_"
#: The client of this server at a provider of tokens.
_OF_PROVIDERS: Final = re.compile(f"{_OF_AUTHORIZATION}[A-Z][A-Z0-9_]*_CLIENT_(?:ID|SECRET)")
#: Variables of this project's own tests and soak runs, which servers inherit from them.
OF_THE_TESTS: Final = frozenset(
    PREFIX + name for name in ("FAULT_LOOPS", "MATRIX", "SCHEMAS", "SEED", "SOAK_SECONDS", "TOOLS")
)


def load(
    code: Mapping[str, Any], base: Settings | None = None, command_line: Mapping[str, Any] | None = None
) -> Settings:
    """Return the settings in force.

    Args:
        code: arguments in the code of the server by setting; None means "not set".
        base: the settings that `code` overrides.
        command_line: values of command line options by setting; None means "not set".

    Raises:
        SettingsError: a value is invalid; the text has the setting and the source.
        TypeError: there is no such setting, or `base` is no `Settings` object.
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
    """Refuse a setting, or a misspelled one, as an argument of a function that does not accept it.

    Args:
        function: the name of the function.
        options: the keyword arguments of the call.
        arguments: the names of its parameters.

    Raises:
        TypeError: one of the options is a setting; the text says how to set it. Other names are not checked.
    """
    is_constructor = function == "__init__"
    display_name = "MCPApp" if is_constructor else function
    settings = Settings.__struct_fields__
    for name, value in options.items():
        meant = name if name in settings else closest(name, (*arguments, *settings))
        if name in arguments or meant is None:
            continue
        question = "it is a setting" if meant == name else f"did you mean {meant!r}"
        if meant in arguments:
            raise TypeError(f"{display_name}() has no argument {name!r}; {question}?")
        literal = repr(value) if isinstance(value, bool | int | float) else "..."
        call = f"settings=Settings({meant}={literal})"
        advice = f"write {call if is_constructor else f'MCPApp({call})'}"
        link = ": " if meant == name else "? It is a setting: "
        raise TypeError(f"{display_name}() has no argument {name!r}; {question}{link}{advice}")


def parse(name: str, text: str) -> Any:
    """Return the value of a setting for its text in a variable or an option; lists are separated by commas."""
    if get_origin(fields()[name].kind) is tuple:
        return tuple(entry.strip() for entry in text.split(",") if entry.strip())
    return text.strip()


def _from_environment() -> dict[str, tuple[str, str]]:
    """Return the settings in the environment and `.env`: the text and its source, by setting."""
    in_file = _dotenv()
    values: dict[str, tuple[str, str]] = {}
    for name in Settings.__struct_fields__:
        key = PREFIX + name.upper()
        text = os.environ.get(key, in_file.get(key))
        if name in secret_settings() and (path := os.environ.get(key + _FILE, in_file.get(key + _FILE))):
            if text:
                raise SettingsError(f"Invalid settings: {key} and {key}{_FILE} are both set; give one of them")
            values[name] = (_content(path, key + _FILE), key + _FILE)
            continue
        if text or (text is not None and name in _MAY_BE_EMPTY):
            values[name] = (text, key if key in os.environ else f"{key} in .env")
    return values


@cache
def secret_settings() -> frozenset[str]:
    """Return the settings whose value may be in a file, by `ENFILADE_<NAME>_FILE`: those that hold secrets."""
    secrets = {name for name, field in fields().items() if field.kind in (Secret, tuple[Secret, ...])}
    return frozenset({*secrets, "store"})  # whose URL may have a password


def _content(path: str, variable: str) -> str:
    """Return what is in the file of a secret, without the line break at its end.

    Raises:
        SettingsError: it cannot be read, is empty, too large or no text.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(_LONGEST_FILE + 1)
        text = content.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise SettingsError(f"Invalid settings: {variable}: {path!r} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"Invalid settings: {variable}: {path!r} is no text in UTF-8") from None
    if not text:
        raise SettingsError(f"Invalid settings: {variable}: {path!r} is empty")
    if len(content) > _LONGEST_FILE:
        raise SettingsError(f"Invalid settings: {variable}: {path!r} is larger than {_LONGEST_FILE} bytes")
    return text


def _dotenv() -> Mapping[str, str | None]:
    """Return the variables in the `.env` file; none if there is no such file.

    Raises:
        SettingsError: the file cannot be read.
    """
    if (file := find_dotenv()) is None:
        return {}
    from enfilade.dotenv_file import read_dotenv

    try:
        return read_dotenv(file)
    except OSError as error:
        raise SettingsError(f"Invalid settings: {file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise SettingsError(f"Invalid settings: {error}") from None


def find_dotenv(start: Path | None = None) -> Path | None:
    """Return the `.env` file for a directory, by default the working directory; None if there is none."""
    folder = (start or Path.cwd()).resolve()
    if (folder / ".env").is_file():
        return folder / ".env"
    for directory in folder.parents:
        if (directory / "pyproject.toml").is_file():
            return directory / ".env" if (directory / ".env").is_file() else None
    return None


def warn_of_unknown_variables() -> None:
    """Log a warning for each `ENFILADE_*` variable that is no setting, and each line of `.env` without effect.

    It is called when a server starts, not when its file is imported, and not in workers, which would repeat it.

    Raises:
        SettingsError: one of authorization is misspelled; to start without it would let everybody in.
    """
    for name, origin in _unknown_variables():
        if _OF_PROVIDERS.fullmatch(name.upper()):  # of providers that tools name, whichever these are
            continue
        if name.upper().startswith(_OF_AUTHORIZATION):
            known = ", ".join(PREFIX + each.upper() for each in fields() if each.startswith("auth_"))
            raise SettingsError(
                f"Invalid settings: {name}{origin} is no setting; those of authorization are {known}"
            )
        log.warning("%s%s is no setting of this version, so it has no effect%s", name, origin, _suggestion(name))
    if (file := find_dotenv()) is not None:
        from enfilade.dotenv_file import lines_without_value

        for number in lines_without_value(file):
            log.warning("%s, line %d, has no effect; write NAME=value", file, number)


def _unknown_variables() -> Iterator[tuple[str, str]]:
    """Yield the names of variables with our prefix that are no settings; " in .env" marks those in the file."""
    valid_names = {PREFIX + name.upper() for name in Settings.__struct_fields__} | OF_THE_TESTS
    valid_names |= {PREFIX + name.upper() + _FILE for name in secret_settings()}
    in_file = _dotenv()
    for name in sorted({*os.environ, *in_file}):
        in_environment = name in os.environ
        # Compose files pass on variables that are empty.
        is_set = bool(os.environ[name] if in_environment else in_file[name])
        if is_set and name.upper().startswith(PREFIX) and name not in valid_names:
            yield name, "" if in_environment else " in .env"


def _suggestion(name: str) -> str:
    """Return the end of the warning: the most similar setting."""
    near = closest(name.upper().removeprefix(PREFIX).lower(), Settings.__struct_fields__)
    return f"; did you mean {PREFIX}{near.upper()}?" if near else ""
