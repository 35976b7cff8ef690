"""Samples: the same ten texts in any order of calls; shown in Markdown with their counts."""

import random

from codepmp_jax.corpus.samples import KEPT, NUMBER, Samples, key_of, sample_of


def sample(name, content="x = 1", detail=""):
    return sample_of(
        repository="a/b",
        path="c.py",
        line=3,
        name=name,
        detail=detail,
        description="",
        content=content,
    )


def drawn(order):
    samples = Samples()
    for i in order:
        samples.add("python", "duplicate", key_of("a", i), lambda i=i: sample(f"f{i}"))
    return samples.rows()


def test_the_draw_depends_on_the_texts_alone():
    first = drawn(range(100))
    order = list(range(100))
    random.Random(0).shuffle(order)
    assert drawn(order) == first
    lowest = sorted(key_of("a", i) for i in range(100))[:NUMBER]
    assert [row["key"] for row in first] == lowest


def test_samples_of_parts_add_up():
    both = Samples()
    both.add_rows(drawn(range(50)))
    both.add_rows(drawn(range(50, 100)))
    assert both.rows() == drawn(range(100))


def test_the_page_shows_language_reason_and_count():
    samples = Samples()
    samples.add("go", "near-duplicate", "1", lambda: sample("F", detail="of 12"))
    samples.add("go", KEPT, "2", lambda: sample("G", content="a ```` b\n" + "x" * 5000))
    page = samples.markdown({"go": {"kept": 7, "dropped": {"near-duplicate": 3}}})
    assert page.index("### kept (7)") < page.index("### dropped: near-duplicate (3)")
    assert "`a/b/c.py:3 F`: of 12" in page
    assert "`````go\na ```` b" in page
    assert len(page) < 3000
