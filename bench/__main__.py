"""`python -m bench [names]`: measure, print each ratio beside its bar, update docs/explanation/performance.md."""

from __future__ import annotations

import argparse
import ast
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.page import RESULTS, keep_result, read_row, table_cells, write_page
from bench.processes import call_fresh
from bench.rows import NotHereError, Row

FOLDER = Path(__file__).parent
LONGEST = 4 * 3600  # seconds until a measurement is stopped; the whole grid, run twice, takes about two hours


def find_measurements() -> dict[str, str]:
    """Find every module of this folder that measures: name -> heading."""
    trees = {path.stem: ast.parse(path.read_text()) for path in sorted(FOLDER.glob("*.py"))}
    return {
        name: (ast.get_docstring(tree) or name).splitlines()[0]
        for name, tree in trees.items()
        if any(isinstance(node, ast.FunctionDef) and node.name == "measure" for node in tree.body)
    }


def run(name: str, title: str) -> bool:
    """Measure in a separate process, then print and keep the rows. Returns whether every bar was met."""
    print(f"\n{title}", flush=True)
    started = time.monotonic()
    rows: list[Row] = []
    failure = ""
    try:
        rows = [read_row(row) for row in call_fresh(f"bench.{name}:measure", timeout=LONGEST)]
    except Exception as error:  # a measurement that fails must not stop the others
        failure = str(error)
        print(f"  not measured: {failure}")
    for row in rows:
        what, ours, other, unit, ratio, bar, verdict, note = table_cells(row)
        print(f"  {what}: {ours} {unit}{f' against {other}' if other else ''}; ratio {ratio} {bar} {verdict}  {note}")
    if not (NotHereError.__name__ in failure and (RESULTS / f"{name}.json").exists()):
        keep_result(
            name, title, rows, failure.removeprefix(f"bench.rows.{NotHereError.__name__}: "), time.monotonic() - started
        )
    return not failure and all(row.verdict != "not met" for row in rows)


def main(arguments: Sequence[str]) -> int:
    known = find_measurements()
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *known], metavar="name", help=", ".join(known))
    names = parser.parse_args(arguments).names or list(known)
    met = [run(name, known[name]) for name in names]
    write_page()
    print(f"\n{sum(met)} of {len(met)} measurements met every bar; the tables: docs/explanation/performance.md")
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
