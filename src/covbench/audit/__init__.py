"""Find the images that belong together, divide them into folds, and report what leaked."""
