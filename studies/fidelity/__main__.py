"""Does the product choose what real defects would have chosen?

Searches every set and seed without its defects, judges all candidates by them, and then many ways to choose. Each
study is remembered, so that another way is judged in seconds:

    python studies/fidelity DATA [SET ...] --output OUT [--weights-dir WEIGHTS] [--seeds 0,1,2] [--preset quick]
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from collecting import collect
from facts import Facts
from judging import judge
from report import write_report


def main() -> None:
    """Collects what is missing, judges what is there."""
    arguments = _parser().parse_args()
    names = arguments.sets or sorted(path.name for path in arguments.data.iterdir() if path.is_dir())
    folder = arguments.output / "facts"
    for seed in (int(text) for text in arguments.seeds.split(",")):
        for name in names:
            if not Facts.path(folder, name, seed).is_file() and not arguments.judge_only:
                collect(arguments.data / name, seed, arguments).save(folder)
                print(f"{name}, seed {seed}: done", flush=True)
    found = [Facts.load(path) for path in sorted(folder.glob("*.json"))]
    page = write_report(judge(found, 0), f"python studies/fidelity {shlex.join(sys.argv[1:])}", arguments.output)
    print(page.read_text())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of data sets in MVTec layout")
    parser.add_argument("sets", nargs="*", help="names of sets; all by default")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--weights-dir", type=Path)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--methods", help="names with commas; those of the preset by default")
    parser.add_argument("--backbones", help="likewise")
    parser.add_argument("--trials", type=int)
    parser.add_argument("--time-budget", default="20m")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--judge-only", action="store_true", help="leave sets out that were not searched yet")
    return parser


if __name__ == "__main__":
    main()
