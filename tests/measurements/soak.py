"""`make soak`: mixed traffic for ten minutes on each kind of store, and nothing may grow.

    python tests/measurements/soak.py [sqlite] [redis]

Everything that clients do happens at random, side by side, behind a proxy that sends each request to another
worker; one of the three workers is killed now and then. Requests are logged, audited, measured and traced
meanwhile. Memory, tasks and descriptors of the two others, and what is in the store, are looked at every few
seconds. The easy thing to get wrong is what growth is: caches fill up, and more traffic leaves more behind for a
while. So the second quarter of the run is compared with the last, by what was done in each, and when all is over
nothing may be left in the store.
"""

import http.client
import json
import os
import random
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

from support.cluster.mixed_traffic import Traffic
from support.cluster.server_processes import ProcessCluster
from support.faults.servers import faulty_cluster
from support.http_client.connection import Http
from support.http_client.resuming_client import Lost, Refused
from support.servers.otlp_receiver import OtlpReceiver
from support.stores.valkey_server import Valkey

SECONDS = float(os.environ.get("ENFILADE_SOAK_SECONDS", "600"))
CLIENTS = 6
WARM = 4200
"""Sessions that each worker has seen before anything is measured: it keeps some thousands in mind."""

SAMPLING = 3.0
KILLING = 45.0
LASTING = (0, 1)
"""The workers that are looked at; the third is killed now and then."""

SETTINGS = {
    "session_ttl": 30,
    "stream_age": 15,
    "stream_grace": 0.5,
    "log_format": "json",
    "log_limit": 20,
    "metrics": "true",
}

DISTURBED = (OSError, http.client.HTTPException, Lost, Refused)
"""What a client may see of a worker that is killed, and of nothing else."""

#: By how much each figure may be greater in the last quarter than in the second: a share, and an amount.
NOISE: dict[str, tuple[float, float]] = {
    "rss MB": (0.03, 2.0),
    "tasks": (0.25, 10.0),
    "descriptors": (0.10, 10.0),
    "rows or keys": (0.25, 200.0),
    "store MB": (0.10, 2.0),
}

TRANSIENT = {"tasks", "descriptors", "rows or keys", "store MB"}
"""What there is more of while more is done."""

LEFT = {"tasks": 4.0, "descriptors": 6.0, "rows or keys": 10.0}
"""By how much there may be more than at first when all is over."""

EXPIRY = 400.0
"""Seconds within which everything has: answers that nobody fetched are kept for five minutes."""

Inventory = Callable[[], tuple[float, float]]
"""Returns how many rows or keys there are, and how many MB they take."""


