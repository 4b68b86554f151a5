"""Multi round-trip requests of 2026-07-28: a call ends with questions, and its retry has the answers.

Easy to get wrong: the type of an answer depends on the question under the same key. So answers stay raw until
they are matched with their questions (`message.InputResponseRequestParams`).
"""

from msgspec import UNSET, UnsetType

from enfilade.wire.elicitation import ElicitRequest
from enfilade.wire.message import Result
from enfilade.wire.roots import ListRootsRequest
from enfilade.wire.sampling import CreateMessageRequest

InputRequest = ElicitRequest | CreateMessageRequest | ListRootsRequest


class InputRequiredResult(Result, kw_only=True):
    """The questions, by keys of the server's choice in place of ids (R-288), and the state to send back.

    At least one of the two fields is set (R-287).
    """

    result_type: str | UnsetType = "input_required"
    input_requests: dict[str, InputRequest] | UnsetType = UNSET
    request_state: str | UnsetType = UNSET
