"""Raw requests of every shape, to compare two servers; and where these may differ, with the clause for it.

Easy to get wrong: a shape is only worth its row if something would read it in another way. So what is refused
stands beside its nearest relative that is served, and most rows have a second request behind the first, which
shows where the first was thought to end.
"""

from typing import Final

from support.http_client.protocol_driver import Verdict

Raw = tuple[str, bytes]


def head(start: str, *lines: str, host: str | None = "Host: x") -> bytes:
    """Return a head."""
    return "\r\n".join([start, *([host] if host else []), *lines, "", ""]).encode("latin-1")


POST: Final = "POST /a HTTP/1.1"
NEXT: Final = head("GET /next HTTP/1.1")
CHUNKED: Final = "Transfer-Encoding: chunked"
UPGRADE: Final = ("Connection: Upgrade", "Upgrade: h2c")
OTHERS: Final = "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"
CHUNKS: Final = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"


def with_body(name: str, *lines: str, body: bytes = b"abc") -> list[Raw]:
    """Return a request with these lines and this body: alone, and with another behind it."""
    raw = head(POST, *lines) + body
    return [(name, raw), (f"{name}, another behind it", raw + NEXT)]


METHODS: Final[list[Raw]] = [
    *[(f"method {m}", head(f"{m} /a HTTP/1.1") + NEXT)
      for m in ("GET", "HEAD", "DELETE", "OPTIONS", "PUT", "PATCH", "TRACE", "PROPFIND", "QUERY", "PURGE",
        "M-SEARCH")],
    ("method in lower case", head("get /a HTTP/1.1")),
    ("method unknown", head("BREW /a HTTP/1.1")),
    ("method with a bad character", head("G(T /a HTTP/1.1")),
    ("method missing", head(" /a HTTP/1.1")),
    ("method that is too long", head("GETT /a HTTP/1.1")),
    ("method cut short", head("GE /a HTTP/1.1")),
    ("method SOURCE of ICE", head("SOURCE /a ICE/1.0")),
    ("method DESCRIBE of RTSP", head("DESCRIBE /a RTSP/1.0")),
    ("method GET of RTSP", head("GET /a RTSP/1.0")),
    ("CONNECT to an authority", head("CONNECT x:443 HTTP/1.1") + NEXT),
    ("CONNECT with a body", head("CONNECT x:443 HTTP/1.1", "Content-Length: 3") + b"abc"),
    ("CONNECT to a path", head("CONNECT /a HTTP/1.1")),
    ("CONNECT in HTTP/1.0", head("CONNECT x:443 HTTP/1.0")),
    ("CONNECT behind a request", NEXT + head("CONNECT x:443 HTTP/1.1")),
    ("preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("preface of HTTP/2 behind a request", NEXT + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("hello of TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    ("HEAD with a body", head("HEAD /a HTTP/1.1", "Content-Length: 3") + b"abc" + NEXT),
    ("GET with a body", head("GET /a HTTP/1.1", "Content-Length: 3") + b"abc" + NEXT),
    ("GET with chunks", head("GET /a HTTP/1.1", CHUNKED) + CHUNKS + NEXT),
]  # fmt: skip

#: Methods that repeat the target of the requests before them, which another method had. More follows behind.
REPEATS: Final = {
    f"{method} to {target}, which was the target of {before}": (before, method, target)
    for before, target in (("GET", "/a"), ("POST", "/a?b"), ("OPTIONS", "*"), ("GET", "http://h/a"))
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT")
    if method != before
}
REPEATED: Final[list[Raw]] = [
    (name, b"".join(head(f"{each} {target} HTTP/1.1") for each in (before, before, method, before)) + NEXT)
    for name, (before, method, target) in REPEATS.items()
]

TARGETS: Final[list[Raw]] = [
    *[(f"target {t}", head(f"GET {t} HTTP/1.1") + NEXT)
      for t in ("/", "/a?b=c&d", "/a?b?c", "/?", "/%61%C3%A9", "/a%zz", "//e/x", "/a/../b", "/a;b=c", "/a|b",
        "/{a}",
                "/" + "a" * 4000, "*", "a", "?a", "x:80", "ftp://h/a", "/a#b", "/a\\b", "/\"a\"", "/a^b`c")],
    ("target in absolute form", head("GET http://h/a?b HTTP/1.1") + NEXT),
    ("target in absolute form without a path", head("GET http://h HTTP/1.1") + NEXT),
    ("target in absolute form with a query alone", head("GET http://h?b HTTP/1.1")),
    ("target in absolute form with a user", head("GET http://u@h/a HTTP/1.1")),
    ("target in absolute form without Host", head("GET http://h/a HTTP/1.1", host=None)),
    ("target * of OPTIONS", head("OPTIONS * HTTP/1.1") + NEXT),
    ("target * after it was one of OPTIONS", head("OPTIONS * HTTP/1.1") + head("GET * HTTP/1.1")),
    ("target missing", head("GET  HTTP/1.1")),
    ("target with a blank", head("GET /a b HTTP/1.1")),
    ("target with a tab", head("GET /a\tb HTTP/1.1")),
    ("target with a NUL", head("GET /a\0b HTTP/1.1")),
    ("target with a byte over 127", head("GET /\xe9 HTTP/1.1")),
    ("target with DEL", head("GET /a\x7f HTTP/1.1")),
]  # fmt: skip

VERSIONS: Final[list[Raw]] = [
    ("HTTP/1.0", head("GET /a HTTP/1.0") + NEXT),
    ("HTTP/1.0 without Host", head("GET /a HTTP/1.0", host=None)),
    ("HTTP/1.0 with two Hosts", head("GET /a HTTP/1.0", "Host: y")),
    ("HTTP/1.0 that wants to stay", head("GET /a HTTP/1.0", "Connection: keep-alive") + NEXT),
    ("HTTP/1.0 with a length", head("POST /a HTTP/1.0", "Content-Length: 3") + b"abc"),
    ("HTTP/1.0 with chunks", head("POST /a HTTP/1.0", CHUNKED) + CHUNKS),
    ("HTTP/1.0 with Upgrade", head("POST /a HTTP/1.0", *UPGRADE, "Content-Length: 3") + b"abc"),
    ("HTTP/1.0 with Expect", head("POST /a HTTP/1.0", "Expect: 100-continue", "Content-Length: 3") + b"abc"),
    ("HTTP/0.9", b"GET /a\r\n\r\n"),
    ("HTTP/0.9 and no more", b"GET /a\r\n"),
    ("HTTP/0.9 in words", head("GET /a HTTP/0.9")),
    ("HTTP/1.2", head("GET /a HTTP/1.2") + NEXT),
    ("HTTP/1.2 without Host", head("GET /a HTTP/1.2", host=None)),
    ("HTTP/2.0", head("GET /a HTTP/2.0")),
    ("HTTP/3.1", head("GET /a HTTP/3.1")),
    ("HTTP/1", head("GET /a HTTP/1")),
    ("HTTP/1.10", head("GET /a HTTP/1.10")),
    ("HTTP/01.1", head("GET /a HTTP/01.1")),
    ("HTTP/1,1", head("GET /a HTTP/1,1")),
    ("http/1.1", head("GET /a http/1.1")),
    ("HTTPS/1.1", head("GET /a HTTPS/1.1")),
    ("version with a blank behind it", head("GET /a HTTP/1.1 ")),
    ("version with more behind it", head("GET /a HTTP/1.1 x")),
]

HOSTS: Final[list[Raw]] = [
    ("no Host", head("GET /a HTTP/1.1", host=None)),
    ("no Host in the second request", NEXT + head("GET /a HTTP/1.1", host=None)),
    ("no Host and a body", head(POST, "Content-Length: 3", host=None) + b"abc" + NEXT),
    ("two Hosts", head("GET /a HTTP/1.1", "Host: y")),
    ("the same Host twice", head("GET /a HTTP/1.1", "host: x")),
    ("an empty Host", head("GET /a HTTP/1.1", host="Host:") + NEXT),
    ("Host in upper case", head("GET /a HTTP/1.1", host="HOST: x") + NEXT),
    ("Host among the trailers only", head(POST, CHUNKED, host=None) + b"0\r\nHost: x\r\n\r\n"),
    ("Host once more among the trailers", head(POST, CHUNKED) + b"0\r\nHost: y\r\n\r\n" + NEXT),
]

LINES: Final[list[Raw]] = [
    ("a blank line first", b"\r\n" + NEXT + NEXT),
    ("blank lines between requests", NEXT + b"\r\n" + NEXT),
    ("a bare LF first", b"\n" + NEXT),
    ("bare LFs at the ends of lines", NEXT.replace(b"\r\n", b"\n")),
    ("a bare LF after the request line", NEXT.replace(b"\r\n", b"\n", 1)),
    ("a bare LF after a header", head("GET /a HTTP/1.1", "A: b\nC: d")),
    ("a bare LF at the end of the head", NEXT[:-2] + b"\n"),
    ("a bare CR in a value", head("GET /a HTTP/1.1", "A: b\rC: d")),
    ("a bare CR at the end of a value", head("GET /a HTTP/1.1", "A: b\r")),
    ("a bare CR at the end of the request line", head("GET /a HTTP/1.1\r")),
    ("two CRs", NEXT.replace(b"\r\n", b"\r\r\n")),
    ("two blanks in the request line", head("GET  /a HTTP/1.1")),
    ("a tab in the request line", head("GET\t/a HTTP/1.1")),
    ("a blank before the request line", b" " + NEXT),
    ("a header that goes on in the next line", head("GET /a HTTP/1.1", "A: b", " c") + NEXT),
    ("a coding that goes on in the next line", head(POST, "Transfer-Encoding:", " chunked") + CHUNKS + NEXT),
    ("a length that goes on in the next line", head(POST, "Content-Length: 3", " 0") + b"abc" + NEXT),
    ("a head that begins with a continued line", head("GET /a HTTP/1.1", host=" Host: x")),
    ("a header without a colon", head("GET /a HTTP/1.1", "A")),
    ("a header without a name", head("GET /a HTTP/1.1", ": b")),
    ("a header without a value", head("GET /a HTTP/1.1", "A:") + NEXT),
    ("a blank before the colon", head("GET /a HTTP/1.1", "A : b")),
    ("a blank before the colon of a length", head(POST, "Content-Length : 3") + b"abc"),
    ("a blank before the colon of a coding", head(POST, "Transfer-Encoding : chunked") + CHUNKS),
    ("a tab before the colon", head("GET /a HTTP/1.1", "A\t: b")),
    ("a blank in a name", head("GET /a HTTP/1.1", "A b: c")),
    ("an underscore in a name", head("GET /a HTTP/1.1", "Content_Length: 3") + NEXT),
    ("a NUL in a name", head("GET /a HTTP/1.1", "A\0b: c")),
    ("a byte over 127 in a name", head("GET /a HTTP/1.1", "A\xe9: c")),
    ("a parenthesis in a name", head("GET /a HTTP/1.1", "A(b: c")),
    ("a NUL in a value", head("GET /a HTTP/1.1", "A: b\0c")),
    ("a bell in a value", head("GET /a HTTP/1.1", "A: b\x07c")),
    ("a tab in a value", head("GET /a HTTP/1.1", "A: b\tc") + NEXT),
    ("DEL in a value", head("GET /a HTTP/1.1", "A: b\x7fc")),
    ("a byte over 127 in a value", head("GET /a HTTP/1.1", "A: b\xe9") + NEXT),
    ("blanks around a value", head("GET /a HTTP/1.1", "A:  \t b \t") + NEXT),
    ("no blank before a value", head("GET /a HTTP/1.1", "A:b") + NEXT),
    ("no HTTP behind a request", NEXT + b"no HTTP at all\r\n\r\n" + NEXT),
    ("a fault behind two requests", NEXT + NEXT + head("GET /a HTTP/1.1", "A b: c")),
]

LENGTHS: Final[list[Raw]] = [
    *with_body("a length", "Content-Length: 3"),
    *with_body("no length and no body", body=b""),
    *with_body("length 0", "Content-Length: 0", body=b""),
    *[(f"length {n!r}", head(POST, f"Content-Length: {n}") + b"abc" + NEXT)
      for n in ("+3", "-3", "3.0", "0x3", "3_0", "3 0", "3,3", "3;", "1e1", "", "003", " 3 ", "\t3\t", "\x0b3",
        "3\0",
                "99999999999999999999", "9" * 40, "\xb3", "three")],
    ("length twice, the same", head(POST, "Content-Length: 3", "Content-Length: 3") + b"abc" + NEXT),
    ("length twice, another", head(POST, "Content-Length: 3", "Content-Length: 4") + b"abc" + NEXT),
    ("length in lower case", head(POST, "content-length: 3") + b"abc" + NEXT),
    ("a body that is a request", head(POST, f"Content-Length: {len(NEXT)}") + NEXT + NEXT),
    ("a body that is no text", head(POST, "Content-Length: 4") + b"\0\xff\r\n" + NEXT),
    ("a body that has not ended", head(POST, "Content-Length: 5") + b"abc"),
    ("a body without a length", head(POST) + b"abc\r\n\r\n"),
    ("a large body", head(POST, "Content-Length: 70000") + b"x" * 70000 + NEXT),
    ("a large body and the beginning of a head", head(POST, "Content-Length: 70000") + b"x" * 70000 + NEXT[:20]),
]  # fmt: skip

CODINGS: Final[list[Raw]] = [
    *with_body("chunks", CHUNKED, body=CHUNKS),
    *[(f"coding {c!r}", head(POST, f"Transfer-Encoding: {c}") + CHUNKS + NEXT)
      for c in ("Chunked", "CHUNKED", " chunked ", "\tchunked\t", "chunked,", ",chunked", "chunked, chunked",
                "gzip, chunked", "chunked, gzip", "gzip", "identity", "identity, chunked", "xchunked", "chunkedx",
                "chunked;q=1", '"chunked"', "'chunked'", "chunked\x0b", "\x0bchunked", "chunked\0", "chun ked",
                  "")],
    ("coding twice", head(POST, CHUNKED, CHUNKED) + CHUNKS + NEXT),
    ("codings identity and chunked", head(POST, "Transfer-Encoding: identity", CHUNKED) + CHUNKS + NEXT),
    ("codings chunked and identity", head(POST, CHUNKED, "Transfer-Encoding: identity") + CHUNKS + NEXT),
    ("length and coding", head(POST, "Content-Length: 3", CHUNKED) + CHUNKS + NEXT),
    ("coding and length", head(POST, CHUNKED, "Content-Length: 3") + CHUNKS + NEXT),
    ("length 0 and coding", head(POST, "Content-Length: 0", CHUNKED) + CHUNKS + NEXT),
    ("coding with an underscore", head(POST, "Transfer_Encoding: chunked", "Content-Length: 3") + b"abc" + NEXT),
    ("coding among the trailers", head(POST, CHUNKED) + b"0\r\nTransfer-Encoding: gzip\r\n\r\n" + NEXT),
    ("a length among the trailers", head(POST, CHUNKED) + b"0\r\nContent-Length: 9\r\n\r\n" + NEXT),
    ("TE", head(POST, CHUNKED, "TE: trailers") + CHUNKS + NEXT),
]  # fmt: skip

CHUNKINGS: Final[list[Raw]] = [
    (name, head(POST, CHUNKED) + body + NEXT)
    for name, body in [
        ("no chunks", b"0\r\n\r\n"),
        ("a size in upper case", b"A\r\n0123456789\r\n0\r\n\r\n"),
        ("a size with zeros in front", b"0003\r\nabc\r\n000\r\n\r\n"),
        ("a size with many zeros in front", b"0" * 30 + b"3\r\nabc\r\n0\r\n\r\n"),
        ("a size with 0x", b"0x3\r\nabc\r\n0\r\n\r\n"),
        ("a size with a sign", b"+3\r\nabc\r\n0\r\n\r\n"),
        ("a negative size", b"-3\r\nabc\r\n0\r\n\r\n"),
        ("a size with an underscore", b"0_3\r\nabc\r\n0\r\n\r\n"),
        ("a blank before the size", b" 3\r\nabc\r\n0\r\n\r\n"),
        ("a blank behind the size", b"3 \r\nabc\r\n0\r\n\r\n"),
        ("a blank before an extension", b"3 ;a\r\nabc\r\n0\r\n\r\n"),
        ("a size that is empty", b"\r\nabc\r\n0\r\n\r\n"),
        ("a size that is an extension alone", b";a\r\nabc\r\n0\r\n\r\n"),
        ("a size of 17 digits", b"10000000000000003\r\nabc\r\n0\r\n\r\n"),
        ("a size of 40 digits", b"F" * 40 + b"\r\nabc\r\n0\r\n\r\n"),
        ("a size that ends in LF", b"3\nabc\r\n0\r\n\r\n"),
        ("a size that ends in CR", b"3\rabc\r\n0\r\n\r\n"),
        ("a size with a NUL", b"3\0\r\nabc\r\n0\r\n\r\n"),
        ("an extension", b"3;a=b\r\nabc\r\n0\r\n\r\n"),
        ("an extension without a value", b"3;a\r\nabc\r\n0;b\r\n\r\n"),
        ("an empty extension", b"3;\r\nabc\r\n0\r\n\r\n"),
        ("an extension in quotes", b'3;a="b;c"\r\nabc\r\n0\r\n\r\n'),
        ("an extension with a line end in quotes", b'3;a="\r\n"\r\nabc\r\n0\r\n\r\n'),
        ("an extension with a bare LF", b"3;a\nabc\r\n0\r\n\r\n"),
        ("an extension with a bare CR", b"3;a\rb\r\nabc\r\n0\r\n\r\n"),
        ("a chunk that is too long", b"3\r\nabcd\r\n0\r\n\r\n"),
        ("a chunk that is too short", b"5\r\nabc\r\n0\r\n\r\n"),
        ("a chunk that ends in LF", b"3\r\nabc\n0\r\n\r\n"),
        ("a chunk that ends in nothing", b"3\r\nabc0\r\n\r\n"),
        ("a chunk that ends in CR", b"3\r\nabc\r0\r\n\r\n"),
        ("a last chunk that ends in LF", b"3\r\nabc\r\n0\r\n\n"),
        ("a last chunk of LFs", b"3\r\nabc\r\n0\n\n"),
        ("a trailer", b"3\r\nabc\r\n0\r\nA: b\r\n\r\n"),
        ("trailers", b"3\r\nabc\r\n0\r\nA: b\r\nC: d\r\n\r\n"),
        ("a trailer that is none", b"3\r\nabc\r\n0\r\nA b\r\n\r\n"),
        ("a trailer that goes on in the next line", b"0\r\nA: b\r\n c\r\n\r\n"),
        ("a trailer that wants to upgrade", b"0\r\nConnection: Upgrade\r\nUpgrade: a\r\n\r\n"),
        ("a trailer that closes", b"0\r\nConnection: close\r\n\r\n"),
        ("a trailer that closes, among others", b"1\r\na\r\n0\r\nA: b\r\nConnection: x, close\r\nC: d\r\n\r\n"),
        ("a trailer that keeps alive", b"0\r\nConnection: keep-alive\r\n\r\n"),
        ("a trailer that closes a proxy's connection", b"0\r\nProxy-Connection: close\r\n\r\n"),
        ("a trailer that expects", b"0\r\nExpect: 100-continue\r\n\r\n"),
        ("a chunk that is a request", b"%x\r\n%b\r\n0\r\n\r\n" % (len(NEXT), NEXT)),
        ("chunks of one byte", b"".join(b"1\r\n%c\r\n" % c for c in b"one byte each") + b"0\r\n\r\n"),
    ]
]  # fmt: skip

UPGRADES: Final[list[Raw]] = [
    *with_body("upgrade with a length", *UPGRADE, "Content-Length: 3"),
    *with_body("upgrade with chunks", *UPGRADE, CHUNKED, body=CHUNKS),
    *with_body("upgrade without a body", *UPGRADE, body=b""),
    *with_body("upgrade as curl and Java send it", *OTHERS, "Content-Length: 3"),
    *with_body("upgrade to WebSocket", "Connection: Upgrade", "Upgrade: websocket",
      "Sec-WebSocket-Version: 13", body=b""),
    *with_body("upgrade with the length first", "Content-Length: 3", *UPGRADE),
    *with_body("upgrade with a length with blanks", *UPGRADE, "Content-Length:  3 "),
    *with_body("upgrade and keep-alive", "Connection: keep-alive, Upgrade", "Upgrade: a", "Content-Length: 3"),
    *with_body("upgrade and keep-alive in two lines", "Connection: keep-alive", "Connection: upgrade",
      "Upgrade: a",
               "Content-Length: 3"),
    *with_body("upgrade and close", "Connection: close, Upgrade", "Upgrade: a", "Content-Length: 3"),
    *with_body("upgrade by Proxy-Connection", "Proxy-Connection: upgrade", "Upgrade: a", "Content-Length: 3"),
    *with_body("Upgrade without Connection", "Upgrade: h2c", "Content-Length: 3"),
    *with_body("Connection without Upgrade", "Connection: Upgrade", "Content-Length: 3"),
    *with_body("an empty Upgrade", "Connection: Upgrade", "Upgrade:", "Content-Length: 3"),
    *with_body("upgrade and length 0", *UPGRADE, "Content-Length: 0", body=b""),
    *with_body("upgrade and trailers", *UPGRADE, CHUNKED, body=b"1\r\na\r\n0\r\nB: c\r\n\r\n"),
    *with_body("upgrade and a fault in the chunks", *UPGRADE, CHUNKED, body=b"x\r\n"),
    *with_body("upgrade and an unknown coding", *UPGRADE, "Transfer-Encoding: gzip"),
    *with_body("upgrade and two codings", *UPGRADE, CHUNKED, "Transfer-Encoding: gzip", body=CHUNKS),
    *with_body("upgrade and two lengths", *UPGRADE, "Content-Length: 3", "Content-Length: 4"),
    *with_body("upgrade, length and coding", *UPGRADE, "Content-Length: 3", CHUNKED, body=CHUNKS),
    *with_body("upgrade and a length that is none", *UPGRADE, "Content-Length: +3"),
    *with_body("upgrade and Expect", *UPGRADE, "Expect: 100-continue", "Content-Length: 3"),
    ("upgrade with a body that is a request", head(POST, *UPGRADE, f"Content-Length: {len(NEXT)}") + NEXT + NEXT),
    ("upgrade without Host", head(POST, *UPGRADE, "Content-Length: 3", host=None) + b"abc" + NEXT),
    ("upgrade twice", (head(POST, *UPGRADE, "Content-Length: 3") + b"abc") * 2 + NEXT),
    ("upgrade, plain, upgrade", head("GET /a HTTP/1.1", *UPGRADE) + NEXT + head("GET /a HTTP/1.1",
      *UPGRADE) + NEXT),
    ("upgrade behind a request", NEXT + head(POST, *UPGRADE, "Content-Length: 3") + b"abc" + NEXT),
    ("upgrade, and no HTTP behind it", head("GET /a HTTP/1.1", *UPGRADE) + b"\0\0\x12\x04\0\0\r\n\r\n"),
    ("upgrade with a body that has not ended", head(POST, *UPGRADE, "Content-Length: 5") + b"abc"),
    ("upgrade with a large body", head(POST, *UPGRADE, "Content-Length: 70000") + b"x" * 70000 + NEXT),
]  # fmt: skip

CONNECTIONS: Final[list[Raw]] = [
    ("close", head("GET /a HTTP/1.1", "Connection: close") + NEXT),
    ("close with a body", head(POST, "Connection: close", "Content-Length: 3") + b"abc" + NEXT),
    ("close in upper case", head("GET /a HTTP/1.1", "Connection: CLOSE")),
    ("close and keep-alive", head("GET /a HTTP/1.1", "Connection: keep-alive, close")),
    ("close in the second request", NEXT + head("GET /a HTTP/1.1", "Connection: close")),
    ("close, and no HTTP behind it", head("GET /a HTTP/1.1", "Connection: close") + b"no HTTP at all\r\n\r\n"),
    ("close, and blank lines behind it", head("GET /a HTTP/1.1", "Connection: close") + b"\r\n\r\n"),
    ("keep-alive", head("GET /a HTTP/1.1", "Connection: keep-alive") + NEXT),
    ("an option that nobody knows", head("GET /a HTTP/1.1", "Connection: x-hop") + NEXT),
]

EXPECTATIONS: Final[list[Raw]] = [
    ("100-continue", head(POST, "Expect: 100-continue", "Content-Length: 3") + b"abc" + NEXT),
    ("100-continue in upper case", head(POST, "Expect: 100-Continue", "Content-Length: 3") + b"abc" + NEXT),
    ("100-continue with chunks", head(POST, "Expect: 100-continue", CHUNKED) + CHUNKS + NEXT),
    ("100-continue and its body later", head(POST, "Expect: 100-continue", "Content-Length: 3")),
    ("100-continue without a body", head(POST, "Expect: 100-continue") + NEXT),
    ("100-continue and a fault", head(POST, "Expect: 100-continue", CHUNKED) + b"x\r\n"),
    *[(f"100-continue in the list {value!r}", head(POST, f"Expect: {value}", "Content-Length: 3") + b"abc" + NEXT)
      for value in ("a, 100-continue", "100-continue, a", "a ,\t100-continue\t, b", ",100-continue,")],
    ("100-continue in two lines", head(POST, "Expect: a", "Expect: 100-continue", "Content-Length: 3") + b"abc"),
    ("another expectation", head(POST, "Expect: wonders", "Content-Length: 3") + b"abc" + NEXT),
]  # fmt: skip

PIPELINES: Final[list[Raw]] = [
    ("two requests", NEXT + NEXT),
    ("thirty requests", NEXT * 30),
    ("three hundred requests", NEXT * 300),
    ("thirty requests with bodies", (head(POST, "Content-Length: 3") + b"abc") * 30),
    ("thirty requests with chunks", (head(POST, CHUNKED) + CHUNKS) * 30),
    ("a request and a half", NEXT + NEXT[:-10]),
    ("a request and a body that has not ended", NEXT + head(POST, "Content-Length: 5") + b"abc"),
    ("a fault in the chunks behind a request", NEXT + head(POST, CHUNKED) + b"x\r\n" + NEXT),
    ("thirty requests and a fault", NEXT * 30 + b"no HTTP at all\r\n\r\n"),
    ("many different ones", b"".join(head(f"GET /{n} HTTP/1.1") for n in range(40))),
]

ROWS: Final[list[Raw]] = [
    *METHODS, *REPEATED, *TARGETS, *VERSIONS, *HOSTS, *LINES, *LENGTHS, *CODINGS, *CHUNKINGS, *UPGRADES,
    *CONNECTIONS, *EXPECTATIONS, *PIPELINES,
]  # fmt: skip

# -- where h11 makes something else of them ------------------------------------------------------------------


def served(*said: str, lives: bool = True) -> Verdict:
    """All requests are served."""
    return Verdict((200,) * len(said), tuple(each.encode() for each in said), lives)


def refused(status: int = 400, *said: str) -> Verdict:
    """The last request is refused, those before it are served."""
    return Verdict((200,) * len(said) + (status,), tuple(each.encode() for each in said), False)


def each(names: list[str], verdict: Verdict, why: str) -> dict[str, tuple[Verdict, str]]:
    """Return one verdict for many rows."""
    return dict.fromkeys(names, (verdict, why))


GOT_NEXT: Final = "GET /next "


def repeats() -> dict[str, tuple[Verdict, str]]:
    """Return those of `REPEATS` that are refused, or served under another target than h11 says."""
    found: dict[str, tuple[Verdict, str]] = {}
    for name, (before, method, target) in REPEATS.items():
        path = target.removeprefix("http://h")
        first = f"{before} {path} "
        if method == "CONNECT":
            found[name] = (refused(501, first, first), "RFC 9110 §9.3.6: CONNECT is for proxies")
        elif target == "*":
            found[name] = (refused(400, first, first), "RFC 9112 §3.2.4: for OPTIONS alone")
        elif path != target:
            whole = served(first, first, f"{method} {path} ", first, GOT_NEXT)
            found[name] = (whole, "RFC 9112 §3.2.2: a server MUST accept it")
    return found


#: By row, what we make of it, and the clause that asks for that or allows it.
DIFFERENCES: Final[dict[str, tuple[Verdict, str]]] = {
    **each(["method in lower case", "method unknown", "method that is too long", "method cut short"], refused(),
           "RFC 9110 §9.1: an unknown method may be refused; llhttp has a list of them"),
    "method GET of RTSP": (served("GET /a ", lives=False),
                           "RFC 9112 §3: an invalid request line SHOULD be refused; it is served as HTTP/1.0"),
    **each(["CONNECT to an authority", "CONNECT with a body", "CONNECT to a path", "CONNECT in HTTP/1.0"],
      refused(501),
           "RFC 9110 §9.3.6: CONNECT is for proxies; §9.1: 501 for what is not implemented"),
    "CONNECT behind a request": (refused(501, GOT_NEXT), "RFC 9110 §9.3.6"),
    "preface of HTTP/2": (refused(), "RFC 9113 §3.4: the preface is made to be refused by HTTP/1.1"),
    "preface of HTTP/2 behind a request": (refused(400, GOT_NEXT), "RFC 9113 §3.4"),
    **repeats(),
    **each(["target *", "target a", "target ?a", "target x:80", "target ftp://h/a"], refused(),
           "RFC 9112 §3.2: none of the four forms that this method may have"),
    "target * after it was one of OPTIONS": (refused(400, "OPTIONS * "), "RFC 9112 §3.2.4: for OPTIONS alone"),
    "target /a#b": (served("GET /a ", GOT_NEXT), "RFC 9110 §7.1: the target excludes the fragment"),
    "target in absolute form": (served("GET /a?b ", GOT_NEXT), "RFC 9112 §3.2.2: a server MUST accept it"),
    "target in absolute form without a path": (served("GET / ", GOT_NEXT), "RFC 9110 §4.2.3: an empty path is /"),
    "target in absolute form with a query alone": (served("GET /?b "), "RFC 9110 §4.2.3: an empty path is /"),
    "target in absolute form with a user": (refused(), "RFC 9110 §4.2.4: user information is an error"),
    "HTTP/1.0 with chunks": (refused(), "RFC 9112 §6.1: such framing is faulty"),
    "HTTP/0.9 in words": (refused(), "RFC 9110 §2.5: no version with which this server is conformant"),
    "HTTP/1.2 without Host": (refused(), "RFC 9110 §2.5: it is read as HTTP/1.1; RFC 9112 §3.2: without Host"),
    **each(["HTTP/2.0", "HTTP/3.1"], refused(505), "RFC 9110 §15.6.6: another major version"),
    **each(["a blank line first", "blank lines between requests"], served(GOT_NEXT, GOT_NEXT),
           "RFC 9112 §2.2: a server SHOULD ignore an empty line before a request"),
    "a bare LF first": (served(GOT_NEXT), "RFC 9112 §2.2: LF MAY be taken for the end of an empty line"),
    **each(["bare LFs at the ends of lines", "a bare LF after the request line", "a bare LF after a header",
            "a bare LF at the end of the head"], refused(),
           "RFC 9112 §2.2: LF alone MAY end a line; §11.2: that is how requests are smuggled"),
    "two CRs": (refused(), "RFC 9112 §2.2: a bare CR is invalid"),
    "two blanks in the request line": (served("GET /a "), "RFC 9112 §3: words MAY be parsed at any whitespace"),
    **each(["a header that goes on in the next line", "a coding that goes on in the next line",
            "a trailer that goes on in the next line"], refused(), "RFC 9112 §5.2: 400, or blanks instead"),
    **each(["a bell in a value", "DEL in a value"], refused(), "RFC 9110 §5.5: control characters are invalid"),
    **each(["length '3,3'", "length twice, the same"], refused(), "RFC 9110 §8.6: refused, or taken once"),
    "length '99999999999999999999'": (refused(), "RFC 9110 §8.6: overflow must be anticipated"),
    "coding '\\tchunked\\t'": (refused(),
      "RFC 9112 §11.2: the tab is OWS, but is read in two ways"),
    **each([f"coding {c!r}" for c in (",chunked", "gzip, chunked", "gzip", "identity", "identity, chunked",
      "xchunked",
                                      "chunkedx", "chunked;q=1", '"chunked"', "'chunked'", "chun ked")]
           + ["codings identity and chunked", "upgrade and an unknown coding",
              "upgrade and an unknown coding, another behind it"],
           refused(501),
             "RFC 9112 §6.1: 501 for an unknown coding; uvicorn makes 400 of h11's 501"),
    **each(["length and coding", "coding and length", "length 0 and coding", "upgrade, length and coding",
            "upgrade, length and coding, another behind it"], refused(),
           "RFC 9112 §6.1: may be refused; §11.2: it may be an attempt at smuggling"),
    **each(["a length among the trailers", "a trailer that closes", "a trailer that closes, among others",
            "a trailer that keeps alive", "a trailer that closes a proxy's connection",
            "a trailer that wants to upgrade"],
           refused(), "RFC 9110 §6.5.1: MUST NOT be sent, and frames nothing"),
    "a size with many zeros in front": (served("POST /a abc", GOT_NEXT), "RFC 9112 §7.1: any number of digits"),
    "a size of 17 digits": (refused(), "RFC 9112 §7.1: overflow must be anticipated"),
    "a blank behind the size": (refused(), "RFC 9112 §7.1: no blank but before an extension"),
    **each(["an empty extension", "an extension with a bare CR"], refused(), "RFC 9112 §7.1.1: the grammar"),
    "a last chunk that ends in LF": (refused(), "RFC 9112 §7.1: chunks end in CRLF"),
}  # fmt: skip
