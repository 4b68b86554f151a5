"""How the answer to one request gets into the event log, from the beginning or as a whole.

The easy thing to get wrong is the answer that is whole at once: it needs an entry in the log like any other,
since the connection may break in the middle of it.
"""

import msgspec

from enfilade.transports.http.event_log import Recordings
from enfilade.transports.http.event_recorder import CONCLUDED, Recording
from enfilade.wire.jsonrpc import RequestId


class Recorder(msgspec.Struct, frozen=True):
    """Records the answer to a request.

    Attributes:
        recordings: where to.
        session_id: whose request it is.
        request_id: its id, if it is one request that is answered.
    """

    recordings: Recordings
    session_id: str
    request_id: RequestId | None

    def begin(self) -> Recording:
        """Return the stream in the log, of which nothing was said yet."""
        return self.recordings.begin(self.session_id, request_id=self.request_id, answers=True)

    async def keep(self, messages: list[bytes]) -> bytes | None:
        """Have all of it written, and return the stream's name, or None, as `Recording.named` does."""
        name = self.recordings.keep(self.session_id, self.request_id, messages)
        if name is not None:  # at once
            return name
        recording = self.begin()
        recording.take(messages)
        recording.end(CONCLUDED)
        return await recording.named()
