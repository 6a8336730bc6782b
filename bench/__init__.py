"""Measure what the engine costs. Each module here compares one part with another way of doing it, and has a bar.

A measurement is a module with a function `measure() -> list[Row]` and a one-line docstring, which is its heading in
docs/explanation/performance.md. New modules are found by themselves. `python -m bench loader` runs one measurement,
`make bench` runs all of them.
"""
