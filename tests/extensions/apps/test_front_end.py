"""A built front end becomes one document, in which everything that is no reference is as it was."""

import base64
from pathlib import Path

import pytest

from enfilade import MCPApp
from enfilade.extensions.apps import View
from enfilade.extensions.apps.files import DocumentError

PIXEL = b"\x89PNG\r\n\x1a\n"
PNG = f"data:image/png;base64,{base64.b64encode(PIXEL).decode()}"


def written(folder: Path, **files: str | bytes) -> Path:
    """Write files, whose names have `__` for a slash and `_` before the suffix."""
    for name, content in files.items():
        path = folder / ".".join(name.replace("__", "/").rsplit("_", 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def document(folder: Path, **options: str | int) -> str:
    view = MCPApp().add_view("ui://app", folder=folder, **options)  # type: ignore[arg-type]
    assert isinstance(view, View)
    assert view.document is not None
    return view.document.read()


def test_scripts_styles_and_images_are_put_into_the_document(tmp_path: Path) -> None:
    """What Vite writes: absolute paths, a module with its style beside, and images that the script names."""
    written(
        tmp_path,
        index_html=(
            "<!DOCTYPE html>\n<html><head>\n"
            '<link rel="icon" href="/favicon.png"/>\n'
            '<script type="module" crossorigin src="/assets/main.js"></script>\n'
            '<link rel="modulepreload" href="/assets/main.js">\n'
            '<link rel="stylesheet" crossorigin href="/assets/main.css">\n'
            '</head><body><div id=root class=\'a "b"\'></div><img alt="x" SRC=assets/logo.png></body></html>\n'
        ),
        favicon_png=PIXEL,
        assets__logo_png=PIXEL,
        assets__main_js=(
            'const logo = "/assets/logo.png"; const end = "</script>";\n//# sourceMappingURL=main.js.map'
        ),
        assets__main_css="@import './more.css'; body { background: url(logo.png) }",
        assets__more_css="p { color: red } /* </style> */",
    )
    assert document(tmp_path) == (
        "<!DOCTYPE html>\n<html><head>\n"
        f'<link rel="icon" href="{PNG}"/>\n'
        f'<script type="module">const logo = "{PNG}"; const end = "\\x3C/script>";\n</script>\n'
        "\n"
        f'<style>p {{ color: red }} /* <\\/style> */ body {{ background: url("{PNG}") }}</style>\n'
        f'</head><body><div id=root class=\'a "b"\'></div><img alt="x" SRC="{PNG}"></body></html>\n'
    )


def test_scripts_that_wait_for_the_document_run_at_its_end(tmp_path: Path) -> None:
    """A script in the document runs where it stands, `defer` or not."""
    written(
        tmp_path,
        index_html=(
            '<!doctype html><head><script defer src="a.js"></script><script src="b.js"></script></head>'
            "<body>x</body>"
        ),
        a_js="A()",
        b_js="B()",
    )
    assert document(tmp_path) == (
        "<!doctype html><head><script>B()</script></head><body>x<script>A()</script></body>"
    )


def test_what_is_inline_or_elsewhere_stays(tmp_path: Path) -> None:
    text = (
        '<!doctype html><script src="https://cdn.example.com/x.js"></script>'
        '<script>let a = "</div>" + "<!-- b -->";</script><script type="application/json">{"a": "./b"}</script>'
        '<style>p { background: url(data:image/png;base64,AA==) }</style><a href="page.html">x</a>'
        '<img src="data:,x"><svg viewBox="0 0 1 1"><use href="#a"/></svg><br/>'
    )
    assert document(written(tmp_path, index_html=text)) == text


def test_all_places_of_images(tmp_path: Path) -> None:
    written(
        tmp_path,
        sub__index_html=(
            '<!doctype html><base href="../"><img srcset="a.png 1x, /a.png 2x"><video poster="a.png"></video>'
            '<i style="background: url(\'a.png\')"></i><style>i { background: url("a.png#x") }</style>'
        ),
        a_png=PIXEL,
    )
    assert document(tmp_path, entry="sub/index.html") == (
        f'<!doctype html><base><img srcset="{PNG} 1x, {PNG} 2x"><video poster="{PNG}"></video>'
        f'<i style="background: url(&quot;{PNG}&quot;)"></i><style>i {{ background: url("{PNG}#x") }}</style>'
    )


def test_assets_that_are_served_are_named_and_allowed(tmp_path: Path) -> None:
    """X-APP-5: the policy has the origin that serves them."""
    written(
        tmp_path,
        index_html=(
            '<!doctype html><script type="module" src="/assets/main.js?v=1"></script>'
            '<link rel="stylesheet" href="a.css">'
            '<style>p { background: url(a.png) }</style><img src="a%20%23%3f@2x.png#x">'
        ),
    )
    options = {"assets": "served", "base_url": "https://cdn.example.com/app"}
    assert document(tmp_path, **options) == (
        '<!doctype html><script type="module" src="https://cdn.example.com/app/assets/main.js?v=1"></script>'
        '<link rel="stylesheet" href="https://cdn.example.com/app/a.css">'
        '<style>p { background: url("https://cdn.example.com/app/a.png") }</style>'
        '<img src="https://cdn.example.com/app/a%20%23%3F@2x.png#x">'
    )
    view = MCPApp().add_view(
        "ui://app",
        folder=tmp_path,
        assets="served",
        base_url="https://cdn.example.com/app",
        csp={"resource_domains": ["https://fonts.example.com"]},
    )
    domains = ["https://fonts.example.com", "https://cdn.example.com"]
    assert view.definition.meta == {"ui": {"csp": {"resourceDomains": domains}}}


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({}, "there is no file"),
        ({"index_html": "<p>"}, 'must begin with "<!doctype html>"'),
        ({"index_html": '<!doctype html><script src="gone.js"></script>'}, "gone.js"),
        (
            {
                "index_html": '<!doctype html><script type="module" src="a.js"></script>',
                "a_js": 'import{b}from"./b.js";b()',
                "b_js": "export const b = 1",
            },
            "a.js imports b.js, and a view has no address to import from",
        ),
        (
            {
                "index_html": '<!doctype html><script type="module">const b = await import("/b.js")</script>',
                "b_js": "export const b = 1",
            },
            "inlineDynamicImports",
        ),
        ({"index_html": '<!doctype html>\n<iframe src="b.html">', "b_html": ""}, "line 2: a frame cannot show"),
        ({"index_html": '<!doctype html><base href="https://a.com/">'}, "<base> names another origin"),
        (
            {"index_html": '<!doctype html><link rel=stylesheet href="a.css">', "a_css": '@import "a.css";'},
            "more than 16 style sheets import each other",
        ),
        ({"index_html": '<!doctype html><img src="a.png">', "a_png": b"x" * 4000}, "larger than 3000 bytes"),
    ],
    ids=["empty", "part", "missing", "chunks", "dynamic", "frame", "base", "circle", "large"],
)
def test_what_cannot_become_one_document(files: dict[str, str | bytes], text: str, tmp_path: Path) -> None:
    written(tmp_path, **files)
    with pytest.raises(DocumentError) as caught:
        document(tmp_path, max_size=3000)
    assert text in str(caught.value)


def test_an_import_in_a_text_is_none(tmp_path: Path) -> None:
    """Libraries have examples of imports in their messages."""
    code = "throw Error('const A = lazy(() => import(\"./A\"))')"
    written(tmp_path, index_html='<!doctype html><script type="module" src="a.js"></script>', a_js=code)
    assert document(tmp_path) == f'<!doctype html><script type="module">{code}</script>'


def test_nothing_outside_of_the_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret", encoding="utf-8")
    folder = written(tmp_path / "dist", index_html='<!doctype html><script src="../secret.txt"></script>')
    with pytest.raises(DocumentError, match="there is no file"):
        document(folder)
    (folder / "secret.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(DocumentError, match="leads out of the folder"):
        document(folder)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="build the front end first"):
        document(tmp_path / "dist")


def test_an_asset_that_changes_is_read_anew(tmp_path: Path) -> None:
    written(tmp_path, index_html='<!doctype html><script src="a.js"></script>', a_js="A()")
    view = MCPApp().add_view("ui://app", folder=tmp_path)
    assert isinstance(view, View)
    assert view.document is not None
    assert view.document.read() == "<!doctype html><script>A()</script>"
    written(tmp_path, a_js="B()")
    assert view.document.read() == "<!doctype html><script>B()</script>"
