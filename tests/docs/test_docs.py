"""The documentation keeps up with the code: commands, options, rules, paths, columns, states and links exist."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from snakemake.cli import get_argument_parser

import covbench
from covbench import schema
from tests.docs.reading import BLOCK, ROOT, commands_of, find_spans, load_checker, read_pages, split_commands

OWN_FOLDERS = ("src", "workflow", "tests", "docs", "config", "profiles", "envs", "bench", ".ci", ".github")
MADE = ("docs/_build",)  # by a command that the page shows
PACKAGES_OF_TABLES = ("audit", "evaluation", "experiment")
GONE = (
    *("the one to believe", "but for", "a fifth to a quarter", "7 tasks x 36"),
    *("data/copies", "find_copies", "near_copy", "_with_copy", "test_external", "score_elsewhere", "every rival"),
    *("python -m covbench", "docs/PROTOCOLS", "docs/AUDIT", "docs/TRACKING", "docs/VERSIONING", "docs/CLUSTER"),
)


def find_make_targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return {name for line in re.findall(r"^([\w./ -]+):(?!=)", makefile, flags=re.MULTILINE) for name in line.split()}


def find_rules() -> set[str]:
    files = [ROOT / "Snakefile", *sorted((ROOT / "workflow" / "rules").glob("*.smk"))]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    return {
        *re.findall(r"^rule (\w+):", text, re.MULTILINE),
        *re.findall(r"^use rule \w+ as (\w+)", text, re.MULTILINE),
    }


def find_subcommands() -> Mapping[str, argparse.ArgumentParser]:
    from covbench.cli import build_parser

    found = [action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction)]
    assert len(found) == 1
    return found[0].choices


def options_of(words: list[str]) -> set[str]:
    return {word.split("=")[0] for word in words if word.startswith("--") and word != "--"}


def test_commands_are_read_from_a_line_as_a_shell_reads_them():
    line = ".venv/bin/covbench status --json | head   # the state"
    assert list(split_commands(line)) == [["covbench", "status", "--json"], ["head"]]
    assert list(split_commands("A=1 snakemake -n && make test")) == [["snakemake", "-n"], ["make", "test"]]
    assert list(split_commands("rm $(covbench status --json) -r")) == [
        ["covbench", "status", "--json"],
        ["rm", "X", "-r"],
    ]
    assert list(split_commands("it's a sentence")) == []


def test_every_link_leads_to_a_file_and_a_heading():
    checker = load_checker()
    assert [link for page in checker.list_pages() for link in checker.broken_links(page)] == []


def test_a_link_to_a_lost_page_or_heading_is_found(tmp_path, monkeypatch):
    checker = load_checker()
    monkeypatch.setattr(checker, "ROOT", tmp_path)
    (tmp_path / "other.md").write_text("# The `first` one, again\n\n```text\n# no heading\n```\n## Twice\n## Twice\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md#the-first-one-again) [b](other.md#twice-1) [c](other.md#no-heading) [d](lost.md) [e](#none)\n"
        "`[f](in-code.md)` [g](https://example.org/x#y)\n"
    )
    assert checker.broken_links(page) == ["page.md: other.md#no-heading", "page.md: lost.md", "page.md: #none"]


def test_every_make_target_that_is_named_exists():
    named = [(page, word) for page, words in commands_of("make") for word in words if not re.match(r"\w+=", word)]
    assert len(named) > 20
    assert [entry for entry in named if entry[1] not in find_make_targets()] == []


def test_every_subcommand_of_covbench_that_is_named_exists_with_its_options():
    commands = find_subcommands()
    named = [(page, words) for page, words in commands_of("covbench") if not words[0].startswith("-")]
    assert len(named) > 20
    assert [(page, words[0]) for page, words in named if words[0] not in commands] == []
    wrong = [
        (page, words[0], option)
        for page, words in named
        for option in options_of(words[: words.index("--")] if "--" in words else words)
        if option not in commands[words[0]]._option_string_actions
    ]
    assert wrong == []


def test_every_subcommand_of_covbench_is_described():
    described = (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
    assert [name for name in find_subcommands() if f"| `covbench {name}" not in described] == []


def test_every_make_target_is_described():
    described = (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY:(.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert phony
    assert [name for name in phony[1].split() if not re.search(rf"`make {name}[` ]", described)] == []


def test_every_option_and_rule_of_snakemake_that_is_named_exists():
    options, rules = get_argument_parser()._option_string_actions, find_rules()
    named = commands_of("snakemake")
    assert len(named) > 20
    assert [(page, option) for page, words in named for option in options_of(words) if option not in options] == []
    targets = [(page, words[0]) for page, words in named if re.fullmatch(r"[a-z_]+", words[0])]
    assert len(targets) > 3
    assert [entry for entry in targets if entry[1] not in rules] == []


def test_the_list_of_rules_is_complete():
    text = (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^The workflow's rules, in order: (.*)\.$", text, re.MULTILINE)
    assert {name.strip("`") for name in listed.split(", ")} == find_rules() - {"all"}


def test_every_measurement_that_is_named_exists():
    named = [(page, words[2]) for page, words in commands_of("python") if words[:2] == ["-m", "bench"] and words[2:]]
    assert named
    assert [entry for entry in named if not (ROOT / "bench" / f"{entry[1]}.py").exists()] == []


def test_every_path_of_the_repository_that_is_named_exists():
    spans = [(page, span) for page, text in read_pages().items() for span in find_spans(text)]
    words = [(page, word) for page, span in spans for word in span.split()]
    words += [(page, word) for page, found in commands_of("pytest") for word in found]
    paths = [(page, word) for page, word in words if re.fullmatch(r"[\w.-]+(/[\w.*-]+)+/?", word)]
    made = {path for text in read_pages().values() for path in re.findall(r"`([\w/.]+)`:\n\n```python", text)}
    own = [(page, path) for page, path in paths if path.split("/")[0] in OWN_FOLDERS and path not in made]
    own = [(page, path) for page, path in own if not path.startswith(MADE)]
    assert len(own) > 30
    assert [(page, path) for page, path in own if not list(ROOT.glob(path.rstrip("/")))] == []


def test_every_module_that_is_named_exists():
    spans = [(page, span) for page, text in read_pages().items() for span in find_spans(text)]
    named = [(page, span) for page, span in spans if re.fullmatch(r"covbench(\.\w+)+", span)]
    assert named
    folder = ROOT / "src"
    missing = [
        (page, name)
        for page, name in named
        if not any((folder / name.replace(".", "/")).with_suffix(end).exists() for end in (".py", ""))
    ]
    assert missing == []


def test_every_page_that_the_code_names_exists():
    command = ["git", "-C", str(ROOT), "grep", "-ohE", r"docs/[A-Za-z0-9_./-]+\.md", "--", ":!*.md", ":!tests/docs"]
    named = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert named
    assert sorted({name for name in named if not (ROOT / name).exists()}) == []


def test_every_column_is_described():
    modules = [
        importlib.import_module(info.name)
        for package in PACKAGES_OF_TABLES
        for info in pkgutil.walk_packages([str(Path(covbench.__path__[0]) / package)], f"covbench.{package}.")
    ]
    named = [(name, value) for module in [*modules, schema] for name, value in vars(module).items()]
    tables = [value for name, value in named if name.endswith("_COLUMNS") and isinstance(value, list | dict)]
    tables += [table for name, value in named if name.endswith("_TABLES") for table in value.values()]
    columns = {str(column) for table in tables for column in table}
    assert {"image_id", "drop_low", "near_duplicate_in_train", "p_holm"} <= columns
    spans = find_spans((ROOT / "docs" / "reference" / "tables.md").read_text(encoding="utf-8"))
    assert sorted(columns - set(spans)) == []


def test_every_run_state_is_described_and_no_other():
    from covbench.experiment.runs import RunState

    text = (ROOT / "docs" / "reference" / "run-states.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == sorted(state.value for state in RunState)


@pytest.mark.parametrize("phrase", GONE)
def test_a_phrase_or_name_that_is_gone_does_not_come_back(phrase):
    assert [page for page, text in read_pages().items() if phrase in text] == []


def test_the_readme_is_short():
    text = BLOCK.sub("", (ROOT / "README.md").read_text(encoding="utf-8"))
    rows = re.findall(r"^\|.*$", text, re.MULTILINE)
    prose = re.sub(r"\]\([^)]*\)", "]", re.sub(r"^\|.*$", "", text, flags=re.MULTILINE))
    assert len(prose.split()) <= 700
    assert len(rows) - 2 <= 6  # less the heading and its line
    assert text.count("![") == 1


@pytest.mark.slow
def test_the_site_builds_strictly_and_asks_for_nothing_from_the_network(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", ROOT / "docs", tmp_path]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    pages = sorted(tmp_path.rglob("*.html"))
    assert len(pages) > 30
    loaded = [
        (page.name, address)
        for page in pages
        for tag in re.findall(r"<(?:script|img|link|iframe)\b[^>]*>", page.read_text(encoding="utf-8"))
        for address in re.findall(r"(?:src|href)=\"((?:https?:)?//[^\"]*)\"", tag)
    ]
    assert loaded == []
    styles = "\n".join(path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.css"))
    assert re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//[^\s\"')]*", styles) == []
