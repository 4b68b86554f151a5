"""The format of the log of a server that `run()` serves."""

import logging

import pytest

from enfilade.primitives.errors import named_in_errors
from enfilade.transports.processes.log_formats import LogFormatter


def fails() -> None:
    raise KeyError("needle")


@pytest.mark.parametrize(("level", "is_complete"), [(logging.INFO, False), (logging.DEBUG, True)])
def test_a_traceback_begins_with_the_frames_of_the_author(level: int, is_complete: bool) -> None:
    with pytest.raises(KeyError) as caught:
        named_in_errors("fails")(fails)()
    assert caught.tb.tb_next is not None
    logger, ours = logging.getLogger("enfilade"), caught.tb.tb_next  # the frame of the decorator
    before = logger.level
    logger.setLevel(level)
    try:
        text = LogFormatter().formatException((KeyError, caught.value, ours))
    finally:
        logger.setLevel(before)
    assert ("in named" in text) is is_complete
    assert "in fails" in text
