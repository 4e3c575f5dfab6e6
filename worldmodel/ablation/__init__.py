"""Comparisons of settings: many small pretraining runs, their rows, and the tables made of them."""
