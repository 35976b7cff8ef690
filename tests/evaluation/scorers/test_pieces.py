import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from codepmp_jax.evaluation.scorers.pieces import plan_chunks

# Few tokens, so that rows have much in common; one beyond a byte, for the order of bytes.
rows = st.lists(
    st.lists(st.sampled_from([0, 1, 300]), min_size=1, max_size=9).map(tuple),
    max_size=12,
    unique=True,
)


@given(rows, st.integers(1, 7))
def test_every_row_is_written_over_what_the_one_before_left(drawn, chunk_tokens):
    arrays = [np.array(row, np.int32) for row in drawn]
    text: list[int] = []
    ended = []
    for chunk in plan_chunks(arrays, chunk_tokens):
        for piece in chunk:
            row = drawn[piece.row]
            text[piece.start : piece.stop] = row[piece.start : piece.stop]
            # All that the piece's tokens attend to.
            assert tuple(text[: piece.stop]) == row[: piece.stop]
            if piece.is_end:
                assert piece.stop == len(row)
                ended.append(piece.row)
    assert sorted(ended) == list(range(len(drawn)))


@given(rows, st.integers(1, 7))
def test_chunks_are_full_and_hold_each_common_beginning_once(drawn, chunk_tokens):
    arrays = [np.array(row, np.int32) for row in drawn]
    chunks = list(plan_chunks(arrays, chunk_tokens))
    spans = [[(piece.in_chunk.start, piece.in_chunk.stop) for piece in chunk] for chunk in chunks]
    for chunk in spans:
        assert [start for start, _ in chunk] == [0, *(stop for _, stop in chunk[:-1])]
    sizes = [chunk[-1][1] for chunk in spans]
    assert all(size == chunk_tokens for size in sizes[:-1])
    assert sum(sizes) == len({row[:stop] for row in drawn for stop in range(1, len(row) + 1)})
