"""The blocks of nginx on the pages as data: enough of its syntax to tell where a request goes."""

import re
from dataclasses import dataclass, field

_TOKEN = re.compile(r"#[^\n]*|[{};]|[^\s{};]+")


@dataclass(frozen=True)
class Directive:
    """One directive, such as `proxy_pass http://app/`.

    Attributes:
        words: its name and its arguments.
        block: what is between its braces.
    """

    words: tuple[str, ...]
    block: list["Directive"] = field(default_factory=list)


def read_nginx(text: str) -> list[Directive]:
    """Return the directives of a configuration.

    Raises:
        ValueError: a directive has no end, or a brace has no other one.
    """
    open_blocks: list[list[Directive]] = [[]]
    words: list[str] = []
    for token in _TOKEN.findall(text):
        if token.startswith("#"):
            continue
        if token not in ("{", "}", ";"):
            words.append(token)
            continue
        if (token == "}") == bool(words) or (token == "}" and len(open_blocks) == 1):
            raise ValueError(f"{token!r} after {' '.join(words)!r}")
        if token == "}":
            open_blocks.pop()
            continue
        directive = Directive(tuple(words))
        open_blocks[-1].append(directive)
        words = []
        if token == "{":
            open_blocks.append(directive.block)
    if words or len(open_blocks) > 1:
        raise ValueError("the last directive has no end")
    return open_blocks[0]


def passed_on(configuration: list[Directive], path: str) -> str | None:
    """Return the path by which the server gets a request, or None if no location takes it.

    An exact location counts first, then the longest prefix; a path in `proxy_pass` replaces that prefix.
    """
    (server,) = [directive for directive in configuration if directive.words == ("server",)]
    locations = [directive for directive in server.block if directive.words[0] == "location"]
    exact = [each for each in locations if each.words[1:] == ("=", path)]
    prefixes = [each for each in locations if len(each.words) == 2 and path.startswith(each.words[1])]
    fitting = exact or sorted(prefixes, key=lambda each: len(each.words[1]))[-1:]
    if not fitting:
        return None
    ((_, target),) = [each.words for each in fitting[0].block if each.words[0] == "proxy_pass"]
    replacement = re.fullmatch(r"http://\w+(/.*)?", target)
    assert replacement is not None, target
    return path if replacement[1] is None else replacement[1] + path.removeprefix(fitting[0].words[-1])
