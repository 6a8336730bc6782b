"""The metrics: each is one function with its label and definition, in a module per kind of task."""
