"""How several processes divide the tests: by file, and the files that take longest first."""

from __future__ import annotations

from typing import Any

import pytest

APART = ("tests/contracts/test_models.py",)  # each test by itself: they share nothing
LONGEST_FIRST = (
    "tests/slurm/test_slurm.py",
    "tests/real/test_pipeline.py",
    "tests/dvc/test_dvc.py",
    "tests/workflow/test_kills.py",
    "tests/workflow/test_stale_runs.py",
    "tests/mlflow/test_server.py",
    "tests/workflow/test_contestants.py",
    "tests/workflow/test_same_numbers.py",
    "tests/workflow/test_sharing.py",
    "tests/workflow/test_workflow.py",
    "tests/training/test_job.py",
    "tests/training/test_state.py",
    "tests/training/test_frozen_features.py",
    "tests/operations/test_network_work.py",
    "tests/data/sources/test_two_fetches.py",
    "tests/models/test_jax.py",
    "tests/real/test_planted_duplicates.py",
    "tests/training/test_fit.py",
    "tests/training/test_devices.py",
    "tests/browser/test_report.py",
    "tests/data/datasets/test_phantoms.py",
)  # one of these begun last would keep the other processes waiting


def group_of(test: str) -> str:
    """Tests of a group run in one process, one after the other."""
    file = test.partition("::")[0]
    return test if file in APART else file


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {group: place for place, group in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(group_of(item.nodeid), len(order)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """The marks of `--dist loadgroup` have no effect with pytest 9.2 and pytest-xdist 3.8."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    config.option.loadscopereorder = False  # the order above stays
    return ByGroup(config, log)
