"""A small benchmark of synthetic results, for the cards and the checklists."""

from __future__ import annotations

from pathlib import Path

import pytest

from covbench.reporting.gather import Results, read_results
from tests.synthetic_results import compare_tree, draw_tree, plan_runs

PLAN = plan_runs({"phantom_xray": ["vgg16", "majority"], "phantom_lesions": ["unet_vgg19", "empty_mask"]}, seeds=(0,))
IMAGES = 45


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a benchmark in which every run is scored."""
    root = tmp_path_factory.mktemp("benchmark")
    draw_tree(root, PLAN, images=IMAGES)
    compare_tree(root, PLAN)
    return root


@pytest.fixture(scope="session")
def results(tree: Path) -> Results:
    """What the report reads of it."""
    return read_results(tree / "results", PLAN, tree / "results" / "compare", tree / "report")
