"""Named runs of the commands in this package, as YAML for Hydra."""
