"""`uris.py`: URIs against templates, by the examples of RFC 6570 and by need (R-521, R-523)."""

import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, strategies as st

from enfilade.primitives import uris
from enfilade.primitives.uris import UriTemplate, decoded, escapes_root

# What RFC 6570 §3.2 expands `var=value`, `x=1024`, `y=768`, `path=/foo/bar`, `list=red,green,blue` to.
RFC = {
    "3.2.2 simple": ("s:{var}", "s:value", {"var": "value"}),
    "3.2.2 encoded": ("s:{hello}", "s:Hello%20World%21", {"hello": "Hello%20World%21"}),
    "3.2.2 several": ("s:map?{x,y}", "s:map?1024,768", {"x": "1024", "y": "768"}),
    "3.2.2 list": ("s:{list}", "s:red,green,blue", {"list": "red,green,blue"}),
    "3.2.2 exploded": ("s:{list*}", "s:red,green,blue", {"list": "red,green,blue"}),
    "3.2.3 reserved": ("s:{+path}/here", "s:/foo/bar/here", {"path": "/foo/bar"}),
    "3.2.3 several": ("s:{+x,path}/here", "s:1024,/foo/bar/here", {"x": "1024", "path": "/foo/bar"}),
    "3.2.4 fragment": ("s:X{#var}", "s:X#value", {"var": "value"}),
    "3.2.4 several": ("s:X{#x,path}", "s:X#1024,/foo/bar", {"x": "1024", "path": "/foo/bar"}),
    "3.2.5 label": ("s:www{.var}", "s:www.value", {"var": "value"}),
    "3.2.5 exploded": ("s:www{.list*}", "s:www.red.green.blue", {"list": "red.green.blue"}),
    "3.2.6 path": ("s:{/var,x}/here", "s:/value/1024/here", {"var": "value", "x": "1024"}),
    "3.2.6 exploded": ("s:{/list*}", "s:/red/green/blue", {"list": "red/green/blue"}),
    "3.2.7 parameters": ("s:map{;x,y}", "s:map;x=1024;y=768", {"x": "1024", "y": "768"}),
    "3.2.8 query": ("s:map{?x,y}", "s:map?x=1024&y=768", {"x": "1024", "y": "768"}),
    "3.2.8 empty value": ("s:map{?x}", "s:map?x=", {"x": ""}),
    "3.2.8 exploded": ("s:map{?list*}", "s:map?list=red&list=green", {"list": "red,green"}),
    "3.2.9 continued": ("s:map?fixed=yes{&x}", "s:map?fixed=yes&x=1024", {"x": "1024"}),
}

MATCHES = {
    "one segment": ("a://{x}/{y}", "a://1/2", {"x": "1", "y": "2"}),
    "as much as it can": ("a://{name}.{end}", "a://archive.tar.gz", {"name": "archive.tar", "end": "gz"}),
    "goes back": ("a://{+path}/data", "a://x/data/y/data", {"path": "x/data/y"}),
    "segments by explosion": ("a://{path*}", "a://x/y/z", {"path": "x/y/z"}),
    "explosion in the middle": ("a://{path*}/end", "a://x/y/end", {"path": "x/y"}),
    "absent path": ("a://x{/rest*}", "a://x", {}),
    "absent query": ("a://x{?a,b}", "a://x", {}),
    "query in any order": ("a://x{?a,b}", "a://x?b=2&a=1", {"a": "1", "b": "2"}),
    "two queries": ("a://x{?a}{&b}", "a://x?b=2&a=1", {"a": "1", "b": "2"}),
    "query and fragment": ("a://{+p}{?q}{#f}", "a://y/z?q=1#top", {"p": "y/z", "q": "1", "f": "top"}),
    "encoded slash is no slash": ("a://{x}/{y}", "a://1%2F2/3", {"x": "1%2F2", "y": "3"}),
    "scheme has no case": ("Weather://{x}", "WEATHER://Riga", {"x": "Riga"}),
    "needless escapes": ("a://b~c/{x}", "a://b%7ec/%41", {"x": "A"}),
    "unescaped letters": ("a://{x}", "a://Zoë 1", {"x": "Zo%C3%AB%201"}),
    "a URI as a value": ("proxy:{+url}", "proxy:https://x.org/?a=1#b", {"url": "https://x.org/?a=1#b"}),
}

REFUSED = {
    "empty value": ("a://{x}", "a://"),
    "second segment": ("a://{x}", "a://1/2"),
    "query that is not in it": ("a://{x}", "a://1?y=2"),
    "fragment that is not in it": ("a://{x}", "a://1#y"),
    "unknown member": ("a://x{?a}", "a://x?b=1"),
    "member twice": ("a://x{?a}", "a://x?a=1&a=2"),
    "text before": ("a://x/{y}", "b://x/1"),
    "text after": ("a://{x}/end", "a://1/en"),
    "path where a query is": ("a://x{?a}", "a://x/a"),
    "longer than any URI": ("a://{x}", "a://" + "x" * 9000),
}

