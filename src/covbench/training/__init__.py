"""One job: arrays and a split in, a model and its predictions out."""
