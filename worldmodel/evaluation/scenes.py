"""Scene: coloured shapes on a grid, with a caption and questions whose answers are known.

`read_scene` is the way back from a picture to the scene: exact for pictures that `draw_scene` made, and the
nearest scene for any other, so that what a model draws from a caption can be checked without a judge.
"""

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (50, 80, 220),
    "yellow": (240, 210, 40),
    "white": (245, 245, 245),
    "black": (15, 15, 15),
}
SHAPES = ("circle", "square", "triangle")
BACKGROUND = (128, 128, 128)
PLACES = (
    ("top left", "top middle", "top right"),
    ("middle left", "centre", "middle right"),
    ("bottom left", "bottom middle", "bottom right"),
)
SIDE = len(PLACES)
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SCALE = 4
"""Shapes are drawn so many times larger and reduced, for smooth edges."""


@dataclass(frozen=True, order=True)
class Thing:
    """One shape in one cell."""

    row: int
    column: int
    colour: str
    shape: str

    @property
    def place(self) -> str:
        """Where it is, in words."""
        return PLACES[self.row][self.column]


@dataclass(frozen=True)
class Scene:
    """Things on the grid, row by row, at most one a cell."""

    things: tuple[Thing, ...]

    @property
    def caption(self) -> str:
        """Every thing with its place."""
        parts = [f"a {thing.colour} {thing.shape} at the {thing.place}" for thing in self.things]
        return f"{', '.join(parts)}."


@dataclass(frozen=True)
class SceneQuestion:
    """A question about a scene, its kind and its answer."""

    kind: str
    question: str
    answer: str


def draw_random(*, rng: np.random.Generator, most: int = 4) -> Scene:
    """Return a scene of one to `most` things, every number as likely."""
    count = int(rng.integers(1, most + 1))
    cells = rng.choice(SIDE * SIDE, size=count, replace=False)
    colours, shapes = list(COLOURS), SHAPES
    things = [
        Thing(
            row=int(cell) // SIDE,
            column=int(cell) % SIDE,
            colour=colours[int(rng.integers(len(colours)))],
            shape=shapes[int(rng.integers(len(shapes)))],
        )
        for cell in cells
    ]
    return Scene(tuple(sorted(things)))


def draw_scene(scene: Scene, *, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Return the picture of a scene."""
    large = Image.new("RGB", (size * SCALE, size * SCALE), BACKGROUND)
    pen = ImageDraw.Draw(large)
    cell = size * SCALE / SIDE
    for thing in scene.things:
        left, top = thing.column * cell + 0.15 * cell, thing.row * cell + 0.15 * cell
        right, bottom = left + 0.7 * cell, top + 0.7 * cell
        colour = COLOURS[thing.colour]
        match thing.shape:
            case "circle":
                pen.ellipse((left, top, right, bottom), fill=colour)
            case "square":
                pen.rectangle((left, top, right, bottom), fill=colour)
            case _:
                pen.polygon(((left, bottom), (right, bottom), ((left + right) / 2, top)), fill=colour)
    return np.asarray(large.resize((size, size), Image.Resampling.BOX))


def read_scene(picture: UInt8[np.ndarray, "size size 3"]) -> Scene:
    """Return the scene whose picture is nearest, cell by cell, in mean squared error."""
    size = len(picture)
    bounds = np.linspace(0, size, SIDE + 1).round().astype(int)
    things = []
    for row, column in product(range(SIDE), range(SIDE)):
        rows, columns = (slice(bounds[at], bounds[at + 1]) for at in (row, column))
        seen = picture[rows, columns].astype(np.float64)
        errors = {
            what: float(np.square(seen - template[rows, columns]).mean())
            for what, template in _templates(size, row, column)
        }
        best = min(errors, key=errors.__getitem__)
        if best is not None:
            things.append(best)
    return Scene(tuple(things))


@cache
def _templates(size: int, row: int, column: int) -> tuple[tuple[Thing | None, np.ndarray], ...]:
    things = [Thing(row, column, colour, shape) for colour, shape in product(COLOURS, SHAPES)]
    empty = (None, draw_scene(Scene(()), size=size).astype(np.float64))
    return (
        empty,
        *((thing, draw_scene(Scene((thing,)), size=size).astype(np.float64)) for thing in things),
    )


def ask(scene: Scene, *, rng: np.random.Generator) -> tuple[SceneQuestion, ...]:
    """Return a question each about number, colour, shape and place, with their answers."""
    thing = scene.things[int(rng.integers(len(scene.things)))]
    colour = list(COLOURS)[int(rng.integers(len(COLOURS)))]
    same = [each for each in scene.things if each.colour == colour]
    questions = [
        SceneQuestion("count", "how many shapes are there?", NUMBERS[len(scene.things)]),
        SceneQuestion("presence", f"is there anything {colour}?", "yes" if same else "no"),
        SceneQuestion("colour", f"what colour is the shape at the {thing.place}?", thing.colour),
        SceneQuestion("shape", f"what shape is at the {thing.place}?", thing.shape),
    ]
    alike = [each for each in scene.things if (each.colour, each.shape) == (thing.colour, thing.shape)]
    if len(alike) == 1:
        questions.append(
            SceneQuestion("place", f"where is the {thing.colour} {thing.shape}?", f"the {thing.place}")
        )
    return tuple(questions)


def things_in_common(wanted: Scene, found: Scene) -> float:
    """Return the F1 of things: right in place, colour and shape; 1 is the same scene, 0 no thing right."""
    total = len(wanted.things) + len(found.things)
    return 2 * len(set(wanted.things) & set(found.things)) / total if total else 1.0
