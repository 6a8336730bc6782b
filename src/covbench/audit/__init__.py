"""Which images belong together, how they are divided, and what leaked."""
