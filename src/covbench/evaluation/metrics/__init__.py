"""What is scored: each metric is one function with its label and its definition, in a module per kind of task."""
