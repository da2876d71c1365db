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

from automl_ad.errors import AutomlAdError


def main() -> None:
    """Collects what is missing, judges what is there."""
    arguments = _parser().parse_args()
    folder = arguments.output / "facts"
    if not arguments.judge_only:
        for seed in (int(text) for text in arguments.seeds.split(",")):
            for name in arguments.sets or _sets_in(arguments.data):
                if not Facts.path(folder, name, seed).is_file():
                    print(f"{name}, seed {seed}: {_collected(name, seed, arguments, folder)}", flush=True)
    try:
        found = [Facts.load(path) for path in sorted(folder.glob("*.json"))]
    except AutomlAdError as error:
        sys.exit(str(error))
    if not found:
        sys.exit(f"{arguments.output} holds no finished study: name a folder of data sets in MVTec layout.")
    page = write_report(judge(found, 0), f"python studies/fidelity {shlex.join(sys.argv[1:])}", arguments.output)
    print(page.read_text())


def _sets_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if (path / "train" / "good").is_dir())


def _collected(name: str, seed: int, arguments: argparse.Namespace, folder: Path) -> str:
    """Searches and judges one set; one that cannot be searched is told and must not cost the others."""
    try:
        collect(arguments.data / name, seed, arguments).save(folder)
    except AutomlAdError as error:
        return f"left out: {error}"
    return "done"


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
