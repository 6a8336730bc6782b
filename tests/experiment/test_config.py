"""A config's mistakes are told before the first job, all at once, with the nearest known name."""

import copy
import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from covbench.data.augmentation import AUGMENTATIONS
from covbench.data.datasets import TASKS
from covbench.experiment.config import HEADS, SCHEMA, check_config
from covbench.experiment.plan import plan_runs
from covbench.protocols import Options
from covbench.schema import CLASSIFICATION, SEGMENTATION, CovbenchError
from covbench.system.energy import UNSAID, EnergySettings

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"tasks": ["radiography"], "architectures": {"classification": ["vgg16"]}}


def mistakes_of(**changes):
    with pytest.raises(CovbenchError) as caught:
        check_config(SMALL | changes)
    return str(caught.value)


def test_defaults_are_filled_in():
    config = check_config(SMALL)
    assert config["protocols"] == ["published", "published_audited_split", "audited"]
    assert config["architectures"]["segmentation"] == []
    assert config["fetch"] == {"mirror": None}
    assert config["weights"] == {"mirror": None, "substitutes": []}
    assert config["tracking"]["uri"].startswith("sqlite:///")
    assert EnergySettings(**config["energy"]) == UNSAID


@pytest.mark.parametrize("name", ["config.yaml", "demo.yaml", "sample.yaml"])
def test_the_configs_that_ship_are_sound(name):
    check_config(yaml.safe_load((ROOT / "config" / name).read_text()))


def test_an_unknown_key_is_named_with_the_nearest_one():
    assert "sedes: unknown key; did you mean 'seeds'?" in mistakes_of(sedes=[0])


def test_an_unknown_option_is_named_with_its_whole_path():
    message = mistakes_of(options={"audited": {"classification": {"batchsize": 3}}})
    assert "options.audited.classification.batchsize: unknown key; did you mean 'batch_size'?" in message


def test_the_repeated_protocol_has_no_options_of_its_own():
    message = mistakes_of(options={"published_audited_split": {"classification": {"size": 96}}})
    assert (
        "options.published_audited_split: it has the options of published; write changes under options.pub" in message
    )


def test_an_option_of_an_older_config_is_answered_with_its_new_name():
    message = mistakes_of(options={"published": {"classification": {"views": 8}}})
    assert "options.published.classification.views: renamed to augmented_views" in message


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


def test_a_search_is_off_by_default_and_needs_only_the_number_of_its_trials():
    assert check_config(SMALL)["search"] is None
    assert check_config(SMALL | {"search": {"trials": 8}})["search"] == {"trials": 8, "factors": [0.1, 10.0]}


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"trials": 1}, "search.trials: 1 is too small; the minimum is 2"),
        ({"factors": [0.1, 10.0]}, "search.trials: missing; add this key"),
        ({"trials": 3, "rates": [0.1, 1.0]}, "search.rates: unknown key; known: factors, trials"),
        (
            {"trials": 3, "factors": [10.0, 0.1]},
            "search.factors: 10.0 is not below 0.1; write the smaller factor first",
        ),
        ({"trials": 3, "factors": [1.0, 1.0]}, "search.factors: 1.0 is not below 1.0; write the smaller factor first"),
        ({"trials": 3, "factors": [0.0, 1.0]}, "search.factors.0: 0.0 is too small; it has to be above 0"),
        ({"trials": 3, "factors": [0.1, 1.0, 10.0]}, "search.factors: [0.1, 1.0, 10.0] is too long a list; name at mo"),
        (8, "search: 8 is no set of keys with values or null"),
    ],
)
def test_a_mistake_in_a_search_names_its_key_and_the_remedy(search, message):
    assert message in mistakes_of(search=search)


def test_a_search_without_a_protocol_that_is_searched_is_refused():
    message = mistakes_of(search={"trials": 3}, protocols=["published", "published_audited_split"])
    assert "search: no planned protocol is searched; add audited to protocols, or remove search" in message


def test_weights_none_is_an_explicit_choice_and_other_words_are_refused():
    assert check_config(SMALL | {"weights": "none"})["weights"] == "none"
    assert "weights" in mistakes_of(weights="imagenett")


