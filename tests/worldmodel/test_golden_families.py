"""Ten steps of each preset family give the stored losses, and the shrunk families are families indeed."""

import enum
from dataclasses import fields, is_dataclass

import pytest

from tests.worldmodel.golden_families import FAMILIES, compose_preset, read_golden, shrunk, ten_steps

REAL_SWITCHES = ("rotary_base", "norm_eps", "optimisation.learning_rate", "objective.", "mixture.")
"""Settings that are numbers, and yet what a family is."""
TOLERANCE = {"total": 1e-4, "language": 1e-4, "flow": 1e-4, "gradient_norm": 5e-3}
"""Relative. All are bit-identical in torch 2.11 and 2.13 on one machine. Without AVX-512 or AVX2 sums take
another order, and Muon works in bfloat16: losses then differ by 1e-5 at most, norms of gradients by 8e-4."""


def switches(config: object, prefix: str = "") -> dict[str, object]:
    """Return all settings that are no mere sizes, by name."""
    found = {}
    for item in fields(config):  # pyright: ignore[reportArgumentType]
        name, value = prefix + item.name, getattr(config, item.name)
        if is_dataclass(value):
            found |= switches(value, f"{name}.")
        elif isinstance(value, (bool, enum.Enum)) or any(each in name for each in REAL_SWITCHES):
            found[name] = value
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_a_shrunk_family_has_the_switches_of_its_preset(family):
    full, small = compose_preset(family), shrunk(family)
    assert switches(full) | {"precision": None} == switches(small) | {"precision": None}
    assert len(switches(full)) > 20
    is_grouped = [config.model.num_kv_heads < config.model.num_heads for config in (full, small)]
    assert is_grouped == [True, True]


def test_families_differ():
    found = [switches(shrunk(family)) for family in FAMILIES]
    assert all(one != other for index, one in enumerate(found) for other in found[:index])


@pytest.mark.parametrize("family", FAMILIES)
def test_ten_steps_give_the_golden_losses_and_repeat_exactly(family):
    found = ten_steps(family)
    for name, golden in read_golden()[family].items():
        assert found[name] == pytest.approx(golden, rel=TOLERANCE[name]), name
    assert ten_steps(family) == found
    assert found["total"][-1] < found["total"][0]
