"""A config's mistakes are told before the first job, all at once, with the nearest known name."""

from pathlib import Path

import pytest
import yaml

from covbench.configuration import SCHEMA, check_config
from covbench.protocols import Options
from covbench.schema import CovbenchError

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"tasks": ["radiography"], "architectures": {"classification": ["vgg16"]}}


def mistakes_of(**changes):
    with pytest.raises(CovbenchError) as caught:
        check_config(SMALL | changes)
    return str(caught.value)


def test_defaults_are_filled_in():
    config = check_config(SMALL)
    assert config["protocols"] == ["published", "audited"]
    assert config["architectures"]["segmentation"] == []
    assert config["fetch"] == {"mirror": None}
    assert config["weights"] == {"mirror": None}
    assert config["tracking"]["uri"].startswith("sqlite:///")


@pytest.mark.parametrize("name", ["config.yaml", "demo.yaml", "sample.yaml"])
def test_the_configs_that_ship_are_sound(name):
    check_config(yaml.safe_load((ROOT / "config" / name).read_text()))


def test_an_unknown_key_is_named_with_the_nearest_one():
    assert "sedes: unknown key; did you mean 'seeds'?" in mistakes_of(sedes=[0])


def test_an_unknown_option_is_named_with_its_whole_path():
    message = mistakes_of(options={"audited": {"classification": {"batchsize": 3}}})
    assert "options.audited.classification.batchsize: unknown key; did you mean 'batch_size'?" in message


def test_every_mistake_is_told_at_once():
    message = mistakes_of(tasks=["radiographie", "covid_tc"], protocols=["audit"])
    assert "did you mean 'radiography'?" in message
    assert "did you mean 'covid_ct'?" in message
    assert "did you mean 'audited'?" in message


def test_a_segmenter_among_classifiers_is_told_where_it_belongs():
    message = mistakes_of(architectures={"classification": ["unet_vgg19"]})
    assert "move it to architectures.segmentation" in message


def test_a_rate_that_yaml_reads_as_text_gets_the_right_spelling():
    rate = yaml.safe_load("fine_tune_rate: 1e-4")
    assert "write 1.0e-04" in mistakes_of(options={"audited": {"classification": rate}})


def test_weights_none_is_an_explicit_choice_and_other_words_are_refused():
    assert check_config(SMALL | {"weights": "none"})["weights"] == "none"
    assert "weights" in mistakes_of(weights="imagenett")


def test_the_schema_describes_every_training_option_and_nothing_else():
    described = yaml.safe_load(SCHEMA.read_text())["$defs"]["options"]["properties"]
    assert list(described) == list(Options.__dataclass_fields__)
    assert all(option["description"] for option in described.values())
