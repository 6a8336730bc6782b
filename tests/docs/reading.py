"""What the documentation says in code: its commands, its paths and its words."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1``` *$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
ENDS = (";", "&&", "||", "|", "&", ">", ">>", "2>&1", "<")


def load_checker() -> ModuleType:
    """docs/check_links.py, which is a script and in no package."""
    spec = importlib.util.spec_from_file_location("check_links", ROOT / "docs" / "check_links.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_pages() -> dict[str, str]:
    """The text of every Markdown page by its path. The changelog names what is gone, and is left out."""
    pages = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in load_checker().list_pages()}
    return {name: text for name, text in pages.items() if name != "CHANGELOG.md"}


def find_spans(text: str) -> list[str]:
    """What stands in single backticks outside of code blocks."""
    return SPAN.findall(BLOCK.sub("", text))


def find_commands(text: str) -> Iterator[list[str]]:
    """Every command of a page as words: the lines of its shell blocks, and its code spans."""
    for _, language, body in BLOCK.findall(text):
        if language in ("bash", "sh", "console"):
            for line in re.sub(r"\\\n", " ", body).splitlines():
                yield from split_commands(line)
    for span in find_spans(text):
        yield from split_commands(span)


def split_commands(line: str) -> Iterator[list[str]]:
    """The commands of one line, without comments, assignments before them and the folder of the program.

    A command in $(…) is one of its own, and comes first.
    """
    for command in re.findall(r"\$\(([^()]*)\)", line):
        yield from split_commands(command)
    lexer = shlex.shlex(re.sub(r"\$\([^()]*\)", "X", line), posix=True, punctuation_chars=";&|<>")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    try:
        words = list(lexer)
    except ValueError:  # an apostrophe: a sentence, no command
        return
    called: list[str] = []
    for word in [*words, ";"]:
        if word in ENDS:
            if called:
                yield [Path(called[0]).name, *called[1:]]
            called = []
        elif called or not re.fullmatch(r"\w+=.*", word):
            called.append(word)


def commands_of(program: str) -> list[tuple[str, list[str]]]:
    """Every call of a program with the page that shows it: (page, words after the program)."""
    return [
        (page, words[1:])
        for page, text in read_pages().items()
        for words in find_commands(text)
        if words[0] == program and len(words) > 1
    ]
