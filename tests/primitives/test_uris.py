"""`uris.py`: what a URI is, and which spellings mean the same one (R-521; RFC 3986 §6.2.2)."""

import pytest

from enfilade.primitives.uris import MAX_URI_LENGTH, canonical, check_uri

SAME = {
    "scheme in capitals": ("HTTP://x/Y", "http://x/Y"),
    "host in capitals": ("https://Example.ORG:80/Y?Z", "https://example.org:80/Y?Z"),
    "host after credentials": ("HTTP://User:Pass@Example.org", "http://User:Pass@example.org"),
    "escape in a host": ("http://X%c3%a9.org/", "http://x%C3%A9.org/"),
    "lower-case escape": ("a://%c3%a9", "a://%C3%A9"),
    "needless escape": ("a://%7Euser/%2d", "a://~user/-"),
    "unescaped letter": ("a://é", "a://%C3%A9"),
    "blank": ("a://x y", "a://x%20y"),
    "control character": ("a://x\ty", "a://x%09y"),
    "half a surrogate": ("a://\ud800", "a://%3F"),
}
KEPT = [
    "a://x",
    "a://X/Y?z#w",
    "http:X",
    "ahttp://X",
    "a://x%2Fy",
    "urn:isbn:0451450523",
    "a:",
    "no scheme",
    "a://%zz",
]


@pytest.mark.parametrize(("spelled", "expected"), SAME.values(), ids=SAME)
def test_spellings(spelled: str, expected: str) -> None:
    assert canonical(spelled) == expected
    assert canonical(expected) == expected


@pytest.mark.parametrize("uri", KEPT)
def test_keeps_what_means_something_else(uri: str) -> None:
    assert canonical(uri).replace("%20", " ") == uri


@pytest.mark.parametrize("uri", ["config://app", "urn:x", "file:///a%20b", "https://x.org/?a=b#c", "a:[b]"])
def test_legal(uri: str) -> None:
    check_uri(uri)


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("", 'needs a scheme, as in "resource://"'),
        ("/x", 'needs a scheme, as in "resource://x"'),
        ("1a://x", "needs a scheme"),
        ("a://é", "contains 'é'; write it as %C3%A9"),
        ("a://x y", "write it as %20"),
        ("a://%x", "write it as %25"),
        ("a://" + "x" * MAX_URI_LENGTH, "is longer than"),
    ],
)
def test_illegal(uri: str, why: str) -> None:
    with pytest.raises(ValueError) as caught:
        check_uri(uri)
    assert why in str(caught.value)
