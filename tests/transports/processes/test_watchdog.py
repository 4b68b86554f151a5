"""When a worker counts as hanging; processes that really hang are in `tests/faults/test_hanging.py`."""

from enfilade.transports.processes.worker import Watchdog


def test_one_that_answers_never_hangs_and_is_asked_four_times_per_limit() -> None:
    dog, asked, now = Watchdog(60.0, 0.0), 0, 0.0
    dog.mark_alive(now)
    while now < 600.0:
        now += 0.5
        if dog.pings(now):
            asked += 1
            assert not dog.pings(now), "one question at a time"
            dog.mark_alive(now)
        assert not dog.is_hung(now)
    assert asked == 40


def test_one_that_does_not_answer_hangs_after_the_limit_and_not_before() -> None:
    dog = Watchdog(60.0, 0.0)
    dog.mark_alive(100.0)
    assert not dog.pings(114.9)
    assert dog.pings(115.0)
    assert not dog.is_hung(174.9)
    assert dog.due_at == 175.0
    assert dog.is_hung(175.0)
    dog.mark_alive(175.5)
    assert not dog.is_hung(176.0)


def test_one_that_starts_has_ten_times_as_long() -> None:
    dog = Watchdog(60.0, 1000.0)
    assert not dog.pings(1500.0)
    assert not dog.is_hung(1599.9)
    assert dog.is_hung(1600.0)


def test_what_the_parent_slept_does_not_count() -> None:
    dog = Watchdog(60.0, 0.0)
    dog.mark_alive(0.0)
    assert dog.pings(15.0)
    dog.forgive(3600.0)
    assert not dog.is_hung(3674.9)
    assert dog.is_hung(3675.0)


def test_without_a_limit_nobody_is_asked() -> None:
    dog = Watchdog(0.0, 0.0)
    assert dog.due_at is None
    assert not dog.is_hung(1e9)
    dog.mark_alive(0.0)
    assert not dog.pings(1e9)
    assert not dog.is_hung(1e9)
