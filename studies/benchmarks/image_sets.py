"""What the benchmarks over image sets share: their arguments, and a walk that goes on where it stopped."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def parser_of(description: str | None, time_budget: str) -> argparse.ArgumentParser:
    """The arguments that every such benchmark takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of data sets in MVTec layout")
    parser.add_argument("sets", nargs="*", help="names of sets; all by default")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--weights-dir", type=Path)
    parser.add_argument("--time-budget", default=time_budget)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def walk(
    arguments: argparse.Namespace,
    run_set: Callable[[Path, argparse.Namespace], Row],
    told: Callable[[Row], str],
    markdown: Callable[[list[Row]], str],
) -> None:
    """Runs the sets that have no row in the output folder yet, then writes and prints the table of all."""
    names = arguments.sets or sorted(path.name for path in arguments.data.iterdir() if path.is_dir())
    rows = []
    for name in names:
        path = arguments.output / f"{name}.json"
        if not path.is_file():
            arguments.output.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(run_set(arguments.data / name, arguments), indent=1))
        rows.append(json.loads(path.read_text()))
        print(told(rows[-1]), flush=True)
    table = markdown(rows)
    (arguments.output / "table.md").write_text(table + "\n")
    print(table)


def table_of(lines: list[list[str]]) -> str:
    """Lines of cells as a Markdown table, heads first."""
    heads, *body = lines
    return "\n".join("| " + " | ".join(line) + " |" for line in [heads, ["---"] * len(heads), *body])