def test_the_readme_counts_the_trainings_of_the_whole_study():
    config = check_config(yaml.safe_load((ROOT / "config" / "config.yaml").read_text()))
    product = re.search(
        r"\((\d+) classification tasks x (\d+) classifiers \+ (\d+) segmentation tasks x (\d+) segmenters"
        r" \+ (\d+) of binary masks\) x (\d+) protocols x (\d+) seeds = ([\d,]+) trainings",
        (ROOT / "config" / "README.md").read_text(),
    )
    counted = [int(number.replace(",", "")) for number in product.groups()]
    kinds = [TASKS[name].kind for name in config["tasks"]]
    sizes = []
    for kind in (CLASSIFICATION, SEGMENTATION):
        sizes += [kinds.count(kind), len(config["architectures"][kind])]
    sizes.append(len(config["architectures"]["zenodo_infection"]))
    assert counted[:7] == [*sizes, len(config["protocols"]), len(config["seeds"])]
    assert counted[7] == sum(planned.is_deep for planned in plan_runs(config))


def test_the_schema_describes_every_training_option_and_nothing_else():
    described = yaml.safe_load(SCHEMA.read_text())["$defs"]["options"]["properties"]
    assert list(described) == list(Options.__dataclass_fields__)
    assert all(option["description"] for option in described.values())


def test_options_have_the_types_of_the_training_code():
    """A number where the code has a float, a whole number for an int, true or false for a bool, words for a str."""
    described = yaml.safe_load(SCHEMA.read_text())["$defs"]["options"]["properties"]
    types = {"int": "integer", "float": "number", "bool": "boolean", "str": None, "int | str": ["integer", "string"]}
    assert {name: option.get("type") for name, option in described.items()} == {
        field.name: types[str(field.type)] for field in fields(Options)
    }


def test_words_that_options_may_take_are_those_the_code_knows():
    from covbench.models.classifier import HEADS as CLASSIFIER_HEADS
    from covbench.models.losses import LOSSES
    from covbench.models.segmenter import HEADS as SEGMENTER_HEADS

    described = yaml.safe_load(SCHEMA.read_text())["$defs"]["options"]["properties"]
    assert set(described["augmentation"]["enum"]) == set(AUGMENTATIONS)
    assert set(described["loss"]["enum"]) == set(LOSSES)
    assert set(HEADS["classification"]) == set(CLASSIFIER_HEADS)
    assert set(HEADS["segmentation"]) == set(SEGMENTER_HEADS)
    assert set(described["head"]["enum"]) == {head for heads in HEADS.values() for head in heads}


def test_substitute_weights_have_known_names():
    named = {"mirror": "weights", "substitutes": ["mobilenetv2_dequantised"]}
    assert check_config(SMALL | {"weights": named})["weights"] == named
    message = mistakes_of(weights={"mirror": "weights", "substitutes": ["mobilenetv2_dequantized"]})
    assert "weights.substitutes: unknown name 'mobilenetv2_dequantized'; did you mean" in message


def test_the_precision_of_older_configs_is_answered_with_what_to_write():
    message = mistakes_of(precision="auto")
    assert "precision: 'auto' is no choice; write float32, which every machine has, or mixed_bfloat16" in message


def test_a_wrong_word_gets_the_nearest_choice():
    message = mistakes_of(options={"audited": {"segmentation": {"loss": "crossentropy_dise"}}})
    assert (
        "options.audited.segmentation.loss: 'crossentropy_dise' is no choice; did you mean 'crossentropy_dice'?"
        in message
    )


def test_a_head_of_the_other_kind_is_refused():
    message = mistakes_of(options={"audited": {"radiography": {"head": "softmax_map"}}})
    assert "options.audited.radiography.head: 'softmax_map' does not suit classification" in message


def test_a_key_that_resembles_none_gets_the_list_of_keys():
    assert "epohcs: unknown key; known: architectures, arguments, baselines," in mistakes_of(epohcs=30)


def test_a_seed_in_quotes_is_told_apart_from_a_rate():
    assert "seeds.0: '0' is text, not a whole number; write it without quotes" in mistakes_of(seeds=["0"])


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"architectures": {"classification": ["majority"]}}, "it is a baseline; move it to baselines.classification"),
        ({"baselines": {"classification": ["vgg16"]}}, "it is no baseline; move it to architectures.classification"),
        ({"baselines": {"classification": ["empty_mask"]}}, "it segments; move it to baselines.segmentation"),
    ],
)
def test_a_name_under_the_wrong_key_is_told_where_it_belongs(changes, advice):
    assert advice in mistakes_of(**changes)


