"""Check that every relative link of the Markdown files leads to a file, and to a heading where it names one.

python docs/check_links.py
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
CODE = re.compile(r"^( *)(```+)[^\n]*\n.*?^\1\2 *$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`[^`\n]*`")


def list_pages() -> list[Path]:
    """Every Markdown file that is committed or about to be."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [ROOT / name for name in sorted(set(listed)) if (ROOT / name).exists()]


def find_anchors(page: Path) -> set[str]:
    """The names that the headings of a page have as link targets: lower case, no punctuation, hyphens for spaces."""
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ +(.+?) *$", text, flags=re.MULTILINE)
    names = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    repeated = [names[:number].count(name) for number, name in enumerate(names)]
    return {f"{name}-{before}" if before else name for name, before in zip(names, repeated, strict=True)}


def broken_links(page: Path) -> list[str]:
    """Targets of a page that are no address, and no file below the root with the heading that they name."""
    text = SPAN.sub("", CODE.sub("", page.read_text(encoding="utf-8")))
    relative = [unquote(target) for target in LINK.findall(text) if not re.match(r"[a-z]+:", target)]
    return [f"{page.relative_to(ROOT)}: {target}" for target in relative if not _leads_somewhere(page, target)]


def _leads_somewhere(page: Path, target: str) -> bool:
    name, _, anchor = target.partition("#")
    found = page.parent / name if name else page
    return found.exists() and (not anchor or found.suffix != ".md" or anchor in find_anchors(found))


def main() -> int:
    pages = list_pages()
    broken = [link for page in pages for link in broken_links(page)]
    print("\n".join(broken) or f"{len(pages)} Markdown files, no broken link")
    return len(broken) > 0


if __name__ == "__main__":
    sys.exit(main())
