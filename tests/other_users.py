"""Acting as another user of the same machine."""

import os
import shutil

import pytest

READ = "+dac_read_search"  # this project's files lie where strangers may not read

as_others = pytest.mark.skipif(
    os.getuid() != 0 or not shutil.which("setpriv"), reason="acts as other users: needs root and util-linux"
)


def become(user, group):
    """The words before a command that is to run as a user who reads everything and owns nothing here."""
    command = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
    return [*command, f"--inh-caps={READ}", f"--ambient-caps={READ}"]
