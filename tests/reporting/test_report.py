"""The report: every figure of the study, whatever has finished, whatever the names are."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covbench.experiment.acceptance import accept
from covbench.experiment.plan import PlannedRun
from covbench.experiment.records import seal_record
from covbench.experiment.run_locks import FAILURE, run_checkpoints
from covbench.reporting.figures.lines_and_bars import draw_confusions, draw_metric_bars, to_svg
from covbench.reporting.figures.overlays import choose_spread, overlay_errors
from covbench.reporting.gather import read_results
from covbench.reporting.page import build_report
from covbench.reporting.tables import state_cell
from covbench.reporting.wording import read_confusions, show, slug
from covbench.schema import Run
from covbench.system.files import write_json, write_table
from tests.reporting.compare_rows import make_row, make_table
from tests.run_records import plan_unknown, rewrite_manifest
from tests.synthetic_results import compare_tree, draw_tree, plan_runs

PLAN = plan_runs(
    {
        "phantom_xray": ["vgg16", "mobilenetv2", "majority", "hog_logistic"],
        "radiography": ["vgg16", "majority"],
        "phantom_lesions": ["unet_vgg19", "fpn_vgg19", "empty_mask"],
    },
    seeds=(0,),
)
MISSING = "results/runs/phantom_xray/audited/vgg16/0"
HOSTILE = "<script>alert(1)</script>\"'&$\\frac{\x07"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a benchmark in which one run is missing, and its page."""
    root = tmp_path_factory.mktemp("bench mark")
    draw_tree(root, PLAN, images=60)
    shutil.rmtree(root / MISSING)
    compare_tree(root, PLAN)
    build(root)
    return root, read_page(root)


def build(root: Path, plan: list[PlannedRun] = PLAN) -> None:
    build_report(
        root / "results", root / "data", plan, root / "results" / "report", "Test & report", {"Commit": "c0ffee"}
    )


def read_page(root: Path) -> str:
    return (root / "results" / "report" / "index.html").read_text(encoding="utf-8")


def read_task(root: Path, task: str) -> str:
    return (root / "results" / "report" / "tasks" / f"{task}.html").read_text(encoding="utf-8")


def section_of(page: str, anchor: str) -> str:
    return page.split(f'<section id="{anchor}"')[1].split("</section>")[0]


@pytest.mark.parametrize("protocol", ["published", "audited"])
@pytest.mark.parametrize("task", ["phantom_xray", "radiography"])
def test_a_classification_shows_every_figure_of_the_study(report: tuple[Path, str], task: str, protocol: str) -> None:
    shown = read_task(report[0], task)
    for name in (
        f"bars-{task}",
        f"confusion-{task}-{protocol}",
        f"learning-{task}-{protocol}",
        f"roc-{task}-{protocol}",
        f"calibration-{task}-{protocol}",
    ):
        assert f'id="{name}"' in shown
    assert f'id="samples-{task}"' in shown


@pytest.mark.parametrize("protocol", ["published", "audited"])
def test_a_segmentation_shows_truth_against_prediction_and_overlays(report: tuple[Path, str], protocol: str) -> None:
    shown = read_task(report[0], "phantom_lesions")
    names = ("truth", "overlays", "confusion", "learning")
    assert all(f'id="{name}-phantom_lesions-{protocol}"' in shown for name in names)
    assert "Lesion Jaccard and Lesion Dice (F1) per model" in shown


def test_every_picture_and_page_that_a_page_names_lies_beside_it(report: tuple[Path, str]) -> None:
    folder = report[0] / "results" / "report"
    pages = list(folder.rglob("*.html"))
    named = [
        page.parent / address
        for page in pages
        for address in re.findall(r'(?:src|href)="([^"#]+)"', page.read_text(encoding="utf-8"))
        if not address.startswith("https://")
    ]
    assert len(named) > 200
    assert [str(path) for path in named if not path.is_file()] == []
    assert set(pages) == {path.resolve() for path in named if path.suffix == ".html"}


def test_pages_link_the_cards_and_the_first_one_the_checklists(report: tuple[Path, str]) -> None:
    folder = report[0] / "results" / "report"
    model = (folder / "models/phantom_xray/audited/mobilenetv2.html").read_text(encoding="utf-8")
    assert 'href="../../../cards/models/phantom_xray/audited/mobilenetv2.md"' in model
    assert 'href="cards/datasets/radiography.json"' in section_of(report[1], "data")
    assert 'href="checklists.html"' in report[1]
    checklists = (folder / "checklists.html").read_text(encoding="utf-8")
    assert "44 items: " in section_of(checklists, "claim_2024")
    assert "to be answered by the authors: funding" in section_of(checklists, "tripod_ai")


