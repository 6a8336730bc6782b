"""A small file system of a test's own, to see what happens when it is full."""

import shutil
import subprocess

import pytest


def on_small_disk(size, folder):
    """The words before a command that is to see a new file system of `size` ('10m') in place of a folder."""
    mount = 'mount -t tmpfs -o "size=$1" none "$2" && shift 2 && exec "$@"'
    return ["unshare", "-rm", "sh", "-c", mount, "sh", size, str(folder)]


def _can_mount():
    found = shutil.which("unshare") and shutil.which("mount")
    return bool(found) and not subprocess.run([*on_small_disk("1m", "/tmp"), "true"], capture_output=True).returncode


needs_small_disk = pytest.mark.skipif(
    not _can_mount(), reason="mounts a file system of its own: needs util-linux and user namespaces"
)
