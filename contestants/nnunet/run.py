"""nnU-Net v2 through its own commands: plan and preprocess, train its 2D network on the split's folds, predict."""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

DATASET, TRAINER = "Dataset001_split", "TimedTrainer"
PARTS = ("imagesTr", "labelsTr", "imagesTs", "dataset.json")


def call(*words):
    """Run a command of nnU-Net that lies beside this Python."""
    subprocess.run([str(Path(sys.executable).with_name(words[0])), *map(str, words[1:])], check=True)


def arrange(given, place):
    """Arrange the given folder as nnU-Net looks for it, and say where by its environment variables."""
    for name in ("raw", "preprocessed", "results"):
        (place / name).mkdir(parents=True)
        os.environ[f"nnUNet_{name}"] = str(place / name)
    (place / "raw" / DATASET).mkdir()
    for part in PARTS:
        (place / "raw" / DATASET / part).symlink_to(given / part)


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
    place = Path("work").resolve()
    arrange(options.given, place)
    os.environ |= {"nnUNet_extTrainer": str(Path(__file__).resolve().parent), "nnUNet_n_proc_DA": "2"}
    os.environ |= {"EPOCHS": str(options.epochs), "STEPS": str(options.steps), "SEED": str(options.seed)}
    call("nnUNetv2_plan_and_preprocess", "-d", 1, "-c", "2d", "-np", 2, "-npfp", 2, "--verify_dataset_integrity")
    shutil.copy(options.given / "splits_final.json", place / "preprocessed" / DATASET)
    call("nnUNetv2_train", 1, "2d", 0, "-tr", TRAINER, "-device", options.device)
    folder, masks = options.given / "imagesTs", options.written / "masks"
    chosen = ("-d", 1, "-c", "2d", "-f", 0, "-tr", TRAINER, "-device", options.device, "-npp", 1, "-nps", 1)
    call("nnUNetv2_predict", "-i", folder, "-o", masks, *chosen)


main()
