"""Advance y from t0 to t1. Tensors in, tensors out: no layers, no autograd functions."""
