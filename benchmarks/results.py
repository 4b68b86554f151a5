"""The figures of a run, and the ratios that are drawn from them.

A ratio is taken inside one round, of two rows that were measured beside each other; only then comes the median
over the rounds. The easy thing to get wrong is to divide medians: the machine differs from round to round.
"""

import json
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

Figures = dict[str, float]


class Spread(NamedTuple):
    """What several rounds say."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, figures: Iterable[float]) -> Self | None:
        """Return the spread of some figures, or None if there are none."""
        found = list(figures)
        return cls(statistics.median(found), min(found), max(found)) if found else None

    def text(self, digits: int = 0, unit: str = "") -> str:
        """Return it for people: the median, and in brackets the range."""
        shown = f"{self.median:,.{digits}f}{unit}"
        if self.least == self.most:
            return shown
        return f"{shown} ({self.least:,.{digits}f}–{self.most:,.{digits}f})"


@dataclass
class Results:
    """All figures of a run.

    Attributes:
        about: the machine, the versions, the options.
        figures: row → round → its figures.
        problems: row → why it does not count.
    """

    about: dict[str, str] = field(default_factory=dict)
    figures: dict[str, dict[str, Figures]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def add(self, row: str, number: int, figures: Figures) -> None:
        self.figures.setdefault(row, {})[str(number)] = figures

    def fail(self, row: str, why: str) -> None:
        """Let a row not count, whatever its other rounds said."""
        self.problems.setdefault(row, why)

    def measured(self, row: str) -> bool:
        return row in self.figures and row not in self.problems

    def spread(self, row: str, figure: str) -> Spread | None:
        """Return what the rounds say of one figure of a row, if it counts and has it."""
        rounds = self.figures.get(row, {}) if row not in self.problems else {}
        return Spread.of(each[figure] for each in rounds.values() if figure in each)

    def compared(self, row: str, other: str, how: Callable[[Figures, Figures], float]) -> Spread | None:
        """Return what `how` makes of two rows, round by round."""
        if not (self.measured(row) and self.measured(other)):
            return None
        pairs = [(mine, self.figures[other].get(number)) for number, mine in self.figures[row].items()]
        return Spread.of(how(mine, theirs) for mine, theirs in pairs if theirs is not None)

    def save(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(vars(self), indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def by_rate(mine: Figures, theirs: Figures) -> float:
    """How many calls a second there are here, for each there."""
    return mine["rate"] / theirs["rate"]


def by_cpu(mine: Figures, theirs: Figures) -> float:
    """How many calls are made of the processor time of one there."""
    return theirs["cpu"] / mine["cpu"]
