"""Search, agents and their evaluation."""
