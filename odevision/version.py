"""The version, in a place that every folder may import."""

__version__ = "0.1.0"
