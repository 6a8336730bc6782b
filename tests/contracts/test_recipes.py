"""The recipes of CONTRIBUTING.md, pasted as written into a copy of the project, do what they promise."""

import json
import re
from dataclasses import dataclass

import pytest

from tests.project_copy import ROOT, copy_project, run_in

BLOCK = re.compile(r"(?P<words>.*?)\n```(?P<language>\w+)\n(?P<code>.*?)```", re.DOTALL)
TARGET = re.compile(r"(?:`(?P<table>_\w+)` in )?`(?P<path>(?:src|workflow)/[\w/]+\.(?:py|csv))`")

FINGERPRINTS = """
import json
from covbench.experiment.provenance import decide_inputs, fingerprint_inputs
from covbench.schema import Run
runs = [("phantom_xray", "small_cnn"), ("phantom_xray", "vgg16"), ("phantom_xray", "majority")]
runs += [("phantom_lesions", "unet_small"), ("phantom_lesions", "unet_vgg19"), ("phantom_lesions", "empty_mask")]
inputs = [decide_inputs(Run(task, "audited", name, 0), {"size": 96}, {}) for task, name in runs]
print(json.dumps([fingerprint_inputs(found) for found in inputs]))
"""


@dataclass(frozen=True)
class Recipe:
    """A block to paste. table: the tuple of `path` that it belongs to; empty: the file itself, or its end."""

    path: str
    table: str
    code: str


def read_recipes():
    """The Python and text blocks whose words before name a file; the last file that they name is meant."""
    recipes = []
    for block in BLOCK.finditer((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        targets = list(TARGET.finditer(block["words"].split("\n## ")[-1]))
        if block["language"] in ("python", "text") and targets:
            recipes.append(Recipe(targets[-1]["path"], targets[-1]["table"] or "", block["code"]))
    return recipes


def paste(recipe, project):
    file = project / recipe.path
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    if recipe.table:
        head, tail = before.split(f"\n{recipe.table} = (\n")
        inside, end = tail.split("\n)\n", 1)
        after = f"{head}\n{recipe.table} = (\n{inside}\n{recipe.code.rstrip()}\n)\n{end}"
    else:
        after = f"{before}\n\n{recipe.code}" if file.suffix == ".py" and before else before + recipe.code
    file.write_text(after, encoding="utf-8")


@pytest.fixture(scope="module")
def pasted(tmp_path_factory):
    """A copy of the project with every recipe pasted."""
    project = copy_project(tmp_path_factory.mktemp("pasted"))
    for recipe in read_recipes():
        paste(recipe, project)
    return project


def test_there_is_a_recipe_for_everything_that_is_added():
    targets = [(recipe.path.removeprefix("src/covbench/"), recipe.table) for recipe in read_recipes()]
    assert targets == [
        ("models/catalogue.py", "_OTHER_CLASSIFIERS"),
        ("workflow/resources/weights.csv", ""),
        ("models/networks/tiny_cnn.py", ""),
        ("models/networks/tiny_fcn.py", ""),
        ("data/datasets/my_xrays.py", ""),
        ("evaluation/metrics/classification.py", ""),
        ("protocols.py", ""),
    ]


def test_the_architecture_is_in_the_catalogue_and_has_its_weights(pasted):
    code = """
from covbench.data.sources.pretrained_weights import weights_file
from covbench.models.catalogue import architecture
entry = architecture("mobilenetv2_050")
print(entry.title, entry.alpha, weights_file(entry.weights))
"""
    assert run_in(pasted, code) == "MobileNetV2 0.5 0.5 keras_mobilenetv2_050.h5"


def test_the_networks_are_found_without_keras_and_built_by_their_own_functions(pasted):
    code = """
import sys
from covbench.models.catalogue import architecture
print(architecture("tiny_cnn").title, architecture("tiny_fcn").title, "keras" in sys.modules, sep=", ")
from covbench.models.classifier import build_classifier
from covbench.models.segmenter import build_segmenter
print(build_classifier("tiny_cnn", 32, 2, "average_pool", "own").get_layer("network").output_shape)
model = build_segmenter("tiny_fcn", 33, 3, "own")
print(len(model.get_layer("network").layers), model.output_shape)
"""
    assert run_in(pasted, code).splitlines() == [
        "Tiny CNN, Tiny FCN, False",
        "(None, 8, 8, 16)",
        "4 (None, 33, 33, 3)",  # input, down, up, logits; 33 is resized to 34 inside
    ]


def test_the_dataset_indexes_its_own_sample(pasted, tmp_path):
    code = f"""
from pathlib import Path
from covbench.data.datasets import DATASETS, dataset_of
from covbench.data.external import find_external_tasks
from covbench.data.index import check_index
dataset, raw = DATASETS[dataset_of("my_xrays")], Path({str(tmp_path)!r})
dataset.write_sample(raw)
table = dataset.index(raw)
check_index(table, dataset.CARD)
print(sorted(zip(table["patient_id"], table["label"])), table["excluded"].any())
print(find_external_tasks("my_xrays", ["my_xrays", "ieee8023_xray", "covid_ct"]))
"""
    assert run_in(pasted, code).splitlines() == [
        "[('p01', 'covid'), ('p02', 'normal'), ('p02', 'normal')] False",
        "['ieee8023_xray']",
    ]


def test_the_metric_is_worked_out_by_hand_and_has_its_heading(pasted):
    # four with the disease, three found; two without, one called ill: 3 / 4 + 1 / 2 - 1
    code = """
import numpy as np, pandas as pd
from covbench.evaluation.classification import evaluate_classification
from covbench.evaluation.definitions import label_metric, list_reported
from covbench.schema import Task
truth, found = np.array([1, 1, 1, 1, 0, 0]), np.array([0.9, 0.8, 0.7, 0.2, 0.6, 0.1])
rows = pd.DataFrame({"image_id": list("abcdef"), "copy": 0, "patient_id": list("abcdef"), "source": "", "fold": "test"})
rows = rows.assign(group=rows["patient_id"], duplicate_set=rows["image_id"], truth=truth, p_0=1 - found, p_1=found)
metrics, _ = evaluate_classification(rows, Task("t", "classification", ("healthy", "ill"), positive="ill"))
print(metrics["metrics"]["youden"], label_metric("youden"), "youden" in list_reported("classification"))
"""
    assert run_in(pasted, code) == "0.25 Youden's J True"


def test_the_protocol_is_accepted_by_the_config_and_combines_both(pasted):
    code = """
from covbench.data.datasets import TASKS
from covbench.protocols import PROTOCOLS, protocol_options, split_rule
task = TASKS["sarscov2_ct"]
print(*PROTOCOLS)
print(protocol_options("ungrouped", task) == protocol_options("audited", task))
print(split_rule("ungrouped", task) == split_rule("published", task))
from covbench.experiment.config import check_config
grid = {"tasks": ["sarscov2_ct"], "architectures": {"classification": ["vgg16"]}, "protocols": ["ungrouped"]}
print(check_config(grid)["protocols"])
"""
    known = "published published_audited_split audited ungrouped"
    assert run_in(pasted, code).splitlines() == [known, "True", "True", "['ungrouped']"]


def test_no_recipe_makes_a_run_stale(pasted):
    assert json.loads(run_in(pasted, FINGERPRINTS)) == json.loads(run_in(ROOT, FINGERPRINTS))
