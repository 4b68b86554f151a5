"""Measure Enfilade beside the limit, the official SDK and FastMCP: `make bench`, or by hand

    python benchmarks/run.py [--rounds N] [--seconds S] [--only NAME,...] [--no-peers] [--beside NAME=COMMAND]
    python benchmarks/run.py --quick       two short rounds of the most important rows, under a minute
    python benchmarks/run.py --saved       write the page and the picture again, from the last whole run

A whole run prints its tables, and writes `docs/performance.md` and `docs/performance.svg`. The exit code is 1
if a bar does not hold. The easy thing to get wrong is the machine: another program on it shows in every figure,
so look at the load that is printed first.
"""

import argparse
import contextlib
import os
import platform
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from awake import processors_awake
from beside import all_rows, rows_beside
from environments import BENCH, OURS, PEERS, ROOT, THEIRS, collector, install_peers, python_of, valkey, versions
from idle import allow_files
from load import find_wrk
from plot import write_plot
from processes import BenchError, cores
from report import bars_table, broken_bars, group_tables, write_page
from results import Results
from rounds import Rounds
from rows import Row

PAGE: Final = ROOT / "docs" / "performance.md"
PLOT: Final = ROOT / "docs" / "performance.svg"
SAVED: Final = BENCH / "results.json"
_QUICK: Final = (
    "calls/limit-protocol",
    "calls/enfilade",
    "calls/enfilade-authorized",
    "calls/enfilade-order",
    "stateless/limit-protocol",
    "stateless/enfilade",
    "step/limit-protocol",
    "step/enfilade",
)
_BUSY: Final = 0.5  # load average from which on somebody else is at work here


def main() -> int:
    """Run, and return the exit code: 0, 1 where a bar does not hold, 2 where nothing could be measured."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no server outlives this program
    try:
        rows = all_rows(rows_beside(options.beside))
        results = Results.load(SAVED) if options.saved else _measured(options, _chosen(options, rows))
    except (BenchError, FileNotFoundError) as problem:
        print(f"bench: {problem}", file=sys.stderr)
        return 2
    print(f"{group_tables(results, rows)}\n\n{bars_table(results)}")
    if options.whole:
        if not options.saved:
            results.save(SAVED)
        write_plot(PLOT, results)
        write_page(PAGE, results)
    broken = broken_bars(results)
    if broken:
        print(f"\n{len(broken)} bars do not hold: {'; '.join(bar.what for bar in broken)}", file=sys.stderr)
    return 1 if broken else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/run.py", description="Measure Enfilade beside others.")
    parser.add_argument("--rounds", type=int, help="how often each row is measured (5)")
    parser.add_argument("--seconds", type=int, help="how long a row is under load in each round (3)")
    parser.add_argument("--only", default="", metavar="NAME,...", help="groups, servers, or rows as GROUP/SERVER")
    parser.add_argument("--no-peers", action="store_true", help="without the servers of others")
    parser.add_argument(
        "--beside",
        action="append",
        default=[],
        metavar="NAME[@stateless]=COMMAND",
        help="measure one more server, which has the tool echo(text) and listens at {port}; may be repeated",
    )
    parser.add_argument("--quick", action="store_true", help="a short run of a few rows, without peers")
    parser.add_argument("--saved", action="store_true", help="measure nothing; write the last whole run again")
    options = parser.parse_args()
    options.whole = not (options.only or options.no_peers or options.quick or options.beside)
    options.rounds = options.rounds or (2 if options.quick else 5)
    options.seconds = options.seconds or (2 if options.quick else 3)
    return options


def _chosen(options: argparse.Namespace, candidates: Sequence[Row]) -> list[Row]:
    """Return the rows to measure; those of `--beside` are always among them.

    Raises:
        BenchError: a name is that of none.
    """
    names = set(options.only.split(",") if options.only else _QUICK if options.quick else ())
    known = {name for row in candidates for name in (row.group, row.server, row.name)}
    if names - known:
        unknown, all_known = (", ".join(sorted(each)) for each in (names - known, known))
        raise BenchError(f"there is no {unknown}; known are {all_known}")
    rows = [row for row in candidates if not names or row.folder or names & {row.group, row.server, row.name}]
    return [row for row in rows if not (row.peer and (options.no_peers or options.quick))]


def _measured(options: argparse.Namespace, rows: Sequence[Row]) -> Results:
    find_wrk()
    server_core, load_core = cores()
    BENCH.mkdir(exist_ok=True)
    if any(row.peer for row in rows):
        install_peers()
    allow_files()
    os.sched_setaffinity(0, {load_core})
    busy = os.getloadavg()[0]
    if busy > _BUSY:
        print(f"bench: the load of this machine is {busy:.1f}: something else works here", file=sys.stderr)
    with contextlib.ExitStack() as stack:
        awake = stack.enter_context(processors_awake())
        if not awake:
            print("bench: processors may go to sleep, unless root runs this; figures vary more", file=sys.stderr)
        redis = None
        if any(row.redis for row in rows):
            with contextlib.suppress(BenchError):  # the rows that need it will say so
                redis = stack.enter_context(valkey())
        rounds = Rounds(
            rows,
            seconds=options.seconds,
            server_core=server_core,
            load_core=load_core,
            redis=redis,
            collector=stack.enter_context(collector()),
        )
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
            rounds.run(number)
    rounds.results.about = _about(options, rows, busy, awake)
    return rounds.results


def _about(options: argparse.Namespace, rows: Sequence[Row], busy: float, awake: bool) -> dict[str, str]:
    """Return what the figures belong to."""
    told = {"Enfilade and the limit": _versions(sys.executable, OURS)}
    told |= {peer: _versions(python_of(peer), THEIRS) for peer in PEERS if any(row.peer == peer for row in rows)}
    return {
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, "
        f"kept awake: {'yes' if awake else 'no'}, load before the run {busy:.1f}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        **told,
        "rounds": f"{options.rounds}, each with {options.seconds} s of load a row; median (least–most)",
    }


def _versions(python: str, packages: Sequence[str]) -> str:
    return ", ".join(f"{package} {version}" for package, version in versions(python, packages).items())


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    sys.exit(main())
