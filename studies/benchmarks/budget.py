"""How well searches keep their time budget: wall time of the search over the budget, by set and working size.

    python studies/benchmarks/budget.py FOLDER_OF_GOOD_IMAGES ... [--budgets 20,60,300] [--sizes 256,512,1024]

Each search is a process of its own with the preset quick and the embedded backbone. How long loading the library takes
is measured once and printed first; it is part of the process, not of the search. ``suite`` is what a short time left:
anomalies of a cell, severities, families.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from image_sets import table_of

HEADS = ["set", "size", "budget, s", "search, s", "ratio", "process, s", "its CPU, s", "trials", "suite"]


def seconds_to_start() -> float:
    """Seconds until the library is loaded."""
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", "import automl_ad.api"], check=True)
    return time.monotonic() - start


def searched(images: Path, size: int, budget: int) -> tuple[float, float, dict[str, Any]]:
    """Wall time and CPU time of the process in seconds, and its answer."""
    with tempfile.TemporaryDirectory() as workspace:
        options = {"--backbones": "embedded", "--time-budget": f"{budget}s", "--image-size": size, "--name": "budget"}
        words = [str(word) for option in (options | {"--workspace": workspace}).items() for word in option]
        start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        command = ["automl-ad", "search", str(images), *words, "--quiet", "--json"]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return time.monotonic() - start, cpu, json.loads(run.stdout)


def line_of(images: Path, size: int, budget: int) -> list[str]:
    """One line of the table."""
    wall, cpu, answer = searched(images, size, budget)
    name = "/".join(part for part in images.parts[-3:] if part not in ("train", "good"))
    trials = f"{answer['trials']['complete']} + {answer['averages']}"
    left = answer["proxy"].get("reduced")
    suite = "full" if left is None else f"{left['per_cell']}, {len(left['severities'])}, {len(left['families'])}"
    took = [f"{answer['wall_s']:.0f}", f"{answer['wall_s'] / budget:.2f}", f"{wall:.0f}", f"{cpu:.0f}"]
    return [name, str(size), str(budget), *took, trials, suite]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--budgets", default="20,60,300")
    parser.add_argument("--sizes", default="256,512,1024")
    given = parser.parse_args()
    print(f"Loading the library takes {seconds_to_start():.1f} s.")
    lines = [HEADS]
    for budget in map(int, given.budgets.split(",")):
        for images in given.images:
            for size in map(int, given.sizes.split(",")):
                lines.append(line_of(images, size, budget))
                print(*lines[-1], sep="\t", file=sys.stderr, flush=True)
    print(table_of(lines))


if __name__ == "__main__":
    main()
