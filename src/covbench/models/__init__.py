"""Networks and baselines: input scaling inside, raw pixels in, probabilities out."""
