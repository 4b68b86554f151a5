"""`names.py`: legal names, and the qualified form (R-511, P16, D37)."""

import re

import pytest
from hypothesis import given, strategies as st

from enfilade.primitives.names import check_tool_name, qualified_name

QUALIFIED = {
    "p16": ("The simple server name", "whisper_secret", "TheSimpleServerName_WhisperSecret"),
    "dash": ("my-server", "get_x", "MyServer_GetX"),
    "slash": ("a/b", "get_x", "AB_GetX"),
    "dot": ("server.v2", "get_x", "ServerV2_GetX"),
    "no letters of ours": ("日本", "x", "U65E5U672C_X"),
    "mixed": ("東京 weather", "x", "U6771U4EACWeather_X"),
    "accents": ("Café Zoë", "x", "CafeZoe_X"),
    "accents as marks": ("Cafe\u0301s", "x", "Cafes_X"),
    "full width": ("ＡＢ", "x", "AB_X"),
    "empty": ("", "x", "Server_X"),
    "only signs": ("!!!", "...", "Server_Tool"),
    "capitals stay": ("s", "getHTTPUrl", "S_GetHTTPUrl"),
    "digits": ("v 2", "2nd", "V2_2nd"),
    "line end": ("a\nb", "x", "AB_X"),
    "emoji": ("🚀 launch", "x", "Launch_X"),
}


@pytest.mark.parametrize(("server", "tool", "expected"), QUALIFIED.values(), ids=QUALIFIED)
def test_qualified_name_p16_d37(server: str, tool: str, expected: str) -> None:
    assert qualified_name(server, tool) == expected


@given(st.text(), st.text())
def test_any_two_names_make_a_legal_one_d37(server: str, tool: str) -> None:
    check_tool_name(qualified_name(server, tool))


def test_long_names_stay_different_and_stable() -> None:
    one, other = qualified_name("s" * 200, "one"), qualified_name("s" * 200, "other")
    assert len(one) == len(other) == 128
    assert one != other
    assert one == qualified_name("s" * 200, "one")


@pytest.mark.parametrize("name", ["a", "test_simple_text", "a.b-c_D9", "x" * 128])
def test_legal_names_r511(name: str) -> None:
    check_tool_name(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "empty"),
        ("a b", "contains ' '"),
        ("a/b", "contains '/'"),
        ("日本", "contains '日'"),
        ("a\n", r"contains '\n'"),
        ("x" * 129, "129 characters"),
    ],
)
def test_illegal_names_r511(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        check_tool_name(name)
