"""The unified model and its training."""
