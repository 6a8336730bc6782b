"""From the config to the plan, the fingerprint and the state of every run; no TensorFlow."""