def test_the_pages_ask_the_network_for_nothing(report: tuple[Path, str]) -> None:
    folder = report[0] / "results" / "report"
    for page in (path.read_text(encoding="utf-8") for path in folder.rglob("*.html")):
        assert "default-src 'none'" in page
        assert "unsafe" not in page
        assert not re.search(r'<(?:img|script|link|iframe)[^>]*(?:src|href)="(?:https?:)?//', page)
    for figure in (folder / "figures").glob("*.svg"):
        assert not re.search(r'(?:href|src)="https?:', figure.read_text(encoding="utf-8"))


def test_cases_lie_beside_the_page_of_their_model_in_the_order_of_their_fold(report: tuple[Path, str]) -> None:
    folder = report[0] / "results" / "report" / "cases"
    fold = json.loads((folder / "phantom_xray_audited.js").read_text().removeprefix("addCases(").rstrip(")\n"))
    model = folder / "phantom_xray_audited" / "mobilenetv2.js"
    values = json.loads(model.read_text().removeprefix('addModel("mobilenetv2",').rstrip(")\n"))
    cases = pd.read_parquet(report[0] / "results/runs/phantom_xray/audited/mobilenetv2/0/cases.parquet")
    cases = cases.set_index("image_id").loc[fold["ids"]]
    assert fold["truth"] == cases["truth"].tolist()
    assert values["predicted"] == cases["predicted"].tolist()
    assert values["p"][1] == (1000 * cases["p_1"]).round().astype(int).tolist()
    pictures = report[0] / "results/report/pictures/phantom_xray"
    assert {path.stem for path in pictures.glob("*.jpg")} >= {str(position) for position in fold["pictures"]}


def test_a_case_names_its_group_where_no_patients_are_published(report: tuple[Path, str]) -> None:
    folder = report[0] / "results" / "report" / "cases"
    units = {}
    for task in ("phantom_xray", "radiography"):
        fold = json.loads((folder / f"{task}_published.js").read_text().removeprefix("addCases(").rstrip(")\n"))
        cases = pd.read_parquet(report[0] / f"results/runs/{task}/published/vgg16/0/cases.parquet")
        units[task] = fold["unit"]
        assert fold["units"] == cases[{"Patient": "patient_id", "Group": "group"}[fold["unit"]]].tolist()
    assert units == {"phantom_xray": "Patient", "radiography": "Group"}


def test_a_missing_run_is_shown_as_missing(report: tuple[Path, str]) -> None:
    page = report[1]
    assert "○ 1 missing" in page
    assert "○ missing 0/1" in section_of(page, "grid")
    undone = section_of(page, "grid")
    assert all(word in undone for word in ("phantom_xray", "audited", "vgg16", "no manifest.json"))


def test_an_undefined_value_is_a_dash_with_its_reason_in_a_note(report: tuple[Path, str]) -> None:
    shown = read_task(report[0], "radiography")
    reason = "precision is undefined for [a-z_, ]+"
    assert re.search(rf'<td class="undefined" title="{reason}"><span class="value">–</span>', shown)
    assert re.search(rf"Precision of [a-z_]+ \(audited\), [a-z_]+ \(published\): {reason}", shown)


def test_what_was_excluded_is_counted_by_reason(report: tuple[Path, str]) -> None:
    undone = section_of(report[1], "skipped")
    row = re.search(r"radiography</span></th>\s*<td><span class=\"value\">lateral view</span></td>.*?>2<", undone, re.S)
    assert row


def test_what_others_report_is_on_the_page_with_its_test_set(report: tuple[Path, str]) -> None:
    assert "What others report" in read_task(report[0], "radiography")
    assert "18479 images" in read_task(report[0], "radiography")


def test_the_study_number_is_shown_beside_ours(report: tuple[Path, str]) -> None:
    shown = read_task(report[0], "radiography")
    assert "The study&#39;s Accuracy corresponds to our" in shown
    assert ">Study, Accuracy</th>" in shown
    assert '<td data-sort="0.8"><span class="value">0.800</span>' in shown  # table 6.4: VGG16, accuracy .80


