import itertools

import pytest

from codepmp_jax.aot.links import Link, ring_share
from codepmp_jax.devices.chips import CHIPS


def grid(*lengths):
    """The coordinates of a slice's devices, row by row."""
    padded = (*lengths, 1, 1)[:3]
    return list(itertools.product(*map(range, padded)))


@pytest.mark.parametrize(
    ("chip", "lengths", "group", "num_axes", "share"),
    [
        # Of 16 x 16 chips, a whole line closes to a ring; half of one, and every second of its chips, do not.
        ("v5e", (16, 16), range(16), 1, 1.0),
        ("v5e", (16, 16), range(8), 1, 0.5),
        ("v5e", (16, 16), range(0, 16, 2), 1, 0.5),
        # Two lines: one ring turns corners through them.
        ("v5e", (16, 16), range(32), 1, 1.0),
        ("v6e", (8, 8), range(8), 1, 0.5),
        ("v6e", (2, 2), range(4), 1, 1.0),
        ("v5e", (4, 4), range(16), 2, 0.5),
        ("v5e", (16, 16), range(256), 2, 1.0),
        # Cubes of 4 x 4 x 4 have rings, smaller slices have none.
        ("v5p", (4, 4, 4), range(4), 1, 1.0),
        ("v5p", (4, 4, 4), range(64), 3, 1.0),
        ("v5p", (2, 2, 1), range(2), 1, 0.5),
    ],
)
def test_lines_that_do_not_close_have_half_the_rate(chip, lengths, group, num_axes, share):
    assert ring_share(CHIPS[chip], grid(*lengths), list(group), num_axes) == share


def test_without_coordinates_or_a_group_the_rate_is_full():
    assert ring_share(CHIPS["v5e"], [], [0, 1], 1) == 1.0
    assert ring_share(CHIPS["v5e"], grid(4, 4), [], 1) == 1.0


def test_transfers_share_a_network_evenly():
    """Of 4 and 1 seconds alone: the short one ends after 2, and the long one, alone from then on, after 5."""
    link = Link()
    link.begin("long", 4.0)
    link.begin("short", 1.0)
    assert (link.until("short"), link.until("long")) == (2.0, 5.0)
    assert link.advance(2.0) == 0.0
    assert link.left == {"long": 3.0}
    assert link.until("short") == 0.0
    # Two seconds of these are left over.
    assert link.advance(5.0) == pytest.approx(2.0)
    assert link.left == {}
