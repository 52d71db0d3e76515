"""Reads 4 KiB blocks of a file at random offsets, ours (bench/file) and fio by turns, on one file.

The floor is the better of fio's pread (psync: as many threads as reads in flight) and its io_uring
(one thread). All are pinned to one CPU; the rows marked so have all CPUs. fio does what it can do
cheaper than a program that wants to know its data: no verification, no map of blocks, no clock.
"""

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from compare_report import Row, Target
from compare_steal import undisturbed

BLOCK_BYTES = 4096
FILE_BYTES = 256 << 20  # several times what a CPU's caches hold
DEPTHS = (1, 16)
WARMUP_SECONDS = 0.2

PLACES = {"cached": "page cache", "tmpfs": "tmpfs", "direct": "O_DIRECT"}


@dataclass
class Reader:
    who: str
    program: object  # ours, or None: fio
    engine: str = ""  # fio's
    pinned: bool = True  # to one CPU


class Failure(Exception):
    pass


def fio_version():
    """Returns: the name and version of fio, or None where it is not installed."""
    if not shutil.which("fio"):
        return None
    done = subprocess.run(["fio", "--version"], stdout=subprocess.PIPE, text=True)
    return done.stdout.strip() or "fio"


def choose_readers(ours, fio):
    readers = []
    if fio:
        readers += [
            Reader("raw_fio_pread", None, "psync"),
            Reader("raw_fio_uring", None, "io_uring"),
            Reader("raw_fio_pread_default", None, "psync", pinned=False),
            Reader("raw_fio_uring_default", None, "io_uring", pinned=False),
        ]
    if ours:
        readers += [Reader("aramid", ours), Reader("aramid_default", ours, pinned=False)]
    return readers