def test_the_first_page_says_what_the_studys_numbers_are(report: tuple[Path, str]) -> None:
    section = report[1].partition('<section id="study">')[2].partition("</section>")[0]
    assert "What the study's numbers are" in section
    assert "The study reports 48 values for the planned tasks." in section
    assert "rounded logits (42)" in section
    assert "builds MobileNetV2" in section
    assert "covid_ct" not in section  # not planned here


def test_it_works_before_any_run_has_finished(tmp_path: Path) -> None:
    build(tmp_path)
    page = read_page(tmp_path)
    assert "No run is scored yet" in page
    assert f"○ {len(PLAN)} missing" in page
    assert "not indexed yet" in page
    assert "No run is scored yet" in (tmp_path / "results" / "report" / "summary.md").read_text(encoding="utf-8")


def test_it_works_from_scores_that_were_not_compared(report: tuple[Path, str], tmp_path: Path) -> None:
    shutil.copytree(report[0] / "results" / "runs", tmp_path / "results" / "runs")
    build(tmp_path)
    assert f"✓ {len(PLAN) - 1} scored" in read_page(tmp_path)


def test_hostile_names_are_text_on_the_page_and_in_figures(tmp_path: Path) -> None:
    run = {"task": HOSTILE, "protocol": HOSTILE, "architecture": HOSTILE}
    score = make_row("summary", **run, family="deep", metric="auroc", seeds=1, mean=0.9, low=0.8, high=1)
    summary = make_table("summary", [score])
    failure = tmp_path / run_checkpoints(Run(**run, seed=0)) / FAILURE
    failure.parent.mkdir(parents=True)
    failure.write_text(HOSTILE)
    metrics = pd.DataFrame(
        [{**run, "family": "deep", "seed": 0, "class": HOSTILE, "metric": "recall", "value": None, "reason": HOSTILE}]
    )
    for name, table in {"summary": summary, "metrics": metrics}.items():
        write_table(tmp_path / "results" / "compare" / f"{name}.csv", table)
    build(tmp_path, [plan_unknown(Run(**run, seed=0))])
    page = read_page(tmp_path)
    assert "✗ 1 failed" in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert "<script>" not in (tmp_path / "results" / "report" / "summary.md").read_text(encoding="utf-8")
    files = [path.name for path in (tmp_path / "results" / "report").rglob("*")]
    assert all(re.fullmatch(r"[\w.]+", name) for name in files)


def test_a_figure_with_hostile_names_is_well_formed_and_holds_no_script() -> None:
    from xml.etree import ElementTree

    svg = to_svg(draw_confusions([(HOSTILE, np.eye(2))], [HOSTILE, "b"]))
    assert "<script" not in svg
    assert any("alert(1)" in (text.text or "") for text in ElementTree.fromstring(svg).iter())


def test_a_failure_leaves_the_old_report_as_it_was(report: tuple[Path, str], tmp_path: Path) -> None:
    shutil.copytree(report[0], tmp_path, dirs_exist_ok=True)
    before = read_page(tmp_path)
    scores = tmp_path / "results/runs/phantom_xray/published/vgg16/0/metrics.json"
    half = {key: value for key, value in json.loads(scores.read_text(encoding="utf-8")).items() if key != "confusion"}
    write_json(scores, seal_record(half))
    with pytest.raises(KeyError):
        build(tmp_path)
    assert read_page(tmp_path) == before
    assert [path.name for path in (tmp_path / "results").glob(".report*")] == []


def test_a_run_that_is_not_scored_now_is_not_reported_from_its_files(report: tuple[Path, str], tmp_path: Path) -> None:
    shutil.copytree(report[0], tmp_path, dirs_exist_ok=True)
    manifest = tmp_path / "results/runs/phantom_xray/audited/mobilenetv2/0/manifest.json"
    manifest.write_text("[]")
    results = read_results(tmp_path / "results", PLAN, tmp_path / "results/compare", tmp_path / "report")
    assert ("audited", "mobilenetv2") not in {(run.protocol, run.architecture) for run in results.scored}
    (reason,) = results.runs.loc[results.runs["state"] == "failed", "reason"]
    assert "audited/mobilenetv2/0/manifest.json cannot be read (it holds a list, not an object)" in reason


