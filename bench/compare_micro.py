"""Runs aramid_bench and its Go twin by turns and makes one row of each figure."""

import json
import re
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace

from compare_report import Row, Target, display_name, is_floor, is_ours

# (figure, variant); the variant "" stands for all that are not named.
TARGETS = {
    ("yield", "2"): Target("≤ 1.6 × raw switch", of_floor=1.6),
    ("yield", ""): Target("below raw switch", of_floor=1.0),
    ("spawn_join", ""): Target("≤ 60 ns", at_most=60),
    ("channel_rendezvous", ""): Target("≤ 35 ns", at_most=35),
    ("channel_buffered", ""): Target("≤ 15 ns", at_most=15),
    ("mutex", ""): Target("≤ std::mutex", of_floor=1.0),
    ("semaphore", ""): Target("≤ std::counting_semaphore", of_floor=1.0),
    ("shared_mutex", ""): Target("≤ std::shared_mutex", of_floor=1.0),
    ("timer_arm_cancel", ""): Target("≤ 40 ns", at_most=40),
    ("deadline_scope", ""): Target("≤ 50 ns", at_most=50),
    ("skynet", ""): Target("≤ 1/5 of Go", of_peer=("go", 0.2)),
    ("spread", "2"): Target("≥ 0.97 × threads' throughput", of_floor=1 / 0.97),
    ("spread", "8"): Target("≥ 0.85 × threads' throughput", of_floor=1 / 0.85),
    ("ticker_p99", ""): Target("< 1 ms", at_most=1e6),
}

# Figures of one and the same work on several threads, and what their targets say of one thread.
SCALES = {
    "skynet": "faster than 1 thread",
    "spread": "≤ 1 thread",
    "parallel_sum": "≤ 1 thread",
    "pairs": "≤ 1 thread",
}

# What a figure without a variant means.
PLAIN_VARIANT = {"yield": "2", "skynet": "1", "channel_buffered": "128"}

LABELS = {
    "yield": "yield, {} fibers",
    "spawn_join": "spawn + join",
    "channel_rendezvous": "rendezvous channel, an item",
    "channel_buffered": "buffered channel ({}), an item",
    "mutex": "uncontended mutex lock + unlock",
    "semaphore": "uncontended semaphore acquire + release",
    "shared_mutex": "uncontended shared lock + unlock",
    "semaphore_handoff": "hand-off by semaphores",
    "event_handoff": "hand-off by events",
    "cancel_parked": "cancel + join of 100,000 parked fibers, a fiber",
    "select_4": "select of 4 channels, an item",
    "blocking": "a call on an offload thread and back",
    "pool_map": "a pool of 100, an input mapped",
    "timer_arm_cancel": "timer arm + cancel",
    "deadline_scope": "deadline scope around a ready call",
    "skynet": "skynet, 1.1 M fibers, {} threads",
    "spread": "uneven work, {} threads, a piece",
    "parallel_sum": "fork and join of a sum, {} threads, a piece",
    "pairs": "32 pairs with a channel each, {} threads, an item",
    "mutex_contended": "contended mutex, 8 on 2 workers",
    "channel_many_to_one": "channel, 4 producers on 2 workers, an item",
    "thread_to_fiber": "question and answer, thread to fiber, on one CPU",
    "ticker_p99": "10 ms ticker beside a hog, p99 lateness",
}

NANOSECONDS = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}

# What Google Benchmark adds to a name.
DECORATION = re.compile(
    r"^(real_time|process_time|manual_time|(iterations|repeats|min_time|min_warmup_time):.*)$"
)


def split_name(name):
    """yield/aramid/512/real_time -> (yield, aramid, 512); nothing if it is not <figure>/<who>."""
    parts = [part for part in name.split("/") if not DECORATION.match(part)]
    if len(parts) < 2:
        return None
    figure, who, *arguments = parts
    variant = "/".join(argument.rsplit(":", 1)[-1] for argument in arguments)
    return figure, who, variant or PLAIN_VARIANT.get(figure, "")


def read_run(document):
    """Returns: (figure, variant) -> who -> median ns over the repetitions of one run."""
    times = {}
    for entry in document["benchmarks"]:
        parts = split_name(entry["name"])
        if parts is None or entry.get("run_type") != "iteration" or entry.get("error_occurred"):
            continue
        figure, who, variant = parts
        nanoseconds = entry["real_time"] * NANOSECONDS[entry.get("time_unit", "ns")]
        times.setdefault((figure, variant), {}).setdefault(who, []).append(nanoseconds)
    return {
        key: {who: statistics.median(values) for who, values in group.items()}
        for key, group in times.items()
    }


def best_of(runs):
    """The lowest of each figure's medians: what disturbs a measurement only makes it longer."""
    best = {}
    for run in runs:
        for key, group in run.items():
            for who, value in group.items():
                known = best.setdefault(key, {})
                known[who] = min(value, known.get(who, value))
    return best


