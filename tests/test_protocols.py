"""What the protocols are, and that a third one is planned, compared and reported wherever the two are."""

from dataclasses import replace

import pandas as pd
import pytest

from covbench.data.datasets import TASKS
from covbench.evaluation.comparison.compare import compare_runs
from covbench.experiment import plan
from covbench.experiment.config import check_config
from covbench.protocols import AUDITED, PROTOCOLS, PUBLISHED, Protocol, SplitRule, protocol_options, split_rule
from covbench.reporting.sections.leaderboard import Study, build_leaderboard
from covbench.reporting.sections.scores import build_metric_table
from covbench.reporting.summary import find_leaders
from tests.synthetic_results import draw_tree, plan_runs

TASK = "sarscov2_ct"


@pytest.fixture
def third(monkeypatch):
    """`half`: the audited choices with half of every fold, for this test alone."""
    options = PROTOCOLS[AUDITED].options
    half = Protocol(
        "Half of the patients train.",
        lambda task, architecture: replace(options(task, architecture), batch_size=4),
        lambda task: SplitRule("group", (0.5, 0.25, 0.25)),
    )
    monkeypatch.setitem(PROTOCOLS, "half", half)


def test_published_splits_by_image_and_audited_by_patient_and_duplicates():
    task = TASKS[TASK]
    assert split_rule(PUBLISHED, task) == SplitRule("image", (0.75, 0.0, 0.25))
    assert split_rule(AUDITED, task) == SplitRule("group", (8 / 15, 2 / 15, 1 / 3), official=True, parts=3)
    assert protocol_options(PUBLISHED, task).scaling == "unit"
    assert protocol_options(AUDITED, task).scaling == "own"
    assert protocol_options(PUBLISHED, TASKS["medseg_multiclass"]).size == 512
    assert protocol_options(PUBLISHED, TASKS["zenodo_multiclass"]).size == 256


def test_a_third_protocol_is_planned_with_its_own_options_and_split(third):
    changes = {"half": {"classification": {"size": 96}}}
    config = check_config(
        {
            "tasks": [TASK],
            "architectures": {"classification": ["vgg16"]},
            "protocols": ["audited", "half"],
            "seeds": [0],
            "options": changes,
        }
    )
    assert {planned.run.protocol for planned in plan.plan_runs(config)} == {"audited", "half"}
    half, audited = (plan.find_options(config, TASK, protocol, "vgg16") for protocol in ("half", AUDITED))
    assert (half.batch_size, half.size) == (4, 96)
    assert (audited.batch_size, audited.size) == (32, 224)
    assert split_rule("half", TASKS[TASK]).fractions == (0.5, 0.25, 0.25)


def test_a_third_protocol_has_its_rows_in_every_table_and_its_columns_in_the_report(third, tmp_path):
    runs = plan_runs({TASK: ["vgg16", "majority"]}, ("published", "audited", "half"))
    draw_tree(tmp_path, runs)
    reported = pd.DataFrame(columns=["task", "kind", "architecture", "backbone", "metric", "value", "source"])
    tables = compare_runs(runs, reported, pd.DataFrame(columns=["task"]), tmp_path)
    for name in ("metrics", "summary", "pairs", "ranks", "resolution", "runs"):
        assert set(tables[name]["protocol"]) == {"published", "audited", "half"}, name
    metrics = build_metric_table(tables["summary"], tables["metrics"], tables["runs"], "classification", "auroc")
    assert {row[1].text for row in metrics.rows} == {"published", "audited", "half"}
    board = build_leaderboard(tables["summary"], tables["runs"], "auroc", Study("Study", {}, comparable=False))
    assert [heading for heading, _ in board.columns] == ["Model", "published", "audited", "half"]
    (leader,) = find_leaders(tables)
    rows = tables["summary"].set_index(["protocol", "architecture", "metric"])["mean"]
    assert leader.scores["half"].startswith(f"{rows['half', 'vgg16', 'auroc']:.3f}")
    assert list(leader.scores) == ["published", "audited", "half"]