def test_a_task_that_nothing_competes_in_is_refused():
    message = mistakes_of(architectures={"segmentation": ["unet_vgg19"]})
    assert "architectures.classification, contestants.classification and baselines.classification are empty" in message


def test_a_store_that_mlflow_cannot_use_is_refused_before_the_first_job():
    assert "tracking.uri: 'mlruns'; Store: sqlite:///" in mistakes_of(tracking={"uri": "mlruns"})


def test_a_password_in_an_address_is_refused_and_not_repeated():
    mistakes = mistakes_of(tracking={"uri": "https://me:secret@server:5000"})
    assert "MLFLOW_TRACKING_PASSWORD" in mistakes
    assert "secret" not in mistakes


def test_a_country_is_named_by_a_code_of_three_letters_and_no_run_depends_on_it():
    assert "energy.country: unknown name 'Germany'" in mistakes_of(energy={"country": "Germany"})
    said = check_config(SMALL | {"energy": {"country": "DEU", "core_watts": 5}})
    assert plan_runs(said) == plan_runs(check_config(SMALL))


def test_the_given_config_is_left_as_it_was():
    given = {"tasks": ["radiography"], "architectures": {"classification": ["vgg16"]}, "options": {"audited": {}}}
    before = copy.deepcopy(given)
    check_config(given)
    assert given == before


def test_every_key_is_explained_for_readers():
    explained = (ROOT / "config" / "README.md").read_text()
    schema = yaml.safe_load(SCHEMA.read_text())
    keys = [*schema["properties"], *schema["$defs"]["options"]["properties"], "mirror", "uri"]
    shown = [[f"`{key}`", f"`{key}.", f".{key}`"] for key in keys]
    assert [key for key, forms in zip(keys, shown, strict=True) if not any(form in explained for form in forms)] == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 0}, "seeds: 0 is no list; write seeds: [0]"),
        ({"tasks": "radiography"}, "tasks: radiography is no list; write tasks: [radiography]"),
        ({"seeds": None}, "seeds: the key has no value; give it a list, or leave the key out"),
        ({"seeds": []}, "seeds: [] is too short a list; name at least 1"),
        ({"seeds": [1, 0, 1]}, "seeds: 1 is listed twice; list it once"),
        ({"seeds": [-1]}, "seeds.0: -1 is too small; the minimum is 0"),
        (
            {"architectures": ["vgg16"]},
            "[vgg16] is no set of keys with values; its keys are classification, segmentation",
        ),
        ({"deterministic": "yes"}, "deterministic: 'yes' is no truth value (true or false)"),
        ({"options": {"audited": {"classification": {"decay": 0}}}}, "decay: 0 is too small; it has to be above 0"),
    ],
)
def test_a_value_of_the_wrong_form_is_shown_beside_its_key_and_the_right_form(changes, message):
    assert message in mistakes_of(**changes)


def test_every_key_that_is_missing_is_named_once():
    with pytest.raises(CovbenchError) as caught:
        check_config({})
    assert str(caught.value).splitlines() == [
        "config: tasks: missing; add this key",
        "config: architectures: missing; add this key",
    ]


def test_a_task_may_have_networks_of_its_own():
    config = check_config(
        {
            "tasks": ["zenodo_infection", "zenodo_multiclass"],
            "architectures": {"segmentation": ["unet_vgg19"], "zenodo_infection": ["unet_seresnext101"]},
        }
    )
    planned = [(each.run.task, each.run.architecture) for each in plan_runs(config) if each.run.protocol == "published"]
    assert planned == [
        ("zenodo_infection", "unet_vgg19"),
        ("zenodo_infection", "unet_seresnext101"),
        ("zenodo_multiclass", "unet_vgg19"),
    ]


@pytest.mark.parametrize(
    ("networks", "words"),
    [
        (
            {"zenodo_infecton": ["unet_vgg19"]},
            "architectures.zenodo_infecton: neither a kind of task nor a task; did you",
        ),
        (
            {"zenodo_infection": ["vgg16"]},
            "architectures.zenodo_infection: unknown name 'vgg16'; it classifies; move it",
        ),
        (
            {"segmentation": ["unet_vgg19"], "zenodo_infection": ["unet_vgg19"]},
            "architectures.zenodo_infection: unet_vgg19 is in architectures.segmentation already; list it once",
        ),
    ],
)
def test_networks_of_a_task_are_checked_like_others(networks, words):
    assert words in mistakes_of(architectures={"classification": ["vgg16"], **networks})
