"""Check that every relative link and picture of the Markdown files leads to a file: python docs/check_links.py"""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")


def broken_links(page: Path) -> list[str]:
    """Targets of a page that are neither an address, an anchor, nor a file below the root."""
    targets = [unquote(target.split("#")[0]) for target in LINK.findall(page.read_text(encoding="utf-8"))]
    files = [target for target in targets if target and not re.match(r"[a-z]+:", target)]
    return [f"{page.relative_to(ROOT)}: {target}" for target in files if not (page.parent / target).exists()]


def main() -> int:
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "*.md"], check=True, capture_output=True, text=True)
    broken = [link for name in listed.stdout.splitlines() for link in broken_links(ROOT / name)]
    print("\n".join(broken) or f"{len(listed.stdout.splitlines())} Markdown files, no broken link")
    return len(broken) > 0


if __name__ == "__main__":
    sys.exit(main())
