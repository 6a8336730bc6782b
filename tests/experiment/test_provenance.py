"""What a fingerprint covers, and how two sets of inputs are told apart."""

import importlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from covbench.data.datasets import TASKS
from covbench.experiment import code_fingerprint as dependencies
from covbench.experiment.code_fingerprint import (
    DISTRIBUTIONS,
    INERT,
    INERT_PACKAGES,
    KINDS,
    depend_run,
    read_lock,
)
from covbench.experiment.plan import plan_run
from covbench.experiment.provenance import (
    decide_inputs,
    describe_run,
    expect_inputs,
    find_differences,
    find_unlocked,
    fingerprint_inputs,
    list_differences,
)
from covbench.protocols import protocol_options
from covbench.schema import Run

RUN = Run("covid_ct", "audited", "vgg16", 3)
OPTIONS = replace(protocol_options("audited", TASKS["covid_ct"]), size=224, head_rate=1e-4)
CONFIG = {"weights": "none", "deterministic": True, "precision": "float32", "threads": 1}
PLANNED = plan_run(CONFIG, RUN, OPTIONS)


@pytest.fixture
def data(tmp_path):
    """A folder with the files that RUN reads."""
    for name, path in PLANNED.inputs.by_name.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(name)
    return tmp_path


def test_the_fingerprint_is_the_same_after_a_trip_through_json_and_another_for_any_changed_part(data):
    inputs = expect_inputs(PLANNED, data)
    fingerprint = fingerprint_inputs(inputs)
    assert re.fullmatch(r"[0-9a-f]{64}", fingerprint)
    assert fingerprint_inputs(json.loads(json.dumps(inputs))) == fingerprint
    others = {fingerprint_inputs(inputs | {part: "changed"}) for part in inputs}
    assert len(others | {fingerprint}) == len(inputs) + 1


def test_a_manifest_holds_the_inputs_of_its_fingerprint_and_what_is_installed(data):
    manifest = describe_run(expect_inputs(PLANNED, data), seconds=4.5)
    assert fingerprint_inputs(json.loads(json.dumps(manifest["inputs"]))) == manifest["fingerprint"]
    assert manifest["run"] == {"task": "covid_ct", "protocol": "audited", "architecture": "vgg16", "seed": 3}
    assert manifest["seconds"] == 4.5
    assert manifest["packages"]["keras"]
    assert find_differences(PLANNED, manifest, data) == []


def test_a_package_that_is_not_the_locked_one_is_named_in_the_log_and_in_the_manifest(data, caplog):
    inputs = expect_inputs(PLANNED, data)
    installed = inputs["packages"]["numpy"]
    inputs["packages"] |= {"numpy": "0.1", "no-such-package": "2.0"}
    manifest = describe_run(inputs)
    assert manifest["unlocked"]["numpy"] == {"installed": installed, "locked": "0.1"}
    assert manifest["unlocked"]["no-such-package"] == {"installed": "none", "locked": "2.0"}
    assert f"numpy {installed} is installed, but 0.1 is locked" in caplog.text


def test_this_environment_is_the_locked_one():
    assert (
        find_unlocked({name: version for kind in KINDS for name, version in depend_run(kind, "")["packages"].items()})
        == {}
    )


def test_each_difference_names_its_input_with_both_values(data):
    manifest = {"inputs": expect_inputs(PLANNED, data)}
    changed = plan_run(CONFIG | {"precision": "mixed_float16", "threads": 2}, RUN, replace(OPTIONS, head_rate=0.5))
    (data / PLANNED.inputs.split).write_text("other rows")
    assert list_differences(find_differences(changed, manifest, data)) == (
        "head_rate 0.0001 (planned 0.5), precision 'float32' (planned 'mixed_float16'), threads 1 (planned 2), "
        "split changed"
    )
    manifest["inputs"]["code"]["covbench.training.fit"] = "0" * 64
    manifest["inputs"]["packages"]["keras"] = "3.0.0"
    assert list_differences(find_differences(PLANNED, manifest, data)) == (
        f"covbench.training.fit edited, keras '3.0.0' (planned '{read_lock()['keras']}'), split changed"
    )


def test_a_file_that_is_not_there_cannot_have_changed(data):
    manifest = {"inputs": expect_inputs(PLANNED, data)}
    (data / PLANNED.inputs.images).unlink()
    assert find_differences(PLANNED, manifest, data) == []


def test_a_manifest_of_another_form_differs():
    assert list_differences(find_differences(PLANNED, {"inputs": {"files": {}}})).startswith(
        "manifest 'without these inputs'"
    )


def test_a_baseline_is_not_decided_by_options_precision_or_training_code():
    inputs = decide_inputs(Run("covid_ct", "audited", "majority", 0), {}, {})
    assert "covbench.models.baselines" in inputs["code"]
    assert "covbench.training.fit" not in inputs["code"]
    assert "keras" not in inputs["packages"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_package_that_a_run_imports_is_locked_or_known_to_decide_nothing(kind):
    script, unused = KINDS[kind]
    _, foreign = dependencies._trace(script, (), unused)
    wanted = {name for imported in foreign for name in DISTRIBUTIONS.get(imported, (imported,))}
    assert wanted - read_lock().keys() == set()


@pytest.mark.parametrize("kind", KINDS)
def test_every_module_that_a_run_imports_is_hashed_or_inert_with_a_reason(kind):
    script, unused = KINDS[kind]
    files, _ = dependencies._trace(script, (), unused)
    imported = {name for path in files.values() for name in dependencies._imports(path) if name.startswith("covbench")}
    left_out = {name for name in imported - files.keys() - unused if not name.startswith(INERT_PACKAGES)}
    modules = (importlib.import_module(name) for name in left_out - INERT.keys())
    assert [module.__name__ for module in modules if Path(module.__file__).name != "__init__.py"] == []
    assert all(INERT.values())


def test_classifiers_and_segmenters_do_not_depend_on_each_others_networks():
    classifier, segmenter = (
        depend_run(kind, name)["code"]
        for kind, name in (("classification", "small_cnn"), ("segmentation", "unet_small"))
    )
    assert {"covbench.models.segmenter", "covbench.models.sm_adapter"} & classifier.keys() == set()
    assert "covbench.models.classifier" not in segmenter
    networks = "covbench.models.networks."
    assert {name for name in classifier if name.startswith(networks)} == {f"{networks}small_cnn"}
    assert {name for name in segmenter if name.startswith(networks)} == {f"{networks}unet_small"}
    assert not any(name.startswith(networks) for name in depend_run("classification", "vgg16")["code"])
    assert {
        "covbench.training.fit",
        "covbench.training.job",
        "workflow.scripts.train",
    } <= classifier.keys() & segmenter.keys()
    assert not any(name.split(".")[1] in ("reporting", "evaluation", "datasets") for name in classifier | segmenter)
