"""Breaks every rule of tests/architecture.py but the length of files."""

from __future__ import annotations

import random

import numpy as np
import torch

import planners.cem
from worldmodel.flow import FlowConfig

from . import rejected_by_format

RECORDINGS = "/home/somebody/recordings"


def draw(a: int, b: int, c: int, d: int, e: int, f: int, g: int, h: int) -> object:
    """Draw from five global streams."""
    torch.manual_seed(a)
    np.random.seed(b)
    rng = np.random.default_rng()
    noise = torch.randn(c, d)
    generator = torch.Generator().manual_seed(e)
    return random.random(), np.random.normal(), rng, noise, generator, f, g, h


def nest(values: list[list[int]]) -> int:
    """Go four deep."""
    for row in values:
        if row:
            with open(row[0]) as file:
                while file:
                    return 1
    return 0


def long() -> None:
    """Take 61 lines."""
    values = []
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    values += [0]
    print(values, planners, FlowConfig, rejected_by_format, RECORDINGS)