def test_accepted_edits_stand_beside_their_run(report: tuple[Path, str], tmp_path: Path) -> None:
    shutil.copytree(report[0], tmp_path, dirs_exist_ok=True)
    path = tmp_path / "results/runs/phantom_xray/audited/mobilenetv2/0/manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["inputs"]["code"]["covbench.models.classifier"] = "0" * 64
    rewrite_manifest(path, manifest)
    build(tmp_path)
    assert "↻ stale 0/1" in read_page(tmp_path)
    assert "declared" not in section_of(read_page(tmp_path), "grid")
    accept(PLAN, ["results/runs/phantom_xray/audited/mobilenetv2/0"], "a comment", tmp_path)
    build(tmp_path)
    grid, words = section_of(read_page(tmp_path), "grid"), "a comment (covbench.models.classifier edited)"
    assert "stale 0/1" not in grid
    assert words in grid.split("Accepted edits", 1)[1]
    of_model = tmp_path / "results/report/models/phantom_xray/audited/mobilenetv2.html"
    assert words in section_of(of_model.read_text(encoding="utf-8"), "origin")


def test_one_failed_seed_shows_the_cell_as_failed() -> None:
    runs = pd.DataFrame({"state": ["scored", "failed"], "reason": ["", "out of memory"]})
    cell = state_cell(runs)
    assert (cell.text, cell.kind, cell.note) == ("✗ failed 1/2", "failed", "out of memory")


def test_overlay_paints_hits_yellow_false_alarms_red_and_misses_green() -> None:
    truth, predicted = np.array([[True, False, True, False]]), np.array([[True, True, False, False]])
    picture = overlay_errors(np.full((1, 4), 100, np.uint8), truth, predicted, strength=1.0)
    assert picture[0].tolist() == [[255, 221, 0], [226, 26, 28], [0, 200, 70], [100, 100, 100]]


def test_overlays_on_disk_hold_the_colours_of_the_study(report: tuple[Path, str]) -> None:
    path = report[0] / "results/report/figures/cases/phantom_lesions_audited_model_empty_mask.png"
    pixels = np.asarray(Image.open(path)).astype(int)
    painted = pixels[pixels.max(axis=2) != pixels.min(axis=2)]
    assert len(painted)
    assert (painted[:, 1] > painted[:, 0]).all()  # an empty prediction only misses: green


def test_cases_are_spread_from_worst_to_best_without_undefined_ones() -> None:
    assert choose_spread([0.5, np.nan, 0.1, 0.9, 0.7], 3) == [2, 4, 3]
    assert choose_spread([np.nan, 0.2], 3) == [1]


def test_confusions_are_read_in_percent_of_the_true_class() -> None:
    total = np.array([[8.0, 2.0], [10.0, 30.0]])
    assert read_confusions(total, ["normal", "covid"]).endswith("25% of covid predicted as normal.")
    assert read_confusions(np.eye(2), ["normal", "covid"]) == "No model confuses any two classes."


def test_bars_leave_an_undefined_value_out() -> None:
    values = pd.DataFrame(
        {"architecture": ["a", "b"], "protocol": "audited", "metric": "f1_macro", "mean": [0.5, np.nan]}
    ).assign(low=np.nan, high=np.nan)
    figure = draw_metric_bars(values, ["a", "b"], ["f1_macro"], {("a", "f1_macro"): 0.6})
    (axes,) = figure.axes
    assert [round(bar.get_height(), 3) for bar in axes.patches] == [0.5, 0.0]
    assert [text.get_text() for text in axes.texts] == ["–"]


def test_bars_of_three_protocols_follow_the_story_and_differ_in_hatch() -> None:
    names = ("audited", "published", "published_audited_split")
    values = pd.DataFrame(
        {"architecture": "a", "protocol": names, "metric": "auroc", "mean": 0.5, "low": 0.4, "high": 0.6}
    )
    (axes,) = draw_metric_bars(values, ["a"], ["auroc"], {}).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "published",
        "published recipe, audited folds",
        "audited",
    ]
    assert len({bar.get_hatch() for bar in axes.patches}) == 3


def test_numbers_and_file_names_are_written_plainly() -> None:
    assert (show(0.12345), show(None), show(float("nan"))) == ("0.123", "–", "–")
    assert slug("../a b", "<c>") == "a_b_c"


def test_the_report_needs_no_masks_of_the_size_that_was_predicted(report: tuple[Path, str], tmp_path: Path) -> None:
    shutil.copytree(report[0], tmp_path, dirs_exist_ok=True)
    prepared = tmp_path / "data" / "prepared" / "phantom_lesions"
    prepared.joinpath("64").rename(prepared / "32")
    build(tmp_path)
    assert 'id="truth-' not in read_page(tmp_path)
