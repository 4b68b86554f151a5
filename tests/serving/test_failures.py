"""Whose failure an exception is: that of one call, or the end of more."""

import asyncio
import io
import logging
import pickle
import re
import signal
import threading
import time
from collections.abc import Callable

import pytest

from enfilade.primitives.errors import (
    AnswerError,
    EnfiladeError,
    PromptError,
    ResourceError,
    ResourceNotFound,
    ReturnedValueError,
    ToolError,
)
from enfilade.serving import failures
from enfilade.serving.channel import MissingCapabilityError
from enfilade.serving.failures import LimitedLog, ends_more, log_safely, masked, single_error
from enfilade.state.store import StoreError
from support.servers.raising_server import BrokenHandler

CITY = ToolError("City not found: try 'Bern'", meta={"seen": True})


def caught(work: Callable[[], object]) -> BaseException:
    try:
        work()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def raising(error: BaseException) -> Callable[[], object]:
    def work() -> None:
        raise error

    return work


class TestSignals:
    @pytest.mark.parametrize(
        "error", [KeyboardInterrupt(), GeneratorExit(), SystemExit(), BaseException()], ids=repr
    )
    def test_what_code_raises_ends_one_call(self, error: BaseException) -> None:
        assert not ends_more(caught(raising(error)))

    def test_ctrl_c_ends_the_server(self) -> None:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            error = caught(lambda: signal.raise_signal(signal.SIGINT))
            assert ends_more(error)
            assert not ends_more(caught(raising(KeyboardInterrupt())))
        finally:
            signal.signal(signal.SIGINT, before)

    def test_the_second_ctrl_c_of_a_runner_ends_the_server(self) -> None:
        """asyncio.Runner cancels its task for the first one, and raises for the next."""
        seen: list[bool] = []

        async def work() -> None:
            for _ in range(2):
                try:
                    signal.raise_signal(signal.SIGINT)
                except KeyboardInterrupt as error:
                    seen.append(ends_more(error))
            seen.append(ends_more(caught(raising(KeyboardInterrupt()))))

        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with pytest.raises(KeyboardInterrupt):
                asyncio.run(work())
        except AssertionError:
            raise
        finally:
            signal.signal(signal.SIGINT, before)
        assert seen == [True, False]

    def test_a_thread_gets_no_signals(self) -> None:
        seen: list[bool] = []
        thread = threading.Thread(target=lambda: seen.append(ends_more(KeyboardInterrupt())))
        thread.start()
        thread.join()
        assert seen == [False]


def test_the_closing_of_a_coroutine_is_no_failure() -> None:
    seen: list[bool] = []

    async def work() -> None:
        try:
            await asyncio.sleep(1)
        except GeneratorExit as error:
            seen.append(ends_more(error))
            raise

    async def begin() -> None:
        coroutine = work()
        coroutine.send(None)
        coroutine.close()

    asyncio.run(begin())
    assert seen == [True]


class TestTexts:
    @pytest.mark.parametrize("kind", [EnfiladeError, ToolError, ResourceError, ResourceNotFound, PromptError])
    def test_several_parts_are_one_text(self, kind: type[EnfiladeError]) -> None:
        error = kind("No city", 5, ["a"], meta={"seen": True})
        assert str(error) == error.message == "No city 5 ['a']"
        assert error.meta == {"seen": True}
        assert str(pickle.loads(pickle.dumps(error))) == str(error)

    def test_one_part_stays_as_it_is(self) -> None:
        assert ToolError("a").args == ("a",)


class TestGroups:
    def test_one_error_is_that_error(self) -> None:
        assert single_error(ExceptionGroup("g", [ExceptionGroup("h", [CITY])])) is CITY

    def test_several_are_a_line_each(self) -> None:
        group = ExceptionGroup("g", [ToolError("a"), ExceptionGroup("h", [ToolError("b"), ToolError("a")])])
        found = single_error(group)
        assert isinstance(found, EnfiladeError)
        assert str(found) == "a\nb"
        assert found.__cause__ is group

    @pytest.mark.parametrize("other", [ValueError("swordfish"), KeyboardInterrupt()], ids=repr)
    def test_anything_else_in_it_masks_it(self, other: BaseException) -> None:
        group = BaseExceptionGroup("g", [CITY, other])
        assert single_error(group) is group

    @pytest.mark.parametrize("first", [MissingCapabilityError({"roots": {}}), AnswerError("no")], ids=repr)
    def test_what_the_protocol_has_an_error_for_comes_first(self, first: EnfiladeError) -> None:
        assert single_error(ExceptionGroup("g", [CITY, first])) is first

    def test_an_authors_mistake_is_told_apart(self) -> None:
        mistake = ReturnedValueError("it returned what it may not")
        assert single_error(ExceptionGroup("g", [mistake])) is mistake


class TestAStoreThatIsAway:
    """Every request fails then, so the log has one line a second, and a client no id without a line."""

    def test_one_line_and_the_number_of_the_others(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(failures, "_store_errors", LimitedLog(failures.log, 0.2))
        outcomes = [masked(StoreError("no disk"), "tools/call failed") for _ in range(50)]
        time.sleep(0.25)
        outcomes.append(masked(StoreError("no disk"), "tools/call failed"))
        found = [re.findall(r"id (\w+)", outcome.message) for outcome in outcomes]
        ids = [id for each in found for id in each]
        assert [bool(each) for each in found] == [True, *[False] * 49, True]
        assert caplog.messages == [
            f"tools/call failed: no disk (id {ids[0]})",
            f"tools/call failed: no disk (id {ids[1]}) (49 more since the last such line)",
        ]
        assert {outcome.status for outcome in outcomes} == {503}
        assert outcomes[1].message == "The server cannot reach its store at the moment; try again"

    def test_other_failures_are_all_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        ids = [re.findall(r"id (\w+)", masked(OSError(), "x").message)[0] for _ in range(5)]
        assert caplog.messages == [f"x (id {id})" for id in ids]


class TestTheLog:
    def test_what_a_handler_raises_goes_nowhere(self) -> None:
        log = logging.getLogger("enfilade.broken")
        handler = BrokenHandler()
        log.addHandler(handler)
        try:
            with pytest.raises(BaseException, match="the log is gone"):
                log.error("x")
            log_safely(log, logging.ERROR, "x %s", 1)
        finally:
            log.removeHandler(handler)

    def test_an_argument_that_cannot_be_written(self) -> None:
        attempts: list[str] = []

        class Odd:
            def __str__(self) -> str:
                attempts.append("written")
                raise SystemExit

        screen = io.StringIO()
        handler = logging.StreamHandler(screen)
        log = logging.getLogger("enfilade.odd")
        log.addHandler(handler)
        try:
            log_safely(log, logging.ERROR, "%s", Odd())
            log_safely(log, logging.ERROR, "%s", "the next")
        finally:
            log.removeHandler(handler)
        assert attempts, "the handler tried to write the argument"
        assert screen.getvalue() == "the next\n"


@pytest.mark.parametrize("kind", [EnfiladeError, ToolError, ResourceError, PromptError])
def test_an_error_without_a_text_says_so(kind: type[EnfiladeError]) -> None:
    """`raise ToolError` raised a TypeError, which the client got as an internal error."""
    with pytest.raises(kind, match=r"^It failed, and no reason was given$") as caught:
        raise kind
    assert (caught.value.message, caught.value.meta) == ("It failed, and no reason was given", None)
    assert kind(meta={"a": 1}).meta == {"a": 1}
