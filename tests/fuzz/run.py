"""Damages files of every kind and counts what happens:

    python tests/fuzz/run.py --count 10000 --output results/fuzz.csv

Mutant `n` is always the same file. Mutants are read in a child process, so that one that ends its process is counted,
and the next is read by another. Exit code 1 if there was any fault.
"""

import argparse
import csv
import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1] / "src")]

from harness import FAULTS, OUTCOMES, Harness  # noqa: E402
from other_seeds import OTHERS  # noqa: E402
from seeds import SCANS, SELF_TEST  # noqa: E402

SEEDS = {**SCANS, **OTHERS}
ALL = {**SEEDS, **SELF_TEST}
HANG_SECONDS = 30


def work(names: list[str], first: int, last: int, salt: int) -> None:
    """In the child: one line of JSON before and after each mutant."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (12 * 2**30, 12 * 2**30))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what native libraries print
    os.dup2(1, 2)
    with tempfile.TemporaryDirectory() as folder:
        made: dict[str, Harness] = {}
        for number in range(first, last):
            name = names[number % len(names)]
            if name not in made:
                made[name] = Harness(name, ALL[name], Path(folder) / str(len(made)))
            print(json.dumps([number, name]), file=answers, flush=True)
            print(json.dumps([number, name, *made[name].judge(number, salt)]), file=answers, flush=True)


def run(names: list[str], count: int, salt: int = 0) -> list[tuple[str, int, str, str]]:
    """(kind, number, outcome, detail) of every mutant."""
    results: list[tuple[str, int, str, str]] = []
    first = 0
    while first < count:
        command = [sys.executable, __file__, "--child", json.dumps([names, first, count, salt])]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
            begun, hung = _follow(child, results)
            code = child.wait()
        if begun is None and code:
            raise SystemExit(f"the child ended with code {code} before its first mutant; try --child {command[-1]!r}")
        if begun is not None:
            outcome = "hang" if hung else "process death"
            _add(results, begun[1], begun[0], outcome, f"exit code {code}")
        first = max((number for _, number, _, _ in results), default=-1) + 1
    return results


def _add(results: list, kind: str, number: int, outcome: str, detail: str) -> None:
    results.append((kind, number, outcome, detail))
    if outcome in FAULTS:
        print(f"--- {kind}, mutant {number}: {outcome}: {detail}", flush=True)


def _follow(child: subprocess.Popen, results: list) -> tuple[tuple[int, str] | None, bool]:
    """Collect answers until the child ends or hangs; the mutant that it had begun, and whether it hung."""
    begun, buffer = None, b""
    assert child.stdout
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(HANG_SECONDS):
                child.kill()
                return begun, True
            data = os.read(child.stdout.fileno(), 2**16)
            if not data:
                return begun, False
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                number, name, *outcome = json.loads(line)
                if outcome:
                    _add(results, name, number, *outcome)
                begun = None if outcome else (number, name)


def table(results: list[tuple[str, int, str, str]]) -> list[dict[str, object]]:
    """One row for each kind, and one for all."""
    rows = []
    for kind in [*dict.fromkeys(one[0] for one in sorted(results, key=lambda one: one[1])), "all"]:
        counts = Counter(outcome for name, _, outcome, _ in results if kind in (name, "all"))
        rows.append({"kind": kind, "mutants": counts.total(), **{outcome: counts[outcome] for outcome in OUTCOMES}})
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="number of mutants of all kinds together")
    parser.add_argument("--salt", type=int, default=0, help="another number gives other mutants")
    parser.add_argument("--kinds", nargs="*", default=list(SEEDS), help="kinds of files; all if absent")
    parser.add_argument("--output", type=Path, help="CSV with a row for each kind")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        work(*json.loads(options.child))
        return 0
    results = run(options.kinds, options.count, options.salt)
    rows = table(results)
    if options.output:
        with options.output.open("w", newline="") as file:
            file.write(f"# python tests/fuzz/run.py --count {options.count} --salt {options.salt}\n")
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    for row in rows:
        print(", ".join(f"{key} {value}" for key, value in row.items() if value or key == "mutants"))
    return int(any(rows[-1][outcome] for outcome in FAULTS))


if __name__ == "__main__":
    sys.exit(main())
