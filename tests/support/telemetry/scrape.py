"""What a scrape says: samples by name and labels, read by the library's own parser."""

import urllib.request
from collections.abc import Iterator
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

Labels = dict[str, str]


class Scrape:
    """The text of a scrape, parsed.

    Attributes:
        text: as it came.
        families: the names of its metrics, without suffixes.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        parsed = list(text_string_to_metric_families(text))
        self.families = {family.name: family.type for family in parsed}
        self._samples: list[tuple[str, Labels, float]] = [
            (sample.name, sample.labels, sample.value) for family in parsed for sample in family.samples
        ]

    @classmethod
    def of(cls, url: str, **headers: str) -> "Scrape":
        """Scrape a URL."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        with urllib.request.urlopen(urllib.request.Request(url, headers=fields), timeout=30) as response:
            return cls(response.read().decode())

    def samples(self, name: str, **labels: str) -> Iterator[tuple[Labels, float]]:
        """Yield the samples of a series that have these labels among theirs."""
        for sample, its_labels, value in self._samples:
            if sample == name and labels.items() <= its_labels.items():
                yield its_labels, value

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of the samples that have these labels; 0 if there are none."""
        return sum(value for _, value in self.samples(name, **labels))

    def values(self, label: str) -> set[str]:
        """Return all values that a label has anywhere."""
        return {labels[label] for _, labels, _ in self._samples if label in labels}

    def exposed(self) -> set[str]:
        """Return the names of all series that it has, or will have once something happens."""
        suffixes = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("_total",)}
        return {name + suffix for name, kind in self.families.items() for suffix in suffixes.get(kind, ("",))}


def outcomes(scrape: Scrape, **labels: Any) -> dict[tuple[str, str], float]:
    """Return how many requests there were, by target and outcome."""
    counted: dict[tuple[str, str], float] = {}
    for found, value in scrape.samples("mcp_server_operation_duration_seconds_count", **labels):
        key = found["target"], found["outcome"]
        counted[key] = counted.get(key, 0) + value
    return counted
