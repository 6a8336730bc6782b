"""What stands in the log of a job when it has ended."""

import subprocess
import sys

NOTICE = (
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
    "I0000 00:00:1795813977.317844   22940 port.cc:153] oneDNN custom operations are on. You may see slightly\n"
)
FALLBACK = "E0000 00:00:1795813074.26 16883 util.cc:131] oneDNN supports DT_INT32 only on platforms with AVX-512.\n"
REAL = "E0000 00:00:1795813074.26 16883 cuda_dnn.cc:531] Could not create cudnn handle: CUDNN_STATUS_INTERNAL_ERROR\n"
JOB = """
import logging, os, sys
from covbench.system.logs import log_to
log_to(sys.argv[1])
os.write(2, sys.argv[2].encode())
logging.getLogger("covbench").info("trains")
print("printed")
os.write(2, sys.argv[3].encode())
if sys.argv[4:]:
    os.abort()
"""


def run_job(folder, *words):
    path = folder / "job.log"
    subprocess.run([sys.executable, "-c", JOB, str(path), *words], timeout=60)
    return path.read_text()


def test_notices_that_every_machine_writes_are_gone_and_all_other_lines_stay_in_order(tmp_path):
    first, *rest, used = run_job(tmp_path, NOTICE + FALLBACK, REAL).splitlines(keepends=True)
    assert first.endswith(" INFO trains\n")
    assert " INFO used " in used
    assert rest in ([REAL, "printed\n"], ["printed\n", REAL])  # what Python prints is written when it ends


def test_a_log_without_notices_is_left_as_it_is(tmp_path):
    log = run_job(tmp_path, "", REAL)
    assert log.count("\n") == 4


def test_the_log_of_a_job_that_crashes_keeps_every_line(tmp_path):
    assert NOTICE in run_job(tmp_path, NOTICE, REAL, "crash")
