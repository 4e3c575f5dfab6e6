"""Docstrings whose sections leave something out."""


def scale(length_m: float, factor: float) -> float:
    """Scale a length.

    Args:
        length_m: What is scaled [m].

    Returns:
        The scaled length [m].
    """
    return length_m * factor


def halve(length_m: float) -> float:
    """Halve a length.

    Args:
        length_m: What is halved [m].
    """
    return length_m / 2


class Box:
    """A box.

    Args:
        width_m: Inner width [m].
    """

    def __init__(self, width_m: float, height_m: float) -> None:
        self.width_m, self.height_m = width_m, height_m
