"""A small GitHub on this machine: real repositories, served by git, and the archives that git makes of a commit."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection
from pathlib import Path

from tests.local_server import LocalServer, Served
from tests.small_datasets import write_tree

NOBODY = {f"GIT_{role}_{what}": "a@b" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def publish(
    server: LocalServer, home: Path, files: dict[str, bytes], programs: Collection[str] = (), repository: str = "o/r"
) -> str:
    """Commit files to a repository that the server serves, with the archive of the commit as GitHub names it.

    Args:
        server: the server.
        home: folder for repositories.
        files: content by path.
        programs: those that git marks as programs.
        repository: owner and name.

    Returns:
        The id of the commit.
    """
    server.repositories = home
    bare, work = home / f"{repository}.git", home / "work" / repository
    if not bare.exists():
        git(home, "init", "-q", "--bare", str(bare))
        git(bare, "config", "uploadpack.allowFilter", "true")
        git(bare, "config", "uploadpack.allowAnySHA1InWant", "true")
        git(home, "init", "-q", str(work))
    for path in work.iterdir():
        if path.name != ".git":
            git(work, "rm", "-rfq", path.name)
    write_tree(work, files)
    for name in programs:
        (work / name).chmod(0o755)
    git(work, "add", "-f", ".")
    git(work, "commit", "-q", "--allow-empty", "-m", "one")
    commit = git(work, "rev-parse", "HEAD").decode().strip()
    git(work, "push", "-q", "-f", str(bare), "HEAD:main")
    prefix = f"{repository.partition('/')[2]}-{commit}/"
    archive = git(work, "archive", "--format=zip", f"--prefix={prefix}", commit)
    server.files[f"/{repository}/archive/{commit}.zip"] = Served(archive)
    return commit


def git(folder: Path, *words: str) -> bytes:
    """Run git in a folder and return what it printed."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | NOBODY | {"GIT_CONFIG_GLOBAL": os.devnull}
    return subprocess.run(["git", *words], cwd=folder, env=environment, check=True, capture_output=True).stdout
