"""What the engine costs: each module here measures one thing against another way of doing it, and has a bar to reach.

A measurement is a module with a one-line docstring (its heading in docs/explanation/performance.md) and `measure() -> list[Row]`;
it is found by itself. `python -m bench loader` runs one, `make bench` all of them.
"""
