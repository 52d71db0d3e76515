"""The stalled load: some requests ask the server for 1 ms of CPU (net/stall.h).

Offered stall: the stall time that is asked for in a second, by all connections together, as a share of one
core: 160 % keeps 1.6 cores busy. (silk's figures of the same name are for each of its 16 cores, so its 160 %
is more than the machine has.) On a machine of two cores 160 % leaves 0.4 for the requests and the load.

Two loads. A closed loop: what is left beside the stalls goes to requests, so its throughput says how well the
machine is used. An open one: as many requests for every server, at times drawn in advance, and latencies that
count from those times.

Servers and load share all CPUs: with one set aside for the load there would be one for a server that is to be
measured on two, and nobody to help anybody. Nothing is pinned, so the kernel moves whoever is in the way.

- The closed load runs at the priority of the servers: one thread among three, of which the kernel
  gives each its share. If it went first (SCHED_FIFO), it would keep one CPU, and with it the server thread there, for
  as long as the other thread feeds it: more throughput for a server whose other thread takes all over, at the price
  of a tail (aramid at 160 %: 2 x the throughput of raw epoll and 1.8 x its p99.9).
- The open load needs little CPU and has a schedule to keep, so it does go first where that is allowed, as if it were
  another machine: what it says of latencies is then not its own waiting. How late it was is in the table.
"""

import os
import subprocess
import sys
from dataclasses import dataclass

from compare_net import RunningServer, Server, medians_of, run_net_load
from compare_report import Row, Target, display_name, table, with_unit
from compare_steal import undisturbed

REQUEST_BYTES = 64
OFFERED = (0.16, 0.64, 1.60)  # of one core
OPEN_RATE = 5_000  # requests a second
DRAIN_SECONDS = 40  # for what a machine that is busy with something else has let pile up
CLOSED, OPEN = "closed", "open"
CONNECTIONS = {CLOSED: 256, OPEN: 512}


@dataclass(frozen=True)
class Case:
    loop: str
    offered: float

    def words(self):
        words = f"--connections {CONNECTIONS[self.loop]} --size {REQUEST_BYTES}"
        words += f" --stalls {self.offered * 1000:.0f}"
        return words + (f" --rate {OPEN_RATE}" if self.loop == OPEN else "")


CASES = [Case(loop, offered) for loop in (CLOSED, OPEN) for offered in OFFERED]


def servers_of(raw_epoll, ours):
    """`ours`: nothing, or the program."""
    loops = str(len(os.sched_getaffinity(0)))
    stall = ["--stall", str(REQUEST_BYTES)]
    servers = [Server("raw_epoll_per_core", [raw_epoll, "--loops", loops, *stall], pinned=False)]
    if ours:
        servers.append(Server("aramid", [ours, *stall], pinned=False))
    return servers


def may_run_at_once():
    """Whether this process may give the load a priority above all others."""
    done = subprocess.run([sys.executable, "-c", "pass"], preexec_fn=run_at_once, check=False)
    return done.returncode == 0


def run_at_once():
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        os._exit(1)


def run_load(net_load, running, case, seconds, first):
    words = f"--seconds {seconds} --warmup 0.3 --timeout {DRAIN_SECONDS} {case.words()}"
    what = f"under {case.offered:.0%} of stalls"
    before = run_at_once if first and case.loop == OPEN else None
    return figures_of(
        run_net_load(net_load, running, words, what, seconds + 60, preexec_fn=before)
    )


def figures_of(result):
    all_of_them, unmarked = result["latency_us"], result["unmarked_latency_us"]
    late = result["sent_late_us"]
    return {
        "requests_per_second": result["requests_per_second"],
        "stalls_per_second": result["stalls"] / result["window_seconds"],
        "p50": all_of_them["p50"],
        "p99": all_of_them["p99"],
        "p99_9": all_of_them["p99_9"],
        "unmarked_p99_9": unmarked["p99_9"],
        "late_p99_9": late["p99_9"] if late else 0.0,
    }


def measure(net_load, servers, rounds, seconds):
    """Returns: (case, who) -> medians over the rounds; and notes."""
    first = may_run_at_once()

    def run(server, case):
        with RunningServer(server, None) as running:
            return run_load(net_load, running, case, seconds, first)

    taken = {(case, server.who): [] for case in CASES for server in servers}
    for number in range(rounds):
        print(f"compare: round {number + 1} of {rounds}: stalled load", file=sys.stderr)
        for case in CASES:
            for server in servers:
                taken[case, server.who].append(undisturbed(run, server, case))
    notes = []
    if not first:
        notes.append(
            "Stalled load: SCHED_FIFO is not allowed here (man 7 sched), so the latencies of the open loop "
            "have the load's own waiting in them."
        )
    return medians_of(taken), notes


