"""Hold a run while its job works: lock it, reuse what an earlier job made, and keep the outputs for a later one."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from covbench.experiment.run_locks import checkpoint_folder, lock_run, note_failure
from covbench.schema import Run
from covbench.system.signals import Interruption
from covbench.training.checkpoints import keep_outputs, publish_kept
from covbench.training.state import Checkpointer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Session:
    """A run that this process holds.

    finished: whether an earlier job has finished with the same inputs; if so, its outputs are published again.
    checkpointer: saves and finds the states of a training with these inputs. started: in seconds of time.monotonic.
    """

    finished: bool
    checkpointer: Checkpointer
    started: float = field(default_factory=time.monotonic)


@contextmanager
def run_session(run: Run, fingerprint: str, outputs: Mapping[str, str]) -> Iterator[Session]:
    """Hold a run while its outputs are made, and keep them if nothing is raised.

    If another process writes the same run, this one waits under SLURM, where the other one has a time limit. The
    message of an error that is raised inside is kept for run_locks.read_failure.

    Args:
        run: the run.
        fingerprint: of its inputs; states and outputs of another fingerprint are not reused.
        outputs: paths by name; all exist when the body ends.

    Yields:
        The session. If it is `finished`, the outputs exist and nothing is left to do.

    Raises:
        CovbenchError: Another process writes the same run, and this one is not under SLURM.
        SystemExit: The process was told to stop while nothing was unsaved; the code is 75.
    """
    folder = checkpoint_folder(run, fingerprint)
    on_cluster = "SLURM_JOB_ID" in os.environ
    with lock_run(folder.parent, wait=on_cluster), note_failure(run), Interruption() as interruption:
        finished = publish_kept(folder, outputs)
        if finished:
            log.info("%s finished before with the same inputs: published again, not trained again", run.folder)
        yield Session(finished, Checkpointer(folder, interruption))
        if not finished:
            keep_outputs(folder, outputs)
