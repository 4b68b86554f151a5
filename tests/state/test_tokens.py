"""Seals: opened by who shares the secret, for the purpose they were made for, and by nobody else."""

import pytest
from hypothesis import given, strategies as st

from enfilade.state.tokens import MINIMUM_SECRET, Seal

OLD, NEW = "an old and very, very long secret", "a new and very, very long secret"
PURPOSE = b"session"

shared = Seal([OLD])


@given(st.binary(max_size=200))
def test_what_was_sealed_comes_back(content: bytes) -> None:
    token = shared.seal(content, PURPOSE)
    assert Seal([OLD]).open(token, PURPOSE) == content
    assert shared.open(token.encode(), PURPOSE) == content
    assert all(0x21 <= ord(character) <= 0x7E for character in token), "R-311"


@given(st.data())
def test_no_bit_can_be_changed(data: st.DataObject) -> None:
    """R-293, R-706."""
    token = shared.seal(b"content", PURPOSE)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    position = data.draw(st.integers(0, len(token) - 2))  # of the last one some bits carry nothing
    other = data.draw(st.sampled_from([c for c in alphabet if c != token[position]]))
    assert shared.open(token[:position] + other + token[position + 1 :], PURPOSE) is None


@given(st.binary(max_size=120))
def test_anything_else_is_nothing(token: bytes) -> None:
    assert shared.open(token, PURPOSE) is None


@given(st.text(max_size=60))
def test_any_text_is_nothing(token: str) -> None:
    assert shared.open(token, PURPOSE) is None


def test_a_purpose_is_part_of_it() -> None:
    assert shared.open(shared.seal(b"x", b"session"), b"state") is None


def test_the_same_content_never_looks_the_same() -> None:
    tokens = {shared.seal(b"x", PURPOSE) for _ in range(100)}
    assert len(tokens) == 100


def test_rotation() -> None:
    """The first seals, all open."""
    rotated = Seal([NEW, OLD])
    assert rotated.open(Seal([OLD]).seal(b"x", PURPOSE), PURPOSE) == b"x"
    token = rotated.seal(b"y", PURPOSE)
    assert Seal([NEW]).open(token, PURPOSE) == b"y"
    assert Seal([OLD]).open(token, PURPOSE) is None


def test_without_a_secret_nobody_shares_it() -> None:
    one, other = Seal(), Seal()
    token = one.seal(b"x", PURPOSE)
    assert one.open(token, PURPOSE) == b"x"
    assert other.open(token, PURPOSE) is None
    assert (one.shared, shared.shared) == (False, True)


@pytest.mark.parametrize("secrets", [["short"], [""], [OLD, "x" * (MINIMUM_SECRET - 1)], [b"\0" * 31]])
def test_a_short_secret_is_refused(secrets: list[str | bytes]) -> None:
    """S9: and the error says how to make a better one."""
    with pytest.raises(ValueError, match="token_urlsafe"):
        Seal(secrets)


def test_bytes_and_text_are_the_same_secret() -> None:
    assert Seal([OLD.encode()]).open(shared.seal(b"x", PURPOSE), PURPOSE) == b"x"