def memory_directory():
    """Returns: a directory in a tmpfs with room for the file, or None."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    for directory in (mount[1] for mount in mounts if mount[2] == "tmpfs"):
        with contextlib.suppress(OSError):
            writable = os.access(directory, os.W_OK | os.X_OK)
            if writable and shutil.disk_usage(directory).free > 2 * FILE_BYTES:
                return directory
    return None


def fill(path):
    part = os.urandom(1 << 20)
    with open(path, "wb") as out:
        for _ in range(FILE_BYTES // len(part)):
            out.write(part)
        out.flush()
        os.fsync(out.fileno())


def takes_direct(path):
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        return False
    return True


@contextlib.contextmanager
def files(build_dir):
    """Gives: place -> path, and notes on the places that this machine does not have."""
    with contextlib.ExitStack() as stack:

        def make_in(directory):
            path = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="compare-file-", dir=directory)
            )
            fill(f"{path}/data")
            return f"{path}/data"

        paths, notes = {"cached": make_in(build_dir)}, []
        if takes_direct(paths["cached"]):
            paths["direct"] = paths["cached"]
        else:
            notes.append("O_DIRECT is left out: the build directory's file system has none.")
        if memory := memory_directory():
            paths["tmpfs"] = make_in(memory)
        else:
            notes.append("tmpfs is left out: there is none with enough room.")
        yield {place: paths[place] for place in PLACES if place in paths}, notes


def prepare(place, path):
    """Sees to it that the page cache has all of the file, or with O_DIRECT nothing."""
    with open(path, "rb", buffering=0) as file:
        if place == "direct":
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        else:
            while file.read(1 << 20):
                pass


def milliseconds(seconds):
    """As fio takes it. A fraction of a second is 0 to it, which means: all of the file."""
    return f"{round(seconds * 1000)}ms"


def fio_command(engine, path, place, depth, seconds, cpus):
    if engine == "psync":
        load = [f"--numjobs={depth}"]
    else:
        jobs = min(cpus, depth)
        load = [f"--numjobs={jobs}", f"--iodepth={depth // jobs}"]
    clock = ["--gtod_reduce=1"]
    if place == "direct":  # the clock costs nothing beside a device
        clock = ["--disable_slat=1", "--disable_bw_measurement=1", "--lat_percentiles=0"]
    words = (
        f"--name=read --rw=randread --bs={BLOCK_BYTES} --ioengine={engine} --thread "
        f"--time_based --runtime={milliseconds(seconds)} --norandommap "
        f"--ramp_time={milliseconds(WARMUP_SECONDS)} "
        f"--randrepeat=0 --invalidate=0 --group_reporting --disk_util=0 --output-format=json "
        f"--direct={int(place == 'direct')}"
    )
    return ["fio", f"--filename={path}", *words.split(), *load, *clock]


def read_fio(document):
    job = document["jobs"][0]
    reads = job["read"]
    if not reads["total_ios"] or job.get("error"):
        raise Failure("fio has read nothing")
    # Percent of the time of all jobs together, in milliseconds.
    cpu = (job["usr_cpu"] + job["sys_cpu"]) / 100 * job["job_runtime"] * 1000
    percentiles = reads["clat_ns"].get("percentile", {})
    return {
        "rate": reads["iops"],
        "cpu": cpu / reads["total_ios"],
        "p50": percentiles["50.000000"] / 1000 if percentiles else None,
        "p99": percentiles["99.000000"] / 1000 if percentiles else None,
    }


def our_command(program, path, place, depth, seconds, pinned):
    words = (
        f"--depth {depth} --workers {int(pinned)} --seconds {seconds} "
        f"--warmup {WARMUP_SECONDS} --json"
    )
    # As fio: a device's answers are timed, all of them, others hardly at all.
    clock = ["--direct", "--time-every", "1"] if place == "direct" else ["--time-every", "64"]
    return [program, path, *words.split(), *clock]


def read_ours(document):
    return {
        "rate": document["reads_per_second"],
        "cpu": document["cpu_us_per_read"],
        "p50": document["latency_us"]["p50"],
        "p99": document["latency_us"]["p99"],
    }


def run(reader, place, path, depth, seconds):
    cpus = sorted(os.sched_getaffinity(0))
    used = cpus[:1] if reader.pinned else cpus
    if reader.program:
        command = our_command(reader.program, path, place, depth, seconds, reader.pinned)
    else:
        command = fio_command(reader.engine, path, place, depth, seconds, len(used))
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=seconds + 120,
        preexec_fn=lambda: os.sched_setaffinity(0, used),
    )
    where = f"{reader.who}, {PLACES[place]}, depth {depth}"
    if done.returncode != 0:
        raise Failure(f"{where}: {(done.stderr or done.stdout).strip()}")
    try:
        document = json.loads(done.stdout)
    except ValueError:
        raise Failure(f"{where}: said: {done.stdout[:200].strip() or 'nothing'}") from None
    return read_ours(document) if reader.program else read_fio(document)


def middle(values):
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def measure(readers, build_dir, rounds, seconds):
    """Returns: (place, depth, who) -> medians over the rounds, and notes."""
    taken = {}

    def run_from_the_start(reader, place, path, depth):
        prepare(place, path)
        return run(reader, place, path, depth, seconds)

    with files(build_dir) as (paths, notes):
        for number in range(rounds):
            print(f"compare: round {number + 1} of {rounds}: files", file=sys.stderr)
            for place, path in paths.items():
                for depth in DEPTHS:
                    for reader in readers:
                        if depth == 1 and not reader.pinned:
                            continue
                        taken.setdefault((place, depth, reader.who), []).append(
                            undisturbed(run_from_the_start, reader, place, path, depth)
                        )
    medians = {
        key: {name: middle(run[name] for run in runs) for name in runs[0]}
        for key, runs in taken.items()
    }
    return medians, notes


def make_rows(results):
    floors = ["raw_fio_pread", "raw_fio_uring"]
    one_cpu = {who: who for who in (*floors, "aramid")}
    all_cpus = {f"{who}_default": who for who in (*floors, "aramid")}
    target = Target("≥ 0.95 × fio's reads", of_floor=1 / 0.95)
    rows = []
    for place, shown_place in PLACES.items():
        for depth, shown, label in (
            (1, one_cpu, "depth 1"),
            (16, one_cpu, "depth 16"),
            (16, all_cpus, "depth 16, all CPUs"),
        ):
            measured = {shown[who]: results.get((place, depth, who)) for who in shown}
            measured = {who: run for who, run in measured.items() if run}
            if not measured:
                continue
            figure = f"file, {shown_place}, {label}"
            times = {who: 1e9 / run["rate"] for who, run in measured.items()}
            cpu = {who: run["cpu"] for who, run in measured.items()}
            more = {"floors": floors, "group": "files"}
            rows.append(Row(f"{figure}: a read", "ns", times, target, **more))
            rows.append(Row(f"{figure}: CPU a read", "us", cpu, in_plot=False, **more))
    return rows


def self_test():
    assert [len(choose_readers(ours, fio)) for ours, fio in ((0, 0), (1, 0), (0, 1), (1, 1))] == [
        0,
        2,
        4,
        6,
    ]
    assert "--iodepth=16" in fio_command("io_uring", "f", "cached", 16, 1, 1)
    assert "--iodepth=8" in fio_command("io_uring", "f", "cached", 16, 1, 2)
    assert "--numjobs=16" in fio_command("psync", "f", "direct", 16, 1, 1)
    assert "--gtod_reduce=1" in fio_command("psync", "f", "tmpfs", 1, 1, 1)
    assert "--gtod_reduce=1" not in fio_command("psync", "f", "direct", 1, 1, 1)
    assert our_command("p", "f", "cached", 1, 1, False)[4:6] == ["--workers", "0"]
    assert "--runtime=300ms" in fio_command("psync", "f", "cached", 1, 0.3, 1)
    read = {"total_ios": 1000, "iops": 2000.0, "clat_ns": {}}
    job = {"usr_cpu": 10.0, "sys_cpu": 40.0, "job_runtime": 100, "read": read}
    quiet = read_fio({"jobs": [job]})
    assert quiet == {"rate": 2000.0, "cpu": 50.0, "p50": None, "p99": None}
    read["clat_ns"] = {"percentile": {"50.000000": 3000, "99.000000": 9000}}
    assert read_fio({"jobs": [job]})["p99"] == 9.0
    assert middle([None, None]) is None and middle([3, 1, 2]) == 2
    slow, fast = ({**quiet, "rate": rate} for rate in (1e5, 2e5))
    results = {("cached", 1, "raw_fio_pread"): fast, ("cached", 1, "aramid"): fast}
    results |= {("direct", 16, "raw_fio_uring"): fast, ("direct", 16, "aramid"): slow}
    rows = {row.figure: row for row in make_rows(results)}
    assert len(rows) == 4
    good = rows["file, page cache, depth 1: a read"]
    assert good.held() is True and good.values["aramid"] == 5000
    assert rows["file, O_DIRECT, depth 16: a read"].held() is False
    assert rows["file, O_DIRECT, depth 16: CPU a read"].held() is None
    alone = make_rows({("tmpfs", 1, "aramid"): fast})
    assert len(alone) == 2 and alone[0].held() is None
