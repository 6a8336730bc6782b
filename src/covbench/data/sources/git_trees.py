"""Verify the files of a git commit by content: the commit's own id decides which files it has, and nothing else."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Collection
from pathlib import Path

import requests

from covbench.data.sources.downloads import FETCH_REMEDY, with_retries
from covbench.schema import CovbenchError

CHUNK = 2**20
SECONDS = 300  # for one answer of a git server
UNKNOWN_OPTION = 129  # exit status of git
OTHER_REPOSITORY = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY")  # set in a git hook


def read_tree_id(url: str, commit: str) -> str:
    """Ask a git server for one commit, without its files, and return the id of its tree, 40 hexadecimal digits.

    The id of a commit is the hash of its content, which names the tree, and git checks it. So no server can name
    another tree. Raises CovbenchError if git is not installed, or the server cannot be reached or has no such commit.
    """

    def ask() -> str:
        with tempfile.TemporaryDirectory(prefix="covbench-git-") as folder:
            try:
                _git(folder, "init", "--quiet", "--bare", ".")
                _git(folder, "fetch", "--quiet", "--depth=1", "--filter=tree:0", "--no-tags", url, commit)
                return _git(folder, "log", "-1", "--format=%T", commit)
            except subprocess.CalledProcessError as error:
                if error.returncode == UNKNOWN_OPTION:
                    raise CovbenchError(f"git is too old to verify {url}; install 2.19 or later") from error
                if "not our ref" in error.stderr:
                    raise CovbenchError(f"{url}: no commit {commit}; it was removed at its source") from error
                raise requests.ConnectionError(f"git: {_last_line(error.stderr)}") from error
            except subprocess.TimeoutExpired as error:
                raise requests.ConnectionError(f"git had no answer for {SECONDS} s") from error

    try:
        return with_retries(ask, url, FETCH_REMEDY)
    except FileNotFoundError as error:
        raise CovbenchError(
            f"git is not installed, and it has to verify {url}; install it, or {FETCH_REMEDY}"
        ) from error


def hash_tree(folder: Path, executable: Collection[str]) -> str:
    """Return the id that git gives to a folder's content, 40 hexadecimal digits. Empty folders do not count.

    executable: paths, relative to the folder and with forward slashes, of the files that git marks as programs.
    """
    entries = []
    for path in folder.iterdir():
        if not path.is_dir():
            mode = b"100755" if path.name in executable else b"100644"
            entries.append((os.fsencode(path.name), mode, _hash_blob(path)))
        elif any(path.iterdir()):
            start = f"{path.name}/"
            inside = {name.removeprefix(start) for name in executable if name.startswith(start)}
            entries.append((os.fsencode(start), b"40000", hash_tree(path, inside)))
    entries.sort()  # a folder is sorted as if its name ended with a slash
    lines = [mode + b" " + name.rstrip(b"/") + b"\0" + bytes.fromhex(digits) for name, mode, digits in entries]
    content = b"".join(lines)
    return hashlib.sha1(b"tree %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _hash_blob(path: Path) -> str:
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _git(folder: str, *words: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in OTHER_REPOSITORY}
    ended = subprocess.run(
        ["git", *words],
        cwd=folder,
        env=environment | {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
        check=True,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=SECONDS,
    )
    return ended.stdout.strip()


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no answer"])[-1][:200]
