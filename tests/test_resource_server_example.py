"""B10: the example of a resource server does what its README says, and its files for Keycloak fit together."""

import json
import re
import tomllib
from typing import Any

import pytest
import yaml

from support.docs.readme_commands import ReadmeReader
from support.servers.processes import ROOT

EXAMPLE = ROOT / "examples" / "resource_server"
README = (EXAMPLE / "README.md").read_text("utf-8")
SCOPES = {"notes:read", "notes:write"}
RESOURCE = "http://127.0.0.1:8000/mcp"

# -- the README --------------------------------------------------------------------------------------------------


def test_the_readme_does_what_it_says() -> None:
    """B10, X-AUTH-30."""
    variables = {"RESOURCE": RESOURCE, "ISSUER": "http://127.0.0.1:9000"}
    assert ReadmeReader(EXAMPLE, variables).follow(README.partition("## With Keycloak")[0]) >= 6


def test_the_readme_names_every_tool_and_file() -> None:
    for name in ("whoami", "read_note", "write_note"):
        assert f"| `{name}` |" in README
    links = set(re.findall(r"\]\(([^)]+)\)", README))
    assert {path.name for path in EXAMPLE.glob("*.py")} | {"compose.yaml"} <= links
    assert all((EXAMPLE / link).exists() for link in links)


def test_is_a_project_of_its_own() -> None:
    settings = tomllib.loads((EXAMPLE / "pyproject.toml").read_text("utf-8"))
    assert settings["project"]["dependencies"] == ["enfilade[auth]"]
    files = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    assert sorted(files) == sorted(path.name for path in EXAMPLE.glob("*.py"))


# -- the files for Keycloak --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load((EXAMPLE / "compose.yaml").read_text("utf-8"))["services"]
    return services


@pytest.fixture(scope="module")
def realm() -> dict[str, Any]:
    realm: dict[str, Any] = json.loads((EXAMPLE / "keycloak" / "realm.json").read_text("utf-8"))
    return realm


def test_the_server_and_its_clients_know_keycloak_by_one_url(
    services: dict[str, Any], realm: dict[str, Any]
) -> None:
    assert set(services) == {"keycloak", "server"}
    issuer = services["server"]["environment"]["ISSUER"]
    assert issuer == f"{services['keycloak']['environment']['KC_HOSTNAME']}/realms/{realm['realm']}"
    assert f"export ISSUER={issuer} " in README
    # The server shares the network of Keycloak, which therefore publishes the ports of both.
    assert services["server"]["network_mode"] == "service:keycloak"
    assert services["keycloak"]["ports"] == ["127.0.0.1:8080:8080", "127.0.0.1:8000:8000"]
    assert services["server"]["environment"]["RESOURCE"] == RESOURCE


def test_the_realm_is_imported(services: dict[str, Any]) -> None:
    assert services["keycloak"]["command"] == ["start-dev", "--import-realm"]
    (volume,) = services["keycloak"]["volumes"]
    source, target, mode = volume.split(":")
    assert (EXAMPLE / source).is_file()
    assert target.startswith("/opt/keycloak/data/import/")
    assert mode == "ro"


def test_the_image_is_made_of_files_that_there_are(services: dict[str, Any]) -> None:
    build = services["server"]["build"]
    assert (EXAMPLE / build["context"]).resolve() == ROOT
    text = (ROOT / build["dockerfile"]).read_text("utf-8")
    sources = [source for line in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE) for source in line.split()]
    assert {"pyproject.toml", "hatch_build.py", "src", "examples/resource_server/server.py"} <= set(sources)
    assert all((ROOT / source).exists() for source in sources)


def test_tokens_of_the_scopes_are_for_the_endpoint(realm: dict[str, Any]) -> None:
    """X-AUTH-40: the audience is restricted to the resource."""
    scopes = {scope["name"]: scope for scope in realm["clientScopes"]}
    assert set(scopes) == {"basic", *SCOPES}
    for name in SCOPES:
        (mapper,) = scopes[name]["protocolMappers"]
        assert mapper["protocolMapper"] == "oidc-audience-mapper"
        assert mapper["config"]["included.custom.audience"] == RESOURCE
        assert mapper["config"]["access.token.claim"] == "true"
        assert scopes[name]["attributes"]["include.in.token.scope"] == "true"
    (subject,) = scopes["basic"]["protocolMappers"]
    assert subject["protocolMapper"] == "oidc-sub-mapper"


def test_each_client_may_ask_for_the_scopes(realm: dict[str, Any]) -> None:
    """X-AUTH-30: one client acts for itself, and the other for a user, with PKCE."""
    clients = {client["clientId"]: client for client in realm["clients"]}
    for client in clients.values():
        assert client["defaultClientScopes"] == ["basic"]
        assert set(client["optionalClientScopes"]) == SCOPES
        assert not client["implicitFlowEnabled"]
        assert not client["directAccessGrantsEnabled"]
    host, ci = clients["mcp-host"], clients["ci"]
    assert host["publicClient"]
    assert host["attributes"]["pkce.code.challenge.method"] == "S256"
    assert all(re.match(r"http://(127\.0\.0\.1|localhost)/", uri) for uri in host["redirectUris"])
    assert ci["serviceAccountsEnabled"]
    assert not ci["standardFlowEnabled"]
    assert f"CLIENT_SECRET={ci['secret']}" in README
