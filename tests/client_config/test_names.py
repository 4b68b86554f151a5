"""What a client calls a server: one word that every client takes."""

import pytest
from hypothesis import given, strategies as st

from enfilade.client_config import ClientFileError, check_name, name_of

CASES = {
    "The simple server name": "the-simple-server-name",
    "  Büro (2.0)!": "b-ro-2-0",
    "x" * 80: "x" * 64,
    "日本": "",
}


@pytest.mark.parametrize(("title", "name"), CASES.items(), ids=["words", "others", "long", "none"])
def test_a_name_from_a_title(title: str, name: str) -> None:
    assert name_of(title) == name


@given(st.text())
def test_what_is_made_of_a_title_is_a_name(title: str) -> None:
    name = name_of(title)
    assert name == "" or check_name(name) == name


@pytest.mark.parametrize("name", ["", "-x", "a b", "ä", "a/b", "x" * 65])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ClientFileError, match=r"at most 64 of them, as in --name sums$"):
        check_name(name)
