"""nnU-Net v2 through its own commands: plan and preprocess, train its 2D network on the split's folds, predict."""

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

DATASET, TRAINER = "Dataset001_split", "TimedTrainer"
PARTS = ("imagesTr", "labelsTr", "imagesTs", "dataset.json")


def call(*words):  # a command of nnU-Net, which lies beside this Python
    subprocess.run([str(Path(sys.executable).with_name(words[0])), *map(str, words[1:])], check=True)


def arrange(given, place):  # the given folder as nnU-Net looks for it, which its environment variables name
    for name in ("raw", "preprocessed", "results"):
        (place / name).mkdir(parents=True)
        os.environ[f"nnUNet_{name}"] = str(place / name)
    (place / "raw" / DATASET).mkdir()
    for part in PARTS:
        (place / "raw" / DATASET / part).symlink_to(given / part)


def add_trainer():
    """Put our trainer beside nnU-Net's own, where it looks for one by its name."""
    package = Path(importlib.util.find_spec("nnunetv2").submodule_search_locations[0])
    shutil.copy(Path(__file__).with_name("trainer.py"), package / "training" / "nnUNetTrainer" / "timed_trainer.py")


def main():
    """Read the arguments and write masks/ID.png for each test image."""
    parser = argparse.ArgumentParser()
    parser.add_argument("given", type=Path)
    parser.add_argument("written", type=Path)
    parser.add_argument("seed", type=int)
    parser.add_argument("device", choices=("cpu", "cuda"))
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True, help="per epoch")
    options = parser.parse_args()
    arrange(options.given, place := Path("work").resolve())
    add_trainer()
    os.environ |= {name.upper(): str(getattr(options, name)) for name in ("epochs", "steps", "seed")}
    os.environ |= {"nnUNet_n_proc_DA": "2"}
    call("nnUNetv2_plan_and_preprocess", "-d", 1, "-c", "2d", "-np", 2, "-npfp", 2, "--verify_dataset_integrity")
    shutil.copy(options.given / "splits_final.json", place / "preprocessed" / DATASET)
    call("nnUNetv2_train", 1, "2d", 0, "-tr", TRAINER, "-device", options.device)
    chosen = ("-d", 1, "-c", "2d", "-f", 0, "-tr", TRAINER, "-device", options.device, "-npp", 1, "-nps", 1)
    call("nnUNetv2_predict", "-i", options.given / "imagesTs", "-o", options.written / "masks", *chosen)


main()
