"""The version of distask."""

__version__ = "0.1.0"
