"""What a forecast shows: a table of at most 120 columns, its totals, and the whole study."""

import itertools

import pytest

from covbench.operations.forecast import Forecast, Line
from covbench.operations.gpu_classes import GpuClass
from covbench.operations.run_costs import Cost
from covbench.operations.show_forecast import show_forecast, show_seconds, show_study

GPU = GpuClass("G", "plain", 10, 100, 1000, 16, 250, "")
TASKS = ("zenodo_multiclass", "medseg_multiclass")
PROTOCOLS = ("published", "published_audited_split", "audited")


def make_cost(hours=1.0, basis="estimated", micro_batches=1, gpu=0.0):
    return Cost(3600 * hours, 12_000, gpu, 100, 800, basis, micro_batches)


def make_grid(networks):
    """Lines of the longest names, with one measured network of each task and protocol."""
    names = [f"linknet_inceptionresnetv2{i}" for i in range(networks)]
    return [
        Line(task, protocol, name, 3, 14693, False, make_cost(400.0 + 100 * i, "estimated" if i else "measured"))
        for task, protocol in itertools.product(TASKS, PROTOCOLS)
        for i, name in enumerate(names)
    ]


def show(lines, classes=(), fold=True, at_once=1, error=""):
    return show_forecast(Forecast(lines, list(classes), 5, error), at_once, fold)


def test_many_networks_share_a_line_for_each_task_and_protocol():
    text = show(make_grid(12))
    (line,) = [line for line in text.splitlines() if "published_audited_split" in line][:1]
    cells = "published_audited_split 12 36 ~14693 400 h to 1,500 h 34,200 h 12.6 GB 3.8 GB 1 of 12 measured"
    assert " ".join(line.split()) == cells
    assert text.count("published_audited_split") == 2
    assert "linknet" not in text


@pytest.mark.parametrize(("networks", "fold"), [(12, True), (12, False), (2, True)])
def test_no_line_is_longer_than_120_columns(networks, fold):
    error = "within a factor of 2.3 for 11 of 13 networks; linknet_inceptionresnetv2: 12.2"
    text = show(make_grid(networks), [(GPU, make_grid(networks))], fold, error=error)
    assert max(map(len, text.splitlines())) <= 120


def test_few_networks_and_chosen_ones_have_lines_of_their_own():
    assert show(make_grid(2)).count("linknet") == show(make_grid(2), fold=False).count("linknet") == 12
    assert show(make_grid(12), fold=False).count("linknet") == 72


def test_the_total_says_how_many_runs_it_lacks():
    known = Line("t", "p", "a", 2, 9, True, make_cost(1, "1 finished"))
    text = show([known, Line("t", "p", "b", 3, 9, False, None)])
    assert "2 runs: 2.0 h" in text
    assert "3 runs are not included" in text
    assert "unknown: 3" in text


def test_runs_are_counted_by_what_is_known_of_them():
    bases = ["4 finished", "measured", "estimated", "estimated, from 96 px, batch 8"]
    lines = [Line("t", "p", str(i), i + 1, 9, True, make_cost(1, basis)) for i, basis in enumerate(bases)]
    text = "\n".join(show_study(Forecast(lines, [], 7, "")))
    assert "7 trainings have finished, 10 are still to do" in text
    assert "known: 1 from finished runs, 2 from timings, 7 from estimates; unknown: 0" in text


def test_the_study_on_a_class_of_gpus_has_hours_memory_and_energy_by_hand():
    costs = [
        make_cost(4, gpu=9000),
        make_cost(2, micro_batches=2, gpu=14000),
        make_cost(100, micro_batches=0, gpu=20000),
    ]
    lines = [Line("t", "p", str(i), 2, 9, True, cost) for i, cost in enumerate(costs)]
    text = show(lines, [(GPU, lines)])
    (row,) = [line for line in text.splitlines() if line.startswith("  G ")]
    # 4 + 4 + 2 + 2 h; on two GPUs 6 h each; 250 W x 12 h; the two runs of 100 h do not fit.
    assert " ".join(row.split()) == "G 12.0 h 6.0 h 4.0 h 14.7 GB 2 2 3.0 estimated from its data sheet"
    assert "629.1 MB of results; checkpoints with 1, 2 and 8 at once: 838.9 MB, 1.7 GB, 6.7 GB" in text


def test_runs_that_no_class_can_estimate_are_counted_beside_its_hours():
    lines = [Line("t", "p", "a", 2, 9, True, make_cost(4)), Line("t", "p", "b", 3, 9, True, None)]
    assert "estimated from its data sheet, without 3 unknown runs" in show(lines, [(GPU, lines)])


def test_trainings_at_once_on_one_cpu_are_not_promised_to_be_faster():
    (row,) = [line for line in show(make_grid(2)).splitlines() if line.startswith("  this machine")]
    assert row.split()[2:7] == ["16,200", "h", "-", "-", "12.6"]


def test_the_error_of_estimates_is_said_below_the_study():
    text = " ".join(show(make_grid(2), error="within a factor of 1.5 for 4 of 5 networks").split())
    assert "each timed network estimated from the others: within a factor of 1.5 for 4 of 5 networks" in text


def test_times_are_told_in_the_unit_that_suits():
    seconds = (45, 720, 12600, 3_600_000)
    assert [show_seconds(value) for value in seconds] == ["45 s", "12 min", "3.5 h", "1,000 h"]
