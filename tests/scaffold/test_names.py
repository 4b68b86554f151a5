"""From a server's name to its folder and package, and what is said of names that lead nowhere."""

import keyword
import re
import sys

import pytest
from hypothesis import given, strategies as st

from enfilade.scaffold import Names, ScaffoldError, names_of
from enfilade.scaffold.project import MAX_NAME_LENGTH

GOOD = {
    "notes": ("notes", "notes"),
    "The simple server name": ("the-simple-server-name", "the_simple_server_name"),
    "  Tea   shop ": ("tea-shop", "tea_shop"),
    "Ada's tools (v2.1)": ("adas-tools-v2-1", "adas_tools_v2_1"),
    "my-server": ("my-server", "my_server"),
    "snake_case": ("snake-case", "snake_case"),
    "MCP & more": ("mcp-more", "mcp_more"),
    "a": ("a", "a"),
}


@pytest.mark.parametrize(("title", "made"), GOOD.items())
def test_a_good_name(title: str, made: tuple[str, str]) -> None:
    assert names_of(title) == Names(" ".join(title.split()), *made)


BAD = {
    "class": ("is a word of the Python language", "class-server"),
    "email": ("is the name of a module of Python's own", "email-server"),
    "mcp": ("is the name of something that every server needs", "mcp-server"),
    "enfilade": ("is the name of something that every server needs", "enfilade-server"),
    "jsonschema rs": ("is the name of something that every server needs", "jsonschema-rs-server"),
    "tests": ("is the name of something that every server needs", "tests-server"),
    "com1": ("is a name that Windows keeps for a device", "com1-server"),
    "3d printer": ("begins with a digit", "my-3d-printer"),
    "Café Zürich": ("has letters that names of packages cannot have", "cafe-zurich"),
    "Straße": ("has letters that names of packages cannot have", "strasse"),
    "茶": ("has letters that names of packages cannot have", "my-server"),
    "": ("has no letters to make a name of", "my-server"),
    "!!!": ("has no letters to make a name of", "my-server"),
    "projects/notes": ("is a path", "notes"),
    "../notes": ("is a path", "notes"),
    "C:\\notes": ("is a path", "notes"),
    "notes/": ("is a path", "notes"),
    "/": ("is a path", "my-server"),
    'say "hello"': ("has characters that are for code", "say-hello"),
    "{{ title }}": ("has characters that are for code", "title"),
    "bell\x07": ("has characters that are for code", "bell"),
    "a" * 65: ("is too long: at most 64 characters", "a" * 32),
    "a very long name " * 5: ("is too long", "a-very-long-name-a-very-long-name-a-very-long-name-a"),
}


@pytest.mark.parametrize("title", BAD)
def test_a_bad_name(title: str) -> None:
    problem, suggestion = BAD[title]
    with pytest.raises(ScaffoldError) as caught:
        names_of(title)
    assert problem in str(caught.value)
    assert str(caught.value).endswith(f'; call it "{suggestion}", for instance')


WORDS = st.sampled_from(
    ["class", "email", "mcp", "3d", "é", "con", "notes", "/", '"', "a" * 40, " ", "-", "tests"]
)


@given(st.one_of(st.text(max_size=90), st.lists(WORDS, max_size=6).map("".join)))
def test_any_name_is_good_or_leads_to_one_that_is(title: str) -> None:
    try:
        names = names_of(title)
    except ScaffoldError as error:
        found = re.search(r'; call it "(.*)", for instance$', str(error))
        assert found
        names = names_of(found[1])
        assert names.directory == found[1]
    assert names.package.isidentifier()
    assert names.package.isascii()
    assert not keyword.iskeyword(names.package)
    assert names.package not in sys.stdlib_module_names
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", names.directory)  # what PyPI makes of any name
    assert names.directory.replace("-", "_") == names.package
    assert len(names.directory) <= MAX_NAME_LENGTH
