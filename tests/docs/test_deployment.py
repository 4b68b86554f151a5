"""The configurations on `docs/deployment.md`: they agree with the settings, the command and each other.

Nothing here runs Kubernetes or systemd. What would go wrong there silently is a time that is too short, a
path that is not served, or a variable that nobody reads; and these can be read.
"""

import configparser
import re
from typing import Any

import yaml

from docs.settings_table import shown
from enfilade import Settings
from enfilade.cli.run import setting_options
from enfilade.settings import PREFIX, fields
from enfilade.transports.http11.server import ServerOptions
from enfilade.transports.processes import process_end, supervisor
from support.docs.pages import ROOT, blocks, prose, table

PAGE = ROOT / "docs" / "deployment.md"
DEFAULTS = Settings()


def code(language: str) -> str:
    (block,) = [each for each in blocks(PAGE) if each.language == language]
    return block.code


def stopping(**changed: float) -> float:
    """Return the seconds that a server may take to stop, but for its lifespan."""
    times = {"drain_delay": DEFAULTS.drain_delay, "shutdown_timeout": DEFAULTS.shutdown_timeout, **changed}
    return ServerOptions(host="", port=0, log_level="info", **times).stop_timeout


def is_setting(variable: str) -> bool:
    return variable.removeprefix(PREFIX).lower() in Settings.__struct_fields__


def pod() -> dict[str, Any]:
    deployment, service = yaml.safe_load_all(code("yaml"))
    template: dict[str, Any] = deployment["spec"]["template"]
    assert deployment["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]
    assert service["spec"]["selector"] == template["metadata"]["labels"]
    spec: dict[str, Any] = template["spec"]
    return spec


def test_kubernetes_probes_what_is_served() -> None:
    (container,) = pod()["containers"]
    assert container["readinessProbe"]["httpGet"] == {"path": DEFAULTS.ready_path, "port": DEFAULTS.port}
    assert container["livenessProbe"]["httpGet"] == {"path": DEFAULTS.health_path, "port": DEFAULTS.port}
    assert container["ports"] == [{"containerPort": DEFAULTS.port}]


def test_kubernetes_sets_what_there_is_and_waits_for_the_end() -> None:
    (container,) = pod()["containers"]
    variables = {each["name"]: each.get("value") for each in container["env"]}
    assert [name for name in variables if not is_setting(name)] == []
    delay = float(variables["ENFILADE_DRAIN_DELAY"])
    assert pod()["terminationGracePeriodSeconds"] > stopping(drain_delay=delay)


def test_systemd_sets_what_there_is_and_waits_for_the_end() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(code("ini"))
    service = unit["Service"]
    assert is_setting(service["Environment"].partition("=")[0])
    assert float(service["TimeoutStopSec"]) > stopping()
    assert service["KillMode"] == "mixed"
    assert "/bin/enfilade run server.py --transport http --workers 4" in service["ExecStart"]


def test_the_times_in_the_text_are_those_of_the_settings() -> None:
    rows = re.findall(r"`(drain_delay|shutdown_timeout)`, ([\d.]+) s", prose(PAGE))
    assert {name: float(value) for name, value in rows} == {
        "drain_delay": DEFAULTS.drain_delay,
        "shutdown_timeout": DEFAULTS.shutdown_timeout,
    }
    assert f"`keep_alive` ({DEFAULTS.keep_alive:g} s)" in prose(PAGE)
    assert f"`body_limit` ({DEFAULTS.body_limit // 1024**2} MiB)" in prose(PAGE)
    (reading,) = re.findall(r"at most ([\d.]+) s, usually none", prose(PAGE))
    (unwinding,) = re.findall(r"and ([\d.]+) s for what is cancelled", prose(PAGE))
    both = float(reading) + float(unwinding)
    assert both == stopping() - DEFAULTS.drain_delay - DEFAULTS.shutdown_timeout
    assert f"`shutdown_timeout` + {both:g} seconds" in prose(PAGE)
    assert f"`lifespan_timeout`, {DEFAULTS.lifespan_timeout:g} s, and what is left" in prose(PAGE)


def test_the_longest_stop_in_the_text_is_that_of_the_code() -> None:
    """The constants are private: what stops a server has no reader but this page."""
    text = " ".join(prose(PAGE).split())
    exit_handlers = f"`lifespan_timeout` and {process_end._OWN_EXIT_HANDLERS:g} s"
    assert f"threads and exit handlers at most {exit_handlers}" in text
    assert f"may take `lifespan_timeout` + {process_end._OWN_EXIT_HANDLERS:g} second more" in text
    least = f"{supervisor._LIFESPAN_MARGIN:g}"
    assert f"count a `lifespan_timeout` below {least} seconds as {least}" in text
    longest = stopping() + 2 * DEFAULTS.lifespan_timeout + process_end._OWN_EXIT_HANDLERS
    (enough,) = re.findall(r"(\d+) seconds are enough for the defaults", text)
    assert longest < float(enough)


#: Settings that limit nothing, and so have no row in the table of limits.
NO_LIMITS = {
    *("transport", "host", "port", "path", "health_path", "ready_path", "workers", "log_level", "tool_names"),
    *("secret", "store", "sessions", "json_response", "stream_grace", "resumable", "stream_retry"),
    *("auth_resource", "auth_servers", "auth_scopes", "auth_certificate_header", "stdio_scopes"),
    *("auth_scope_hierarchy", "auth_list_by_scope", "auth_leeway", "auth_jwks_stale", "auth_dpop"),
    *("auth_dpop_nonce", "auth_prompt"),
    *("metrics", "metrics_path", "metrics_port", "metrics_token"),
    *("log_config", "log_format", "otel", "limit_per", "on_limit", "on_overflow"),
    *("server_card", "public_url", "registry_name", "repository"),
    *("uds", "uds_mode", "fd", "tls_cert", "tls_key", "tls_key_password", "root_path", "forwarded_allow_ips"),
}


def test_the_table_of_limits_is_what_settings_and_options_are() -> None:
    """Every setting is a row with its default, its variable and its option, or is known to limit nothing."""
    rows = {row[0].strip("`"): row[1:] for row in table(PAGE, "setting")}
    options = {option.name: option for option in setting_options()}
    assert set(rows) | NO_LIMITS == set(fields())
    assert set(rows) & NO_LIMITS == set()
    for name, (default, variable, option, reached) in rows.items():
        assert default == shown(fields()[name].default), name
        assert variable == f"`{PREFIX}{name.upper()}`"
        words = [options[name].opts[0], *options[name].secondary_opts]
        assert option == ", ".join(f"`{word}`" for word in words), name
        assert reached, name
