"""A pattern is published only if ECMA-262 takes it: held against an engine, with patterns of all kinds."""

import json
import random
import subprocess

import pytest

from enfilade.primitives.schema.regex_dialect import is_portable, means_the_same
from support import tooling

PORTABLE = [
    *(
        r"^[a-z]+$",
        r"^\d{3}-\d{2}$",
        r"^(?:a|b)*?$",
        r"(?<y>\d)\k<y>",
        r"(a)\1",
        r"[\w.-]+",
        r"[\]\-a]",
        r"\u{1F600}",
    ),
    *(r"\p{L}+", r"a{2,3}", r"^(?!x)a", r"(?<=a)b", "", "a|", "[]", "[^]", r"\/", "[.]", r"\.", "é😀"),
]
REFUSED = [
    *(
        "(?i)^[a-z]+$",
        r"^(?P<y>\d+)$",
        "(?P=y)",
        r"\A",
        r"\Z",
        r"\z",
        "a++",
        "(?>a)",
        "(?#x)",
        r"\:",
        r"\-",
        "]",
        "}",
    ),
    *("{", "a{,3}", "a{3,2}", "[b-a]", r"[\d-z]", r"\1", "(?=a)*", "*a", "(", ")", "[", "\\", "(?<a>x)(?<a>y)"),
    *(r"\h", r"\e", r"\x1", r"\u12", "(?x)a", "a{1}{2}", "a**", r"\Q", r"[\A]", r"\G", r"\X", r"\p{Foo}", r"\pL"),
    *(r"\_", r"\ ", r"\"", r"\@", r"\#", "(?i:a)", "(?<!a)+", "(?"),
]
PIECES = [
    *"abz019(){}[]|?*+^$.\\-:=!<>,/P",
    *(
        "(?:",
        "(?=",
        "(?<n>",
        r"\d",
        r"\k<n>",
        r"\1",
        "{2}",
        "{2,1}",
        "[^",
        r"\-",
        r"\u{41}",
        r"\x41",
        r"\p{L}",
        "a-z",
    ),
    *(r"\b", r"\u{110000}"),
]
ENGINE = """
const patterns = JSON.parse(require("fs").readFileSync(0));
const takes = (pattern) => { try { new RegExp(pattern, "u"); return true; } catch { return false; } };
console.log(JSON.stringify(patterns.map(takes)));
"""


@pytest.mark.parametrize("pattern", PORTABLE)
def test_takes_what_ecma_takes(pattern: str) -> None:
    assert is_portable(pattern)


@pytest.mark.parametrize("pattern", REFUSED)
def test_refuses_what_is_pythons_own(pattern: str) -> None:
    assert not is_portable(pattern)


def test_agrees_with_an_engine_about_patterns_of_all_kinds() -> None:
    """What passes is legal; and nothing legal is refused but inline modifiers, which only new engines know."""
    with tooling.or_skip():
        node = tooling.node()
    dice = random.Random(1)
    made = ["".join(dice.choices(PIECES, k=dice.randint(1, 7))) for _ in range(20_000)]
    patterns = [*PORTABLE, *REFUSED, *made]
    done = subprocess.run(
        [node, "-e", ENGINE], input=json.dumps(patterns), capture_output=True, text=True, check=True
    )
    legal = json.loads(done.stdout)
    assert sum(legal) > 1000
    differing = {
        pattern for pattern, is_legal in zip(patterns, legal, strict=True) if is_portable(pattern) != is_legal
    }
    assert differing <= {"(?i:a)"}


def test_a_pattern_of_a_hundred_thousand_brackets_is_refused() -> None:
    assert not is_portable("(" * 100_000)


@pytest.mark.parametrize(
    ("pattern", "same"),
    [("^[a-z]+$", True), (r"^a\.b$", True), (r"^\\$", True), (r"\d", False), ("a.b", False), (r"[^\w]", False)],
)
def test_knows_what_python_reads_otherwise(pattern: str, same: bool) -> None:
    assert means_the_same(pattern) is same
