"""covbench: an honest comparison of deep learning architectures for COVID-19 imaging."""

__version__ = "0.1.0"
