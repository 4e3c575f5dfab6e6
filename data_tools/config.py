"""Configuration: frozen dataclasses as Hydra schemas, and back."""

import dataclasses
from typing import TypeVar, cast

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

Config = TypeVar("Config")


def schema(config_type: type) -> DictConfig:
    """Return a Hydra schema for a frozen dataclass, open to overrides.

    OmegaConf marks every node of a frozen dataclass read-only, so Hydra could not
    apply a single override; the object built from the node is frozen again.
    """
    return _open(OmegaConf.structured(config_type))


def store(name: str, config_type: type) -> None:
    """Make a dataclass known to Hydra under `name`; a YAML names it in its `defaults`."""
    ConfigStore.instance().store(name=name, node=schema(config_type))


def to_object(node: DictConfig, config_type: type[Config]) -> Config:
    """Turn a node composed on the schema of `config_type` into that dataclass; TypeError for others."""
    built = OmegaConf.to_object(node)
    if not isinstance(built, config_type):
        raise TypeError(
            f"needed a configuration on the schema of {config_type.__name__}, got {type(built).__name__}; "
            "start its YAML with that schema in `defaults`"
        )
    return built


def to_dict(config: object) -> dict[str, object]:
    """Return a configuration as plain containers (enums by name), as it is written beside results."""
    plain = OmegaConf.to_container(OmegaConf.structured(config), resolve=True, enum_to_str=True)
    assert dataclasses.is_dataclass(config)
    return cast(dict[str, object], plain)


def _open(node: DictConfig) -> DictConfig:
    OmegaConf.set_readonly(node, None)
    for key in node:
        if not OmegaConf.is_missing(node, key) and OmegaConf.is_dict(node[key]):
            _open(node[key])
    return node