def run_google_benchmark(program, quick):
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        subprocess.run(
            [
                program,
                f"--benchmark_min_time={0.02 if quick else 0.1}",
                "--benchmark_repetitions=3",
                "--benchmark_enable_random_interleaving=true",
                f"--benchmark_out={out.name}",
                "--benchmark_out_format=json",
            ],
            check=True,
            timeout=900,
            stdout=subprocess.DEVNULL,
        )
        return json.load(out)


def run_go(program, quick):
    done = subprocess.run(
        [program, "--repetitions", "3", "--seconds", "0.02" if quick else "0.1"],
        check=True,
        timeout=900,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout)


def order_of(key):
    figure, variant = key
    known = list(LABELS)
    position = known.index(figure) if figure in known else len(known)
    return position, figure, (len(variant), variant)


def label_of(figure, variant):
    shown = f"{int(variant):,}" if variant.isdigit() else variant
    label = LABELS.get(figure, figure.replace("_", " ") + (", {}" if variant else "")).format(shown)
    return label.replace(" 1 threads", " 1 thread")


def make_rows(best, with_ours=True, instructions=None):
    """`instructions`: (figure, variant) -> who -> count, where they have been counted."""
    rows = []
    for key in sorted(best, key=order_of):
        figure, variant = key
        group = best[key]
        if (
            with_ours
            and not any(is_ours(who) for who in group)
            and not any(is_floor(who) for who in group)
        ):
            continue  # a peer's figure that we do not have
        target = TARGETS.get(key) or TARGETS.get((figure, ""))
        one_thread = best.get((figure, "1"), {}).get("aramid")
        if figure in SCALES and variant != "1" and one_thread is not None:
            text = ", ".join([target.text, SCALES[figure]] if target else [SCALES[figure]])
            target = replace(target or Target(text), text=text, at_most=one_thread)
        values = {
            who: group[who]
            for who in sorted(group, key=lambda who: (not is_floor(who), is_ours(who), who))
        }
        rows.append(
            Row(
                figure=label_of(figure, variant),
                unit="ns",
                values=values,
                target=target,
                instructions=(instructions or {}).get(key, {}),
            )
        )
    return rows


def measure(programs, rounds, quick):
    """`programs`: (runner, path) pairs. Returns the rows."""
    runs = []
    for number in range(rounds):
        for runner, path in programs:
            print(f"compare: round {number + 1} of {rounds}: {path.name}", file=sys.stderr)
            runs.append(read_run(runner(path, quick)))
    return best_of(runs)


def self_test():
    assert split_name("yield/aramid") == ("yield", "aramid", "2")
    assert split_name("yield/aramid/512/real_time") == ("yield", "aramid", "512")
    assert split_name("skynet/go/workers:2/process_time/real_time") == ("skynet", "go", "2")
    assert split_name("lonely") is None
    entry = {"run_type": "iteration", "time_unit": "us"}
    run = read_run(
        {"benchmarks": [{**entry, "name": "mutex/aramid", "real_time": time} for time in (1, 9, 2)]}
    )
    assert run == {("mutex", ""): {"aramid": 2000}}
    assert best_of([{1: {"a": 5, "b": 3}}, {1: {"a": 4}}]) == {1: {"a": 4, "b": 3}}
    rows = make_rows(
        {
            ("yield", "2"): {"go": 50.0, "aramid": 9.0, "raw_context": 6.0},
            ("yield", "512"): {"aramid": 10.0, "raw_context": 20.0},
            ("other", ""): {"go": 1.0},
        },
        instructions={("yield", "2"): {"aramid": 180.0}},
    )
    assert [row.instructions for row in rows] == [{"aramid": 180.0}, {}]
    assert [row.figure for row in rows] == ["yield, 2 fibers", "yield, 512 fibers"]
    assert list(rows[0].values) == ["raw_context", "go", "aramid"]
    assert rows[0].held() is True and round(rows[0].ratio_to(rows[0].floor_names), 2) == 1.5
    skynet = make_rows(
        {("skynet", "1"): {"aramid": 9.0, "go": 50.0}, ("skynet", "2"): {"aramid": 9.5, "go": 50.0}}
    )
    assert [row.held() for row in skynet] == [True, False] and skynet[0].figure.endswith(
        " 1 thread"
    )
    pairs = make_rows({("pairs", n): {"aramid": 9.0} for n in "128"})
    assert [row.held() for row in pairs] == [None, True, True]
    assert [row.target.text for row in pairs[1:]] == ["≤ 1 thread"] * 2
    assert (
        label_of("yield", "32768") == "yield, 32,768 fibers"
        and label_of("new_one", "") == "new one"
    )
    assert display_name("some_peer") == "some peer"
