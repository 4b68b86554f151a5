"""A process that writes to a store until it is killed, and says what was acknowledged.

`python sqlite_writer.py URL NAME` appends to the streams `NAME.0` … `NAME.3` and puts keys, all at once; every
line of its output, `stream position`, is something that must never be lost. The easy thing to get wrong: the line
must be out before the next entry is asked for, so it is written without a buffer.
"""

import asyncio
import os
import sys

from enfilade.state.open import open_store


async def write(url: str, name: str) -> None:
    store = open_store(url)
    await store.start()

    async def one(stream: str) -> None:
        await store.log.open(stream, stream.encode())
        position = 0
        while True:
            position += 1
            await store.log.append(stream, [(position, b"%d " % position * 50)])
            await store.keys.put(stream, b"%d" % position, None)
            os.write(1, f"{stream} {position}\n".encode())

    await asyncio.gather(*(one(f"{name}.{number}") for number in range(4)))


if __name__ == "__main__":
    asyncio.run(write(*sys.argv[1:]))
