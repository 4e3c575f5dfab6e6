import hashlib

import numpy as np

from data_tools.draws import draw


def test_a_draw_is_the_beginning_of_a_hash():
    assert draw(3, "a", "b") == int(hashlib.sha256(b"3/a/b").hexdigest()[:16], 16)
    assert draw(3, "a", "b") == draw("3/a", "b") != draw(4, "a", "b")


def test_draws_are_even_over_64_bits():
    shares = np.array([draw(0, number) for number in range(5000)]) / 2.0**64
    assert abs(shares.mean() - 0.5) < 0.02
    assert shares.min() < 0.01 and shares.max() > 0.99
