"""The scenarios that each leg of the suite runs, written down so that each is a test with a name of its own.

A test compares this table with what ran, so a newer suite that adds or drops scenarios cannot do it unnoticed.
"""

BOTH_ERAS = [
    "completion-complete",
    "dns-rebinding-protection",
    "json-schema-2020-12",
    "prompts-get-embedded-resource",
    "prompts-get-simple",
    "prompts-get-with-args",
    "prompts-get-with-image",
    "prompts-list",
    "resources-list",
    "resources-read-binary",
    "resources-read-text",
    "resources-templates-read",
    "server-sse-multiple-streams",
    "tools-call-audio",
    "tools-call-embedded-resource",
    "tools-call-error",
    "tools-call-image",
    "tools-call-mixed-content",
    "tools-call-simple-text",
    "tools-call-with-progress",
    "tools-list",
]

SESSIONS = [
    "elicitation-sep1034-defaults",
    "elicitation-sep1330-enums",
    "logging-set-level",
    "ping",
    "resources-subscribe",
    "resources-unsubscribe",
    "server-initialize",
    "server-session-lifecycle",
    "server-sse-polling",
    "tools-call-elicitation",
    "tools-call-sampling",
    "tools-call-with-logging",
]

STATELESS = [
    "caching",
    "http-custom-header-server-validation",
    "http-header-validation",
    "input-required-result-basic-elicitation",
    "input-required-result-basic-list-roots",
    "input-required-result-basic-sampling",
    "input-required-result-capability-check",
    "input-required-result-ignore-extra-params",
    "input-required-result-missing-input-response",
    "input-required-result-multi-round",
    "input-required-result-multiple-input-requests",
    "input-required-result-non-tool-request",
    "input-required-result-request-state",
    "input-required-result-result-type",
    "input-required-result-tampered-state",
    "input-required-result-unsupported-methods",
    "input-required-result-validate-input",
    "sep-2164-resource-not-found",
    "server-stateless",
]

TASKS = [
    "tasks-capability-negotiation",
    "tasks-dispatch-and-envelope",
    "tasks-lifecycle",
    "tasks-mrtr-composition",
    "tasks-mrtr-input",
    "tasks-request-headers",
    "tasks-request-state-removal",
    "tasks-required-task-error",
    "tasks-status-notifications",
    "tasks-wire-fields",
]

SKILLS = ["sep-2640-skills-directory", "sep-2640-skills-enumeration", "sep-2640-skills-manifest"]

#: Those of sessions that the suite has for 2025-11-25 alone.
_SINCE_1125 = {
    "dns-rebinding-protection",
    "elicitation-sep1034-defaults",
    "elicitation-sep1330-enums",
    "json-schema-2020-12",
    "server-sse-multiple-streams",
    "server-sse-polling",
}

#: The scenarios of each leg. Those of extensions belong to no revision, so `all` alone has all of them.
SCENARIOS = {
    "all": BOTH_ERAS + SESSIONS + STATELESS + TASKS + SKILLS,
    "draft": STATELESS,
    "all-2025-03-26": ["server-session-lifecycle"],
    "all-2025-06-18": sorted({*BOTH_ERAS, *SESSIONS} - _SINCE_1125),
    "all-2025-11-25": BOTH_ERAS + SESSIONS,
    "all-2026-07-28": BOTH_ERAS + STATELESS,
    "required-2025-11-25": BOTH_ERAS + SESSIONS,
    "required-2026-07-28": BOTH_ERAS + STATELESS + TASKS,
}

#: What the suite itself skips, whatever the server does: it looks for these notifications in another place.
SKIPPED = {"tasks-status-notifications"}
