import pytest

from codepmp_jax.aot.workload import NUM_RECORDS, full_rows, measure, synthetic_pairs
from codepmp_jax.config import DataConfig, ModelConfig, presets
from codepmp_jax.data.documents import Documents
from codepmp_jax.data.layouts import layout_of
from codepmp_jax.training import objectives


def splash(block):
    return ModelConfig(attention="splash", attention_block=block)


def test_the_layouts_do_the_same_work_for_a_pair():
    """What is useful does not depend on the layout, but how many pairs a row holds does."""
    rows = {
        layout: measure(layout_of(DataConfig(layout=layout, max_length=256)), splash(128))
        for layout in ("padded", "packed", "shared")
    }
    for row in rows.values():
        for name in ("tokens", "keys", "labels"):
            mean = getattr(rows["padded"], name)
            assert getattr(row, name) / row.items == pytest.approx(mean, rel=1e-9)
    assert rows["padded"].items == 1
    assert 1.5 < rows["packed"].items < rows["shared"].items
    assert rows["padded"].fill < 0.5
    assert min(rows["packed"].fill, rows["shared"].fill) > 0.9


def test_scores_of_padded_rows_are_causal_blocks():
    """Texts of one block each: every query meets a block of keys."""
    assert (
        measure(
            layout_of(DataConfig(layout="padded", max_length=128)), splash(512)
        ).scores_per_query
        == 128
    )


def test_flash_computes_fewer_scores():
    """Of blocks of the same queries: fewer keys, and no block of which no query sees any; never fewer than are useful."""
    layout = layout_of(DataConfig(layout="shared", max_length=512))
    row = measure(layout, ModelConfig(attention="flash", attention_block=256))
    useful = row.keys / layout.sequence_length
    assert useful < row.scores_per_query < measure(layout, splash(256)).scores_per_query


def test_useful_tokens_are_those_of_the_pairs():
    config = DataConfig(layout="shared", max_length=256)
    pairs = list(synthetic_pairs(config))
    assert len(pairs) == NUM_RECORDS
    layout = layout_of(config)
    row = measure(layout, splash(128))
    tokens = sum(map(layout.num_tokens, pairs)) / len(pairs)
    assert row.tokens / row.items == pytest.approx(tokens)


def test_documents_fill_their_rows():
    """In pieces; every token but a document's first is a label, and no prefix is shared."""
    data = DataConfig(layout="packed", max_length=1024, row_length=2560, length_policy="split")
    row = measure(layout_of(data, kind=Documents()), splash(512))
    assert row.fill > 0.96
    assert row.tokens == pytest.approx(row.fill * 2560)
    assert row.tokens - row.labels == pytest.approx(row.items)
    assert row.labels > 2400


def test_full_rows_are_of_one_document():
    """Four blocks: queries of the first meet one block of keys, those of the last four."""
    row = full_rows(1024, 256)
    assert row.scores_per_query == 256 * (1 + 2 + 3 + 4) / 4
    assert row.keys == sum(range(1, 1025))
    assert (row.tokens, row.labels) == (1024, 1023)


@pytest.mark.parametrize("name", ["mrpo_tiny", "target_dpo_tiny"])
def test_rows_of_policies_are_measured(name):
    """What an objective adds to a record, such as log-probs of references, takes no place in a row."""
    layout = objectives.build(presets.load_preset(name)).layout()
    assert layout.companions
    assert measure(layout, splash(128)).items > 1
