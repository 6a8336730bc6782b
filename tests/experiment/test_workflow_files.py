"""Paths that the rules name, and the lists that the plan makes of them."""

from covbench.data.datasets import TASKS
from covbench.experiment.config import check_config
from covbench.experiment.plan import (
    Settings,
    duplicates_path,
    find_options,
    index_path,
    plan_run,
    plan_runs,
    prepared_paths,
)
from covbench.experiment.workflow_files import (
    group_explained,
    list_duplicates,
    list_external,
    list_splits,
    seed_paths,
)
from covbench.protocols import Options
from covbench.schema import Run

CONFIG = check_config(
    {
        "tasks": ["radiography", "ieee8023_xray", "medseg_multiclass"],
        "architectures": {"classification": ["vgg16", "small_cnn"], "segmentation": ["unet_small"]},
        "baselines": {"classification": ["majority"], "segmentation": []},
        "protocols": ["published", "audited"],
        "seeds": [3, 1],
        "fetch": {"mirror": None},
        "weights": {"mirror": "weights"},
        "options": {},
        "deterministic": False,
        "precision": "float32",
        "threads": 3,
        "tracking": {"uri": "sqlite:///mlflow.db"},
    }
)
PLAN = plan_runs(CONFIG)


def test_a_run_of_a_network_has_options_settings_and_every_file_that_it_reads():
    planned = next(p for p in PLAN if p.run == Run("radiography", "published", "vgg16", 3))
    assert (planned.family, planned.is_deep) == ("deep", True)
    assert isinstance(planned.options, Options)
    assert planned.settings == Settings(deterministic=False, precision="float32", threads=3)
    assert planned.inputs.split == "data/splits/radiography/published/3.parquet"
    assert planned.inputs.prepared == [
        "data/prepared/radiography/240-nearest/images.npy",
        "data/prepared/radiography/240-nearest/rows.parquet",
    ]
    assert planned.inputs.weights == "data/weights/keras_vgg16.h5"
    assert list(planned.inputs.by_name) == ["split", "images", "rows", "weights"]


def test_a_baseline_has_neither_options_nor_settings_in_its_description():
    planned = next(p for p in PLAN if p.run == Run("radiography", "audited", "majority", 1))
    described = planned.describe()
    assert (planned.options, planned.inputs.weights) == (None, None)
    assert (described["family"], described["options"], described["settings"]) == ("baseline", {}, {})
    assert described["folder"] == "results/runs/radiography/audited/majority/1"
    assert described["files"]["images"] == "data/prepared/radiography/224/images.npy"


def test_segmentations_read_masks_and_a_seed_reads_its_own_split():
    options = find_options(CONFIG, "medseg_multiclass", "audited", "unet_small")
    first, other = (
        plan_run(CONFIG, Run("medseg_multiclass", "audited", "unet_small", seed), options).inputs for seed in (1, 3)
    )
    assert first.masks == "data/prepared/medseg_multiclass/256/masks.npy"
    assert (first.split, other.split) == tuple(
        f"data/splits/medseg_multiclass/audited/{seed}.parquet" for seed in (1, 3)
    )
    assert (first.prepared, len(first.prepared)) == (other.prepared, 3)
    assert "masks" not in prepared_paths("radiography", 224, "antialias")


def test_the_plan_has_every_cell_once():
    assert len({planned.run for planned in PLAN}) == len(PLAN) == 2 * 2 * 3 * 2 + 2 * 1 * 2
    assert {planned.run.task for planned in PLAN} <= TASKS.keys()


def test_datasets_are_named_in_the_order_of_the_alphabet():
    assert index_path("ieee8023_xray") == "data/index/ieee8023.parquet"
    one, other = duplicates_path("radiography", "ieee8023_xray"), duplicates_path("ieee8023_xray", "radiography")
    assert one == other == "data/duplicates/ieee8023/radiography.parquet"
    assert duplicates_path("radiography", "radiography") == "data/duplicates/radiography/radiography.parquet"
    assert list_duplicates(["radiography", "medseg", "ieee8023"]) == [
        "data/duplicates/ieee8023/ieee8023.parquet",
        "data/duplicates/ieee8023/radiography.parquet",
        "data/duplicates/medseg/medseg.parquet",
        "data/duplicates/radiography/radiography.parquet",
    ]


def test_lists_of_the_plan_name_each_file_once():
    assert seed_paths("t", "p", "a", [3, 1], "x.json") == ["results/runs/t/p/a/3/x.json", "results/runs/t/p/a/1/x.json"]
    assert len(list_splits(PLAN)) == 3 * 2 * 2
    assert list_splits(PLAN)[0] == "data/splits/ieee8023_xray/audited/1.parquet"
    folders = list_external(PLAN, CONFIG["tasks"])
    assert folders[0] == "results/external/radiography/published/vgg16/ieee8023_xray"
    assert len(folders) == len(set(folders)) == 2 * 2 * 3  # tasks, protocols, models; no lesions


def test_the_lowest_seed_of_each_classification_network_is_explained():
    groups = group_explained(PLAN)
    assert list(groups) == [(task, p) for task in ("radiography", "ieee8023_xray") for p in ("published", "audited")]
    assert [planned.run.folder for planned in groups["radiography", "audited"]] == [
        "results/runs/radiography/audited/vgg16/1",
        "results/runs/radiography/audited/small_cnn/1",
    ]
    assert group_explained([planned for planned in PLAN if not planned.is_deep]) == {}
