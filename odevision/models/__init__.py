"""Whole networks, each with its configuration right above it, and an explicit registry."""

from odevision.models.registry import (
    MODELS,
    build_model,
    config_from_dict,
    create_model,
    list_models,
    model_name,
    total_nfe,
)

__all__ = [
    "MODELS",
    "build_model",
    "config_from_dict",
    "create_model",
    "list_models",
    "model_name",
    "total_nfe",
]
