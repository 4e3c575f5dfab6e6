"""Recordings in, training documents out; knows nothing of models."""