def make_rows(results):
    more = Target("more than raw epoll", of_floor=1.01)
    no_worse = Target("no worse than raw epoll", of_floor=1.0)

    def row(case, label, name, unit, target, **options):
        values = {
            who: run[name] for (measured, who), run in results.items() if measured == case
        }
        figure = f"stalls of {case.offered:.0%} of a core: {label}"
        return Row(figure, unit, values, target, group="net", **options)

    rows = []
    for offered in OFFERED:
        closed, opened = Case(CLOSED, offered), Case(OPEN, offered)
        at_rate = f"p99.9 at {OPEN_RATE:,} requests/s"
        rows.append(
            row(
                closed, "requests/s", "requests_per_second", "/s", more,
                higher_is_better=True, in_plot=False,
            )  # fmt: skip
        )
        rows.append(row(closed, "p99.9, closed loop", "p99_9", "us", no_worse))
        rows.append(row(opened, at_rate, "p99_9", "us", no_worse))
    return [each for each in rows if each.values]


def full_table(results):
    cells = []
    for (case, who), run in results.items():
        cells.append(
            [
                f"{case.offered:.0%}",
                f"open, {OPEN_RATE:,} /s" if case.loop == OPEN else "closed",
                display_name(who),
                with_unit(run["requests_per_second"], "/s"),
                f"{run['stalls_per_second']:,.0f} /s",
                *(with_unit(run[name], "us") for name in ("p50", "p99", "p99_9", "unmarked_p99_9")),
                with_unit(run["late_p99_9"], "us") if case.loop == OPEN else "—",
            ]
        )
    return table(
        [
            "offered", "loop", "server", "requests/s", "stalls served", "p50", "p99", "p99.9",
            "p99.9 of the unmarked", "sent late, p99.9",
        ],  # fmt: skip
        ["--:", "---", "---", *["--:"] * 7],
        cells,
    )


def self_test():
    assert Case(CLOSED, 0.64).words() == "--connections 256 --size 64 --stalls 640"
    assert Case(OPEN, 1.6).words().endswith("--stalls 1600 --rate 5000")
    quantiles = {"p50": 100.0, "p99": 2000.0, "p99_9": 8000.0}
    result = {
        "requests_per_second": 50_000.0,
        "window_seconds": 2.0,
        "stalls": 1280,
        "latency_us": quantiles,
        "unmarked_latency_us": {**quantiles, "p99_9": 7000.0},
        "sent_late_us": None,
    }
    floor = figures_of(result)
    assert floor["stalls_per_second"] == 640 and floor["late_p99_9"] == 0
    opened = figures_of({**result, "sent_late_us": {"p99_9": 40.0}})
    results = {}
    for case in CASES:
        results[case, "raw_epoll_per_core"] = floor if case.loop == CLOSED else opened
        ours = {**floor, "requests_per_second": 50_400.0, "p99_9": 8000.0}
        results[case, "aramid"] = {**ours, "p99_9": 8100.0} if case.offered == 1.6 else ours
    rows = {row.figure: row for row in make_rows(results)}
    assert len(rows) == 9
    assert rows["stalls of 16% of a core: requests/s"].held() is True
    assert rows["stalls of 64% of a core: p99.9, closed loop"].held() is True
    assert rows["stalls of 160% of a core: p99.9, closed loop"].held() is False
    results[CASES[0], "aramid"]["requests_per_second"] = 50_100.0  # as many is not more
    rows = {row.figure: row for row in make_rows(results)}
    assert rows["stalls of 16% of a core: requests/s"].held() is False
    lines = full_table(results).splitlines()
    assert len(lines) == 2 + len(results) and all(line.count("|") == 11 for line in lines)
    only_floor = {key: run for key, run in results.items() if key[1] != "aramid"}
    assert all(row.held() is None for row in make_rows(only_floor))
    assert make_rows({}) == []
    words = servers_of("epoll", "ours")[0].command
    assert words[1] == "--loops" and int(words[2]) >= 1 and words[3:] == ["--stall", "64"]