class Soak:
    """One run on one store.

    Args:
        cluster: its servers.
        inventory: looks into the store.
        seed: of everything that is left to chance.
    """

    def __init__(self, cluster: ProcessCluster, inventory: Inventory, seed: int) -> None:
        self._fleet, self._inventory, self._chance = cluster, inventory, random.Random(seed)
        self._over = threading.Event()
        self._kills = 0
        self._killing = False
        self.done: Counter[str] = Counter()
        self.complaints: list[str] = []
        self.samples: list[dict[str, float]] = []
        self.last: dict[str, float] = {}
        self._doing: Counter[str] = Counter()

    def run(self, seconds: float) -> None:
        """Let it happen."""
        self._warm()
        traffics = [Traffic(self._fleet, random.Random(self._chance.random())) for _ in range(CLIENTS)]
        threads = [threading.Thread(target=self._live, args=(traffic,)) for traffic in traffics]
        threads.append(threading.Thread(target=self._kill_now_and_then))
        for thread in threads:
            thread.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.samples.append(self._look())
            time.sleep(SAMPLING)
        self._over.set()
        for thread in threads:
            thread.join()
        self._wait_for_the_end()

    def _wait_for_the_end(self) -> None:
        """Wait until what was left behind has expired."""
        end = time.monotonic() + EXPIRY
        first = self.samples[0]
        while True:
            self.last = self._look()
            left = [name for name, most in LEFT.items() if self.last[name] > first[name] + most]
            if not left:
                return
            if time.monotonic() > end:
                self.complaints.append(f"left when all is over: {', '.join(left)}")
                return
            time.sleep(SAMPLING)

    def _warm(self) -> None:
        """Fill what remembers sessions."""
        port = self._fleet.servers[0].port
        for _ in range(WARM):
            session = Http(port).initialize()
            for index in LASTING:
                session.http = Http(self._fleet.servers[index].port)
                session.ask("ping")

    def _live(self, traffic: Traffic) -> None:
        while not self._over.is_set():
            deed = traffic.next()
            kills, killing = self._kills, self._killing
            try:
                deed()
                self.done[deed.__name__] += 1
            except DISTURBED as error:
                if not killing and not self._killing and kills == self._kills:
                    self.complaints.append(f"{deed.__name__}: {error!r}\n{traceback.format_exc()}")
                self.done["disturbed"] += 1
            except BaseException as error:
                if not killing and not self._killing and kills == self._kills:
                    self.complaints.append(f"{deed.__name__}: {error!r}\n{traceback.format_exc()}")

    def _kill_now_and_then(self) -> None:
        while not self._over.wait(self._chance.uniform(0.7, 1.3) * min(KILLING, SECONDS / 6)):
            self._killing = True
            self._fleet.kill(2)
            self._over.wait(1.0)
            self._fleet.start(2)
            self._kills += 1
            self._killing = False
            self.done["kill -9"] += 1

    def _look(self) -> dict[str, float]:
        rows, size = self._inventory()
        found = {"deeds": float(self.done.total()), "rows or keys": rows, "store MB": size}
        found.update({"rss MB": 0.0, "tasks": 0.0, "descriptors": 0.0})
        self._doing.clear()
        for index in LASTING:
            server = self._fleet.servers[index]
            process = psutil.Process(server.pid)
            found["rss MB"] += process.memory_info().rss / 1e6
            found["descriptors"] += process.num_fds() if hasattr(process, "num_fds") else process.num_handles()
            inside = Http(server.port).modern_call("inside").result["structuredContent"]
            found["tasks"] += inside["tasks"]
            self._doing.update(inside["doing"])
        return found

    def report(self) -> bool:
        """Print what was done and what has grown; return whether all is well."""
        print(json.dumps(dict(self.done.most_common())))
        quarter = len(self.samples) // 4
        early, late = self.samples[quarter : 2 * quarter], self.samples[-quarter:]
        deeds = [part[-1]["deeds"] - part[0]["deeds"] for part in (early, late)]
        busier = max(1.0, deeds[1] / deeds[0])
        print(f"deeds in the 2nd quarter {deeds[0]:g}, in the 4th {deeds[1]:g}")
        well = not self.complaints
        print(f"{'':14}{'at first':>10}{'2nd quarter':>14}{'4th quarter':>14}{'when over':>12}")
        for name, (share, amount) in NOISE.items():
            before, after = (statistics.median(each[name] for each in part) for part in (early, late))
            grows = after > before * (1 + share) * (busier if name in TRANSIENT else 1) + amount
            well = well and not grows
            first, verdict = self.samples[0][name], "   GROWS" if grows else ""
            print(f"{name:14}{first:10.1f}{before:14.1f}{after:14.1f}{self.last[name]:12.1f}{verdict}")
        print(f"tasks in the end: {json.dumps(dict(self._doing.most_common()))}")
        for complaint in self.complaints[:5]:
            print(complaint)
        print(f"{len(self.complaints)} complaints")
        return well


@contextmanager
def sqlite_store(folder: Path) -> Iterator[tuple[str, Inventory]]:
    """Yield the URL of a store in a file, and a way to look into it."""
    file = folder / "soak.db"

    def inventory() -> tuple[float, float]:
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30) as connection:
            tables = ("keys", "streams", "entries", "messages")
            rows = sum(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables)
        connection.close()
        return rows, sum(each.stat().st_size for each in folder.glob("soak.db*")) / 1e6

    yield f"sqlite:///{file}", inventory


@contextmanager
def redis_store(folder: Path) -> Iterator[tuple[str, Inventory]]:
    """Yield the URL of a Valkey server, and a way to look into it."""
    with Valkey(folder) as valkey:

        def inventory() -> tuple[float, float]:
            memory: dict[str, Any] = valkey.ask("INFO", "memory")
            return valkey.ask("DBSIZE"), memory["used_memory"] / 1e6

        yield valkey.url, inventory


STORES = {"sqlite": sqlite_store, "redis": redis_store}


def main(kinds: list[str]) -> int:
    """Run on each kind of store; returns the exit code."""
    well = True
    for kind in kinds or list(STORES):
        seed = int(os.environ.get("ENFILADE_SEED") or random.SystemRandom().getrandbits(32))
        print(f"{kind}: {SECONDS:g} s, ENFILADE_SEED={seed}", flush=True)
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            url, inventory = stack.enter_context(STORES[kind](folder))
            receiver = stack.enter_context(OtlpReceiver(most=1000))
            env = {
                **receiver.variables,
                "FAULTY_LOG_LEVEL": "info",
                "FAULTY_AUDIT": str(folder / "audit.jsonl"),
            }
            soak = Soak(stack.enter_context(faulty_cluster(3, url, env, **SETTINGS)), inventory, seed)
            soak.run(SECONDS)
            well = soak.report() and well
            print(f"{len(receiver.spans)} spans, {(folder / 'audit.jsonl').stat().st_size / 1e6:.0f} MB of audit")
            assert receiver.spans, "nothing was traced"
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
