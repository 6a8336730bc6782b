"""Write ARCHITECTURE.md from the package's docstrings and its real imports: python docs/make_architecture.py [--check]

With --check nothing is written; the exit code is 1 if the file is out of date.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "ARCHITECTURE.md"
PACKAGE = "covbench"
HEAD = """\
# Architecture

`make architecture` writes this page from the docstrings and the imports of `src/covbench`; `make check` fails if it is
out of date. The import contracts in `pyproject.toml` keep the layers.

Data flows one way: `fetch → index → audit → split → prepare → train → predict → evaluate → compare → report`, with
`track` as a leaf. The Snakefile and `workflow/rules` say which files each stage reads and writes; `workflow/scripts`
call the packages below.
"""


def main() -> int:
    """Write the page, or say whether it is out of date."""
    page = describe_package(grimp.build_graph(PACKAGE, cache_dir=None))
    current = TARGET.read_text(encoding="utf-8") if TARGET.exists() else ""
    if "--check" not in sys.argv:
        TARGET.write_text(page, encoding="utf-8")
    elif page != current:
        print("ARCHITECTURE.md is out of date: run `make architecture` and commit it")
        return 1
    return 0


def describe_package(graph: grimp.ImportGraph) -> str:
    """The whole page as Markdown."""
    rooms = order_rooms(graph)
    parts = [HEAD, "## Packages\n", *(f"- {link_room(name)}: {purpose(name)}" for name in rooms)]
    parts += ["\n## Who imports whom\n", draw_arrows(graph, rooms)]
    parts += [describe_room(graph, name) for name in rooms]
    return "\n".join(parts) + "\n"


def order_rooms(graph: grimp.ImportGraph) -> list[str]:
    """The packages and modules at the root: each before those that it imports, neighbours by name."""
    waiting = {name: imported_rooms(graph, name) for name in graph.find_children(PACKAGE)}
    ordered: list[str] = []
    while waiting:
        imported = set().union(*waiting.values())
        free = sorted(name for name in waiting if name not in imported)
        if not free:
            sys.exit(f"these packages import each other in a circle: {', '.join(sorted(waiting))}")
        ordered += free
        for name in free:
            del waiting[name]
    return ordered


def imported_rooms(graph: grimp.ImportGraph, room: str) -> set[str]:
    """The other packages and modules at the root that any module of a room imports."""
    modules = {room, *graph.find_descendants(room)}
    found = {target for module in modules for target in graph.find_modules_directly_imported_by(module)}
    return {root_of(target) for target in found} - {room, PACKAGE}


def root_of(module: str) -> str:
    """covbench.data.sources.kaggle -> covbench.data"""
    return ".".join(module.split(".")[:2])


def draw_arrows(graph: grimp.ImportGraph, rooms: list[str]) -> str:
    """A table: what each package imports directly."""
    rows = []
    for name in rooms:
        targets = sorted(imported_rooms(graph, name), key=rooms.index)
        rows.append(f"| `{short(name)}` | {', '.join(f'`{short(target)}`' for target in targets) or '–'} |")
    return "\n".join(["| package | imports |", "| --- | --- |", *rows])


def describe_room(graph: grimp.ImportGraph, room: str) -> str:
    """A package's sentence and a line for each of its modules."""
    lines = [f"\n## {short(room)}\n", purpose(room)]
    modules = sorted(graph.find_descendants(room))
    if modules:
        lines += ["", "| module | purpose |", "| --- | --- |"]
        lines += [f"| [`{short(name)}`]({path_of(name)}) | {purpose(name)} |" for name in modules]
    return "\n".join(lines)


def purpose(module: str) -> str:
    """The first sentence of a module's docstring; SystemExit if there is none."""
    docstring = ast.get_docstring(ast.parse((ROOT / path_of(module)).read_text(encoding="utf-8")))
    if not docstring:
        sys.exit(f"{path_of(module)}: no docstring; its first sentence says what the module is for")
    return docstring.split("\n\n")[0].replace("\n", " ").replace("|", "\\|").replace("<", "&lt;")


def path_of(module: str) -> str:
    """A module's file, relative to the checkout."""
    path = Path("src", *module.split("."))
    file = path.with_suffix(".py")
    return (file if (ROOT / file).exists() else path / "__init__.py").as_posix()


def short(module: str) -> str:
    """covbench.data.images -> data.images"""
    return module.removeprefix(f"{PACKAGE}.")


def link_room(module: str) -> str:
    return f"[`{short(module)}`](#{short(module)})"


if __name__ == "__main__":
    sys.exit(main())
