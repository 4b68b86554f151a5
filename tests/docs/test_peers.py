"""What the README says beside the peers is what the benchmark has measured, and no more."""

from docs.peers import README, ROWS, figures
from support.docs.pages import table


def test_the_figures_are_those_of_the_last_run() -> None:
    rows = {row[0]: tuple(row[1:]) for row in table(README, "measured")}
    assert set(rows) == set(ROWS)
    assert rows == figures(), "run `python tests/docs/peers.py`"
