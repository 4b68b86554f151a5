"""A23: the example of a login in front of a provider does what its README says."""

import re
import tomllib

from support.docs.readme_commands import ReadmeReader
from support.servers.processes import ROOT

EXAMPLE = ROOT / "examples" / "oauth_proxy"
README = (EXAMPLE / "README.md").read_text("utf-8")


def test_the_readme_does_what_it_says() -> None:
    """A23, X-AUTH-22, R-616."""
    variables = {"PUBLIC_URL": "http://127.0.0.1:8000", "ISSUER": "http://127.0.0.1:9000"}
    assert ReadmeReader(EXAMPLE, variables).follow(README) == 5


def test_the_readme_names_every_tool_and_file() -> None:
    for name in ("whoami", "read_note", "write_note"):
        assert f"| `{name}` |" in README
    assert {path.name for path in EXAMPLE.glob("*.py")} == set(re.findall(r"\]\(([^)]+)\)", README))


def test_is_a_project_of_its_own() -> None:
    settings = tomllib.loads((EXAMPLE / "pyproject.toml").read_text("utf-8"))
    assert settings["project"]["dependencies"] == ["enfilade[auth]"]
    files = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    assert sorted(files) == sorted(path.name for path in EXAMPLE.glob("*.py"))
