"""Counts the instructions of an operation, which are the same on a busy machine as on an idle one.

valgrind's cachegrind counts what a process executes in user space. Each figure is run with a few
operations and with many: start and end are the same in both, so the difference is the operations'.
Cachegrind and not callgrind, whose shadow of the call stack means nothing where fibers switch. Only
figures of one worker: valgrind runs threads by turns, and they would wait longer than they do.
"""

import os
import re
import shutil
import subprocess
import sys

from compare_micro import split_name

# Multiples of what every figure does at once; the most is 64 turns of 512 fibers.
FEW, MANY = 65536, 5 * 65536

FIGURES = {
    ("yield", "2"),
    ("yield", "512"),
    ("spawn_join", ""),
    ("channel_rendezvous", ""),
    ("channel_buffered", "128"),
    ("mutex", ""),
    ("timer_arm_cancel", "with"),
    ("timer_arm_cancel", "without"),
}

TOTAL = re.compile(r"^==\d+== I +refs: +([\d,]+)", re.MULTILINE)


class Failure(Exception):
    pass


def version():
    """Returns: the name and version of valgrind, or None where it is not installed."""
    if not shutil.which("valgrind"):
        return None
    done = subprocess.run(["valgrind", "--version"], stdout=subprocess.PIPE, text=True)
    return done.stdout.strip() or "valgrind"


def environment(operations):
    """Makes aramid_bench do so many operations of each figure, which it then names in the figure."""
    return {**os.environ, "ARAMID_BENCH_OPERATIONS": str(operations)}


def counted_names(listing):
    """Returns: (figure, who, variant) -> name without what Google Benchmark adds to it."""
    names = {}
    for line in listing.split():
        parts = split_name(line)
        if parts and (parts[0], parts[2]) in FIGURES:
            names[parts] = line.partition("/iterations:")[0]
    # valgrind hides the kernel's vDSO, so a clock read is a system call under it.
    return {parts: name for parts, name in names.items() if not parts[1].startswith("clock")}


def read_total(report):
    found = TOTAL.search(report)
    if not found:
        raise Failure("valgrind gave no count")
    return int(found.group(1).replace(",", ""))


def count(program, name, operations):
    """Returns: the instructions of a whole run."""
    done = subprocess.run(
        [
            "valgrind",
            "--tool=cachegrind",
            "--cache-sim=no",
            "--cachegrind-out-file=/dev/null",
            program,
            f"--benchmark_filter=^{re.escape(name)}/iterations:{operations}/",
        ],
        env=environment(operations),
        timeout=300,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode != 0 or name not in done.stdout:
        raise Failure(f"{name} does not run under valgrind")
    return read_total(done.stderr)


def by_figure(counts):
    """`counts`: (figure, who, variant) -> count. Returns: (figure, variant) -> who -> count."""
    found = {}
    for (figure, who, variant), value in counts.items():
        if variant == "without":
            continue
        if variant == "with":
            value, variant = value - counts[figure, who, "without"], ""
        found.setdefault((figure, variant), {})[who] = value
    return found


def measure(program):
    """Returns: (figure, variant) -> who -> instructions of an operation."""
    listing = subprocess.run(
        [program, "--benchmark_list_tests"],
        env=environment(FEW),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    print("compare: counting instructions", file=sys.stderr)
    counts = {}
    for parts, name in counted_names(listing.stdout).items():
        few, many = (count(program, name, operations) for operations in (FEW, MANY))
        counts[parts] = (many - few) / (MANY - FEW)
    return by_figure(counts)


def self_test():
    assert read_total("==1== \n==1== I   refs:      6,373,281\n") == 6373281
    assert read_total("==12== I refs:        1,000\n") == 1000
    listing = """yield/aramid/iterations:65536/real_time yield/aramid/32768/iterations:65536/real_time
        timer_arm_cancel/clock_read/iterations:65536/real_time mutex/aramid/iterations:65536/real_time"""
    assert counted_names(listing) == {
        ("yield", "aramid", "2"): "yield/aramid",
        ("mutex", "aramid", ""): "mutex/aramid",
    }
    counts = {("mutex", "go", ""): 9, ("t", "aramid", "with"): 50, ("t", "aramid", "without"): 20}
    assert by_figure(counts) == {("mutex", ""): {"go": 9}, ("t", ""): {"aramid": 30}}
