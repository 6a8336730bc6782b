"""What the study chose, read from its notebooks and its thesis."""
