"""Same seed, same numbers: real trainings whose only difference is how Snakemake and the environment allot threads."""

import pandas as pd
import pytest

from covbench.schema import Run
from tests.synthetic_run import read_result

from .conftest import run_snakemake, take_data

pytestmark = pytest.mark.slow
NETWORKS = [Run("phantom_xray", "audited", "small_cnn", 0), Run("phantom_lesions", "audited", "unet_small", 0)]
BASELINE = Run("phantom_xray", "audited", "hog_logistic", 0)
TINY = {"size": 32, "batch_size": 32, "head_epochs": 0, "fine_tune_epochs": 1}
CONFIG = {
    "tasks": [run.task for run in NETWORKS],
    "architectures": {"classification": ["small_cnn"], "segmentation": ["unet_small"]},
    "baselines": {"classification": ["hog_logistic"], "segmentation": []},
    "protocols": ["audited"],
    "seeds": [0],
    "fetch": {"mirror": None},
    "weights": "none",
    "options": {"audited": {"classification": TINY, "segmentation": TINY}},
    "deterministic": True,
    "precision": "float32",
    "threads": 2,
    "tracking": {"uri": "sqlite:///results/mlflow.db", "live": False},
}
TARGETS = [f"{run.folder}/predictions.parquet" for run in [*NETWORKS, BASELINE]]


@pytest.fixture(scope="module")
def train(finished, tmp_path_factory):
    """A function that trains everything anew and reads what became of it: results by architecture."""

    def run(config=CONFIG, cores=2, **environment):
        folder = tmp_path_factory.mktemp("same numbers")
        take_data(finished, folder)
        done = run_snakemake(folder, config, *TARGETS, cores=cores, environment=environment)
        assert done.returncode == 0, done.stderr[-5000:]
        found = {run.architecture: read_result(folder / run.folder) for run in NETWORKS}
        simple = pd.read_parquet(folder / BASELINE.folder / "predictions.parquet")
        return found | {BASELINE.architecture: simple.to_dict("list")}

    return run


@pytest.fixture(scope="module")
def two_cores(train):
    return train()


def test_one_core_and_other_threads_of_the_environment_give_the_weights_and_predictions_of_two(train, two_cores):
    others = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "2", "TF_NUM_INTRAOP_THREADS": "1"}
    assert train(cores=1, TF_ENABLE_ONEDNN_OPTS="0", **others) == two_cores


def test_another_number_of_threads_gives_other_weights_under_another_fingerprint(train, two_cores):
    found = train(CONFIG | {"threads": 1})
    for run in NETWORKS:
        for part in ("weights", "fingerprint"):
            assert found[run.architecture][part] != two_cores[run.architecture][part]
    assert found[BASELINE.architecture] == two_cores[BASELINE.architecture]