ILLEGAL = {
    "no scheme": ("{x}/y", "needs a scheme"),
    "open brace": ("a://{x", "braces do not match"),
    "closing brace": ("a://x}", "braces do not match"),
    "empty": ("a://{}", '"" cannot be the name'),
    "no name": ("a://{x y}", '"x y" cannot be the name'),
    "reserved operator": ("a://{=x}", "cannot be the name"),
    "prefix": ("a://{x:3}", "cannot be known"),
    "twice": ("a://{x}/{x}", '"x" occurs twice'),
    "text after a query": ("a://x{?a}/b", 'can follow its query, not "/b"'),
    "value after a query": ("a://x{?a}{b}", 'can follow its query, not "{b}"'),
    "exploded parameter": ("a://x{;a*}", "cannot be told"),
    "letter outside ASCII": ("a://é/{x}", "write it as %C3%A9"),
    "blank": ("a://x y/{x}", "write it as %20"),
}


@pytest.mark.parametrize(("template", "uri", "values"), [*RFC.values(), *MATCHES.values()], ids=[*RFC, *MATCHES])
def test_matches(template: str, uri: str, values: Mapping[str, str]) -> None:
    assert UriTemplate(template).match(uri) == values


@pytest.mark.parametrize(("template", "uri"), REFUSED.values(), ids=REFUSED)
def test_is_another_uri(template: str, uri: str) -> None:
    """R-523: what does not match is not found."""
    assert UriTemplate(template).match(uri) is None


@pytest.mark.parametrize(("template", "why"), ILLEGAL.values(), ids=ILLEGAL)
def test_an_illegal_template_is_explained(template: str, why: str) -> None:
    with pytest.raises(ValueError) as caught:
        UriTemplate(template)
    assert why in str(caught.value)


VALUE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(x=VALUE, y=VALUE, path=VALUE, q=VALUE)
def test_reads_back_what_was_expanded(x: str, y: str, path: str, q: str) -> None:
    """Whatever values a client puts in, and whichever of RFC 6570's ways it encodes them, they arrive."""
    uri = f"a://{quote(x, safe='')}/{quote(y, safe='')}/{quote(path, safe='')}?q={quote(q, safe='')}"
    found = UriTemplate("a://{x}/{y}/{path}{?q}").match(uri)
    assert found is not None
    assert {name: decoded(value) for name, value in found.items()} == {"x": x, "y": y, "path": path, "q": q}


@given(st.text(st.sampled_from("ab-./?#&="), max_size=30))
def test_finds_a_way_whenever_there_is_one(tail: str) -> None:
    """Held against the definition: cut the text at every dash, and look whether both sides can be values."""
    cuts = [(tail[:cut], tail[cut + 1 :]) for cut in range(len(tail)) if tail[cut] == "-"]
    ways = [left for left, right in cuts if left and right and not set("/?#") & set(left)]
    found = UriTemplate("a://{x}-{+y}").match(f"a://{tail}")
    assert (found["x"] if found else None) == (max(ways, key=len) if ways else None)


def lines_run(work: Callable[[], object]) -> int:
    """Return how many lines of `uris.py` some work runs; the collector may run others at any moment."""
    lines = 0

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal lines
        lines += event == "line" and frame.f_code.co_filename == uris.__file__
        return trace

    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(previous)
    return lines


@pytest.mark.parametrize("tail", ["-", "a", "a-", "/", "?", "/x", "-/x"])
@pytest.mark.parametrize(
    "template",
    ["a://{a}{b}{c}-{d}{+e}{f}/x", "a://{a*}-{b*}-{c*}-{d*}/x", "a://{+a,b,c}-{d}/x", "a://{+a}/{+b}/{+c}/x{?d}"],
)
def test_matches_in_as_many_steps_whatever_the_length(template: str, tail: str) -> None:
    """A long URI costs longer integers, and no more steps than a short one."""
    compiled = UriTemplate(template)

    def steps(length: int) -> int:
        uri = f"a://{tail * ((length - len('a://')) // len(tail))}"
        compiled.match(uri)  # tables of characters are made once
        return lines_run(lambda: compiled._ends(uris._Subject(uri)))

    assert steps(uris.MAX_URI_LENGTH) == steps(200)


def test_matches_the_longest_values_of_a_long_uri() -> None:
    """Three variables, each of which could end at any of 4,000 places."""
    uri = "x://" + "/z" * 4000 + "/"
    assert UriTemplate("x://{+a}/{+b}/{+c}/z{+d}").match(uri) == {
        "a": "/z" * 3997,
        "b": "z",
        "c": "z",
        "d": "/",
    }
    assert UriTemplate("x://{+a}/{+b}/{+c}/y").match(uri) is None


ASTRAY = ["..", "../x", "x/..", "x/../y", "..\\x", "x\\..\\y", "/etc", "\\\\host", "C:/x", "c:\\x"]
AT_HOME = ["", "x", "x/y", "...", "..x", "x..", "a..b", "x/.hidden", "c:", "urn:x", "a:b/c"]


@pytest.mark.parametrize(("value", "astray"), [*((v, True) for v in ASTRAY), *((v, False) for v in AT_HOME)])
def test_tells_paths_that_lead_out(value: str, astray: bool) -> None:
    """R-520: file paths are guarded against traversal."""
    assert escapes_root(value) is astray


@pytest.mark.parametrize(
    ("raw", "value"), [("a%20b", "a b"), ("%C3%A9", "é"), ("%ff", None), ("x%00", None), ("%252F", "%2F")]
)
def test_decodes_once_and_strictly(raw: str, value: str | None) -> None:
    assert decoded(raw) == value
