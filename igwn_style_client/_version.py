"""The version, in one place that needs no import to be read."""

__version__ = "0.1.0"
