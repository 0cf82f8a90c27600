"""Checkpoints to numbers and predictions, as plain dataclasses."""
