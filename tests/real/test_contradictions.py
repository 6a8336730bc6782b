"""Contradictory labels of the real samples, and planted ones."""

import numpy as np
import pandas as pd
import pytest

from covbench.audit.contradictions import audit_labels
from covbench.audit.duplicates import SIDE, Thumbnails, find_duplicates, hash_crops
from covbench.audit.splits import assign_folds
from covbench.data.datasets import TASKS, usable_rows
from covbench.data.images import read_image, resize_image
from covbench.protocols import split_rule
from tests.real.test_index import SAMPLES, index_sample
from tests.real.test_planted_annotations import add_text
from tests.real.test_planted_duplicates import audit_sample

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SAMPLES.is_dir(), reason="../shared/data is not here"),
]
CLASSIFIED = {"covid_ct": "covid_ct", "ieee8023_xray": "ieee8023", "radiography": "radiography"}


def test_the_findings_of_the_samples_are_those_that_were_looked_at():
    indexes = {name: index_sample(name)[1] for name in CLASSIFIED.values()}
    samples = {name: audit_sample(name) for name in CLASSIFIED.values()}
    duplicates = {(name, name): found for name, (_, _, found) in samples.items()}
    across = find_duplicates(*samples["ieee8023"][:2], *samples["radiography"][:2])
    tables = audit_labels(
        indexes, duplicates | {("ieee8023", "radiography"): across}, [TASKS[name] for name in CLASSIFIED]
    )
    pairs = tables["contradictions"][["image_id", "label", "other_id", "other_label"]].to_numpy().tolist()
    assert pairs == [["images/7afaaccc.jpg", "non_covid", "images/ec083e35.jpg", "covid"]]
    mixed = tables["mixed_patients"]
    assert (set(mixed["task"]), mixed["patient_id"].nunique(), len(mixed)) == ({"ieee8023_xray"}, 7, 20)
    assert len(tables["dropped"]) == 0


def test_test_images_filed_again_with_another_label_and_words_burnt_in_are_listed_and_dropped():
    rows, thumbnails, _ = audit_sample("covid_ct")
    raw, _ = index_sample("covid_ct")
    chosen = rows[(rows["official_fold"] == "test") & (rows["label"] == "covid")].sample(3, random_state=0)
    rng = np.random.default_rng(0)
    small = []
    for row in chosen.to_dict("records"):
        image = np.ascontiguousarray(
            read_image(raw / row["path"], -1, row["window_low"], row["window_high"], "")
        ).copy()
        add_text(image, rng)
        small.append(resize_image(image, SIDE))
    again = chosen.assign(label="non_covid", official_fold="train", image_id=["again0", "again1", "again2"])
    again = again.assign(patient_id=again["image_id"], sha256=again["image_id"])
    more = pd.concat([rows, again], ignore_index=True)
    both = Thumbnails(
        np.concatenate([thumbnails.image_id, again["image_id"].to_numpy(str)]),
        np.concatenate([thumbnails.images, small]),
        np.concatenate([thumbnails.hashes, [hash_crops(image) for image in small]]),
        np.concatenate([thumbnails.shapes, thumbnails.shapes[:3]]),
    )
    duplicates = find_duplicates(more, both, more, both)
    task = TASKS["covid_ct"]
    tables = audit_labels({"covid_ct": more}, {("covid_ct", "covid_ct"): duplicates}, [task])
    listed = set(zip(tables["contradictions"]["image_id"], tables["contradictions"]["other_id"], strict=True))
    assert set(zip(chosen["image_id"], again["image_id"], strict=True)) <= listed
    dropped = tables["dropped"].set_index("image_id")
    assert dropped["contradictory"].to_dict() == dict.fromkeys(again["image_id"], 1)
    assert set(dropped["other_official_fold"]) == {"test"}
    split = assign_folds(usable_rows(more, task), duplicates, task, split_rule("audited", task), 0)
    assert set(more["image_id"]) - set(split["image_id"]) == set(again["image_id"])
