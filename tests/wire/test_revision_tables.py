"""The table of methods, against the specification and against the official package."""

import mcp_types.methods as official
import msgspec
import pytest

from enfilade.wire.revision_tables import METHODS, PARAMS, SERVER_METHODS
from enfilade.wire.revisions import ALL, EVERY, ONLY_1125, SINCE_0618, UNTIL_0618, Span

NOT_IN_THE_PACKAGE = ("tasks/", "notifications/tasks/")


def known(table: dict[str, Span]) -> set[tuple[str, str]]:
    return {
        (method, revision)
        for method, span in table.items()
        for revision in ALL
        if revision in span and not method.startswith(NOT_IN_THE_PACKAGE)
    }


def test_what_a_client_may_send() -> None:
    assert known(METHODS) == set(official.CLIENT_REQUESTS) | set(official.CLIENT_NOTIFICATIONS)


def test_what_a_server_may_send() -> None:
    assert known(SERVER_METHODS) == set(official.SERVER_REQUESTS) | set(official.SERVER_NOTIFICATIONS)


def test_one_row_each() -> None:
    assert PARAMS.keys() == METHODS.keys()


@pytest.mark.parametrize("method", PARAMS)
def test_params_can_be_decoded(method: str) -> None:
    """Every type compiles, and takes `_meta`."""
    decoder = msgspec.json.Decoder(PARAMS[method])
    assert "meta" in PARAMS[method].__struct_fields__
    with pytest.raises(msgspec.ValidationError):
        decoder.decode(b'"text"')


@pytest.mark.parametrize("revision", ALL)
def test_tasks_are_known_to_one_revision(revision: str) -> None:
    """R-58C: the two task dialects never mix."""
    assert (revision in METHODS["tasks/get"]) == (revision == "2025-11-25")


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        pytest.param(EVERY, ALL, id="every"),
        pytest.param(SINCE_0618, ALL[2:], id="since"),
        pytest.param(UNTIL_0618, ALL[:3], id="until"),
        pytest.param(ONLY_1125, ALL[3:4], id="only"),
    ],
)
def test_span(span: Span, expected: tuple[str, ...]) -> None:
    assert tuple(revision for revision in ALL if revision in span) == expected
