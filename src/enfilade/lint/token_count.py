"""What a list of tools costs a model's context, estimated.

A client puts name, description and input schema of each tool before its model. The estimate is their compact JSON
in bytes, divided by four: near what tokenizers make of English and JSON, and the same for everybody.

Easy to get wrong: output schemas and annotations are for the client, which seldom shows them to a model.
"""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

BYTES_PER_TOKEN: Final = 4

_SHOWN: Final = ("name", "description", "inputSchema")


def tokens_of(tool: Mapping[str, Any]) -> int:
    """Return about how many tokens one tool takes."""
    shown = {key: tool[key] for key in _SHOWN if key in tool}
    return math.ceil(len(json.dumps(shown, separators=(",", ":"), ensure_ascii=False).encode()) / BYTES_PER_TOKEN)


def tokens_of_all(tools: Iterable[Mapping[str, Any]]) -> int:
    """Return about how many tokens a list of tools takes."""
    return sum(tokens_of(tool) for tool in tools)
