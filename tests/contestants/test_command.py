"""A contestant's command: its words, its surroundings, its end."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from covbench.contestants.command import choose_environment, link_temporary, run_command
from covbench.experiment.contestants import fill_command
from covbench.schema import CovbenchError


def python(code):
    return [sys.executable, "-c", textwrap.dedent(code)]


def test_a_path_with_blanks_stays_one_word():
    values = {"input": "/a folder/in", "output": "out", "seed": 3, "device": "cpu", "threads": 2}
    words = fill_command("python 'my run.py' {input} --seed={seed} {{x}}", **values)
    assert words == ["python", "my run.py", "/a folder/in", "--seed=3", "{x}"]


@pytest.mark.parametrize("command", ["python {inputs}", "python 'run.py", "python {input.x}"])
def test_a_command_that_cannot_be_filled_is_refused_with_the_known_words(command):
    with pytest.raises(CovbenchError, match=r"known: \{input\}, \{output\}"):
        fill_command(command, input="in", output="out")


def test_a_command_sees_neither_the_users_variables_nor_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KAGGLE_KEY", "secret")
    environment = choose_environment(tmp_path / "home", tmp_path, tmp_path / "bin", 2)
    run_command(python("import os; open('seen', 'w').write(repr(dict(os.environ)))"), tmp_path, environment)
    seen = (tmp_path / "seen").read_text()
    assert "secret" not in seen
    assert os.environ["HOME"] not in [value for key, value in eval(seen).items() if key == "HOME"]
    assert eval(seen)["OMP_NUM_THREADS"] == "2"
    assert eval(seen)["PATH"].startswith(str(tmp_path / "bin"))


def test_a_socket_fits_into_the_folder_for_temporary_files_however_deep_the_own_folder_lies(tmp_path):
    home = tmp_path.joinpath(*["a folder of forty letters, to be so deep"] * 4)
    code = """
        import pathlib, socket, tempfile
        socket.socket(socket.AF_UNIX).bind(tempfile.mkdtemp() + "/listener")
        pathlib.Path(tempfile.gettempdir(), "left").touch()
    """
    with link_temporary(home) as temporary:
        run_command(python(code), tmp_path, choose_environment(home, temporary, tmp_path, 1))
    assert (home / "tmp" / "left").exists()
    assert not temporary.parent.exists()


def test_progress_is_noted_and_the_last_words_are_the_reason_of_a_failure(tmp_path, caplog):
    code = """
        print("progress 1/3 loss 0.5")
        print("progress 2/3")
        raise SystemExit("the weights do not fit")
    """
    steps = []
    with pytest.raises(CovbenchError, match=r"^the command ended with 1: the weights do not fit$"):
        run_command(python(code), tmp_path, os.environ, steps.append)
    assert steps == ["1 of 3, loss 0.5", "2 of 3"]


def test_a_program_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CovbenchError, match="no_such_program"):
        run_command(["no_such_program"], tmp_path, os.environ)


def test_a_command_that_a_signal_ends_is_told_so(tmp_path):
    with pytest.raises(CovbenchError, match="was ended by SIGKILL: before"):
        run_command(python("import os; print('before', flush=True); os.kill(os.getpid(), 9)"), tmp_path, os.environ)


LEAVES_A_CHILD = "import subprocess, sys; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True)"


def is_alive(process):
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_a_command_leaves_behind_is_ended(tmp_path, caplog):
    caplog.set_level("INFO")
    code = LEAVES_A_CHILD.replace("['sleep', '600']", "['sleep', '600'], stdout=subprocess.DEVNULL")
    run_command(python(code), tmp_path, os.environ)
    child = int(caplog.messages[-1].removeprefix("| "))
    time.sleep(0.2)
    assert not is_alive(child)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_command_ends_with_the_job_that_is_killed(tmp_path):
    code = f"""
        import os, sys
        from covbench.contestants.command import run_command
        code = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(600)"
        run_command([sys.executable, "-c", code], {str(tmp_path)!r}, os.environ)
    """
    job = subprocess.Popen(python(code))
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.05)
    job.send_signal(signal.SIGKILL)
    job.wait()
    time.sleep(0.3)
    assert not is_alive(int((tmp_path / "pid").read_text()))
