import numpy as np
import pytest

from codepmp_jax.text.lengths import draw_lengths


@pytest.mark.parametrize("max_length", [8, 256, 1024, 4096])
def test_every_text_fits_and_has_tokens(max_length):
    lengths = draw_lengths(2000, max_length)
    for response in lengths.chosen, lengths.rejected:
        assert (lengths.prompt + response <= max_length).all()
        assert (response >= 1).all()
    assert (lengths.prompt >= 1).all()


def test_medians_scale_with_the_longest_text():
    for scale in (1, 2):
        lengths = draw_lengths(20000, 1024 * scale)
        assert np.median(lengths.prompt) == pytest.approx(85 * scale, rel=0.03)
        assert np.median(lengths.chosen) == pytest.approx(205 * scale, rel=0.03)


def test_the_seed_decides():
    for a, b in zip(draw_lengths(50, 1024, 3), draw_lengths(50, 1024, 3), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (draw_lengths(50, 1024, 3).prompt != draw_lengths(50, 1024, 4).prompt).any()
