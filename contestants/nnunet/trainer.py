"""nnU-Net's trainer with a length, a seed and a line of progress after each epoch."""

import os

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


class TimedTrainer(nnUNetTrainer):
    """Trains EPOCHS epochs of STEPS steps each; all else is nnU-Net's choice."""

    def __init__(self, plans, configuration, fold, dataset_json, device):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs, self.num_iterations_per_epoch = int(os.environ["EPOCHS"]), int(os.environ["STEPS"])
        self.num_val_iterations_per_epoch = max(1, self.num_iterations_per_epoch // 5)
        np.random.seed(int(os.environ["SEED"]))  # noqa: NPY002 (nnU-Net draws from this generator)
        torch.manual_seed(int(os.environ["SEED"]))

    def on_epoch_end(self):
        super().on_epoch_end()
        print(f"progress {self.current_epoch}/{self.num_epochs}", flush=True)

    def perform_actual_validation(self, save_probabilities=False):
        """Predict nothing after the training, since nobody reads it."""
