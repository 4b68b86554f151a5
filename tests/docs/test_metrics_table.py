"""The table of metrics in `docs/operating.md` says what the code has."""

from docs import metrics_table


def test_the_table_of_metrics_is_complete() -> None:
    lines, begin, end = metrics_table.lines_of_page()
    assert lines[begin:end] == metrics_table.rows(), "run `python tests/docs/metrics_table.py`"
