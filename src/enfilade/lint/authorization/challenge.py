"""The header `WWW-Authenticate` of a refusal: read as RFC 9110 says, and judged (RFC 6750 §3, RFC 9728 §5.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from enfilade.lint.authorization.report import Step, quoted

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER: Final = re.compile(rf'\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))\s*(?:,|$)')
_SCHEME: Final = re.compile(rf"\s*({_TOKEN})(?:\s+|$|(?=,))")

#: Schemes that carry an access token.
_SCHEMES: Final = ("bearer", "dpop")


@dataclass
class Challenge:
    """One challenge.

    Attributes:
        scheme: such as `Bearer`.
        parameters: its parameters, their names in lower case.
    """

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def scopes(self) -> list[str]:
        """The scopes that the request needs."""
        return self.parameters.get("scope", "").split()


def read_challenges(lines: Sequence[str]) -> list[Challenge]:
    """Return the challenges of header lines. What cannot be read ends the reading of its line."""
    challenges: list[Challenge] = []
    for line in lines:
        position = 0
        while position < len(line):
            if challenges and (match := _PARAMETER.match(line, position)):
                value = re.sub(r"\\(.)", r"\1", match[2]) if match[2] is not None else match[3]
                challenges[-1].parameters.setdefault(match[1].lower(), value)
            elif match := _SCHEME.match(line, position):
                challenges.append(Challenge(match[1]))
            else:
                break
            position = match.end()
            while line[position : position + 1] in (",", " "):
                position += 1
    return challenges


def token_challenge(lines: Sequence[str]) -> Challenge | None:
    """Return the first challenge for an access token."""
    return next((found for found in read_challenges(lines) if found.scheme.lower() in _SCHEMES), None)


def judge_first_challenge(step: Step, lines: Sequence[str]) -> Challenge | None:
    """Judge the challenge to a request without a token, and return it."""
    challenge = _one_challenge(step, lines)
    if challenge is None:
        return None
    error = challenge.parameters.get("error")
    if error is not None:
        step.problem(
            f'the challenge has error="{quoted(error)}", though no token was sent',
            "leave `error` out when a request has no credentials (RFC 6750 §3.1)",
        )
    judge_offline_access(step, challenge.scopes, "the challenge")
    return challenge


def judge_way_to_a_login(step: Step, challenge: Challenge) -> None:
    """Judge whether the challenge to a request without a token says where and with which scopes to log in."""
    if "resource_metadata" in challenge.parameters:
        step.ok(f"resource_metadata: {quoted(challenge.parameters['resource_metadata'])}")
    else:
        step.problem(
            "the challenge has no resource_metadata",
            "add the URL of the metadata: clients of 2025-06-18 look nowhere else (RFC 9728 §5.1)",
        )
    if challenge.scopes:
        step.ok(f"scope: {quoted(' '.join(challenge.scopes))}")
    else:
        step.warning(
            "the challenge names no scope, so clients ask for all that the metadata lists",
            'add scope="…" with what the request needs; ResourceServer(…, scopes=[…]) does',
        )


def judge_offline_access(step: Step, scopes: Sequence[str], holder: str) -> None:
    """Judge scopes of a resource: refresh tokens are between a client and its authorization server."""
    if "offline_access" in scopes:
        step.warning(
            f"{holder} asks for offline_access",
            "leave it out: clients add it themselves where they want a refresh token",
        )


def judge_refusal(step: Step, status: int, lines: Sequence[str]) -> None:
    """Judge the answer to a request with a token that nobody has issued."""
    if status != 401:
        step.problem(
            f"a made-up token gets {status}",
            'answer 401 with error="invalid_token", so that clients get a new token',
        )
        return
    challenge = _one_challenge(step, lines)
    error = None if challenge is None else challenge.parameters.get("error")
    if error == "invalid_token":
        step.ok('401 with error="invalid_token"')
    elif challenge is not None:
        step.problem(
            f"401 with {'no error' if error is None else f'error={quoted(error)}'}",
            'say error="invalid_token" when a token was sent (RFC 6750 §3.1)',
        )


def _one_challenge(step: Step, lines: Sequence[str]) -> Challenge | None:
    """Return the challenge of the header, which should have one line and one challenge for a token."""
    if not lines:
        step.problem(
            "401 without WWW-Authenticate",
            'add WWW-Authenticate: Bearer resource_metadata="…", scope="…" (RFC 9110 §11.6.1)',
        )
        return None
    challenge = token_challenge(lines)
    if challenge is None:
        schemes = ", ".join(found.scheme for found in read_challenges(lines)) or quoted(lines[0])
        step.problem(f"WWW-Authenticate asks for {quoted(schemes)}, not for Bearer", "challenge with Bearer")
    elif len(lines) > 1:
        step.warning(
            f"WWW-Authenticate has {len(lines)} lines, and many clients read only the first",
            "send one line, with Bearer first",
        )
    return challenge
