"""Texts such as clients have in their files, for hypothesis: JSON with all that may stand around a value."""

import json

from hypothesis import strategies as st

_WORDS = st.text(st.characters(codec="utf-8"), max_size=8)
_IN_COMMENT = st.text(st.sampled_from('ab {}[]",:/é\t'), max_size=6)
_BLOCK = st.builds("/*{}*/".format, _IN_COMMENT.map(lambda text: text.replace("/", "")))
_LINE = st.builds("//{}{}".format, _IN_COMMENT, st.sampled_from(["\n", "\r\n"]))
_BLANK = st.sampled_from(["", "", " ", "\n", "\r\n", "\t", "\n    ", "  \n\n\t"])

NUMBERS = st.sampled_from(["0", "-0", "1.0", "1e5", "1E+05", "-3.140", "123456789012345678901234567890", "1e999"])


@st.composite
def space(draw: st.DrawFn, comments: bool) -> str:
    around = [draw(_BLANK)]
    if comments and draw(st.integers(0, 4)) == 0:
        around += [draw(st.one_of(_BLOCK, _LINE)), draw(_BLANK)]
    return "".join(around)


@st.composite
def strings(draw: st.DrawFn) -> str:
    return json.dumps(draw(_WORDS), ensure_ascii=draw(st.booleans()))


@st.composite
def between(draw: st.DrawFn, brackets: str, children: list[str], comments: bool) -> str:
    """Return a container with children as texts."""
    blank = space(comments)
    parts = [brackets[0], draw(blank)]
    for index, child in enumerate(children):
        last = index == len(children) - 1
        comma = "," if not last or (comments and draw(st.booleans())) else ""
        parts += [child, draw(blank), comma, draw(blank)]
    return "".join([*parts, brackets[1]])


@st.composite
def members(draw: st.DrawFn, comments: bool, depth: int) -> list[str]:
    blank = space(comments)
    pairs = draw(st.lists(st.tuples(strings(), values(comments, depth)), max_size=3))
    return [f"{key}{draw(blank)}:{draw(blank)}{value}" for key, value in pairs]


@st.composite
def values(draw: st.DrawFn, comments: bool, depth: int = 2) -> str:
    kind = draw(st.integers(0, 4 if depth else 2))
    if kind == 3:
        return draw(between("[]", draw(st.lists(values(comments, depth - 1), max_size=3)), comments))
    if kind == 4:
        return draw(between("{}", draw(members(comments, depth - 1)), comments))
    return draw([strings(), NUMBERS, st.sampled_from(["true", "false", "null"])][kind])


@st.composite
def files(draw: st.DrawFn, comments: bool, key: str = "mcpServers") -> str:
    """Return a client's file: an object, often with the one of servers in it, sometimes twice."""
    outer = draw(members(comments, 2))
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2]))):
        servers = draw(between("{}", draw(members(comments, 2)), comments))
        outer.insert(draw(st.integers(0, len(outer))), f"{json.dumps(key)}:{draw(space(comments))}{servers}")
    blank = space(comments)
    return (
        draw(st.sampled_from(["", "\ufeff"])) + draw(blank) + draw(between("{}", outer, comments)) + draw(blank)
    )
