import re

import pytest

from codepmp_jax.config import ResamplingConfig
from codepmp_jax.evaluation.reports.folders import Evaluation
from codepmp_jax.evaluation.reports.report import Group, make_report
from codepmp_jax.evaluation.reports.report_page import make_page, panels_of
from tests.cli.test_html_page import HOSTILE, Page
from tests.evaluation.reports.samples import ACCURACY, BEST_OF_N, PAIRS, make_best_of_n


def group(kind, reports):
    """A group of reports whose values are those of one item."""
    values = {
        "accuracy": {
            "pair_id": [pair.pair_id for pair in PAIRS],
            "subset": [pair.subset for pair in PAIRS],
            "win": ["1.0"] * len(PAIRS),
        },
        "best_of_n": {
            "problem_id": ["a"] * 3,
            "subset": [""] * 3,
            "n": ["1", "2", "4"],
            "best_of_n": ["0.5"] * 3,
            "weighted_vote": ["0.25"] * 3,
        },
    }[kind]
    models = {name: Evaluation(name, report, values) for name, report in reports.items()}
    return Group(kind, "benchmark", models)


def page_of(*groups):
    return Page(make_page(make_report(groups, ResamplingConfig(num_resamples=20))))


def text_of(page):
    return re.sub(r"\s+", " ", " ".join(page.texts))


def test_the_page_has_every_panel_with_how_to_read_it():
    page = page_of(group("accuracy", ACCURACY), group("best_of_n", BEST_OF_N))
    panels = [
        *panels_of("accuracy", ACCURACY),
        *panels_of("best_of_n", BEST_OF_N),
    ]
    tags = [tag for tag, _ in page.tags]
    assert tags.count("img") == tags.count("figcaption") == len(panels)
    assert not set(tags) & {"script", "link", "iframe"}
    for attributes in (attributes for tag, attributes in page.tags if tag == "img"):
        assert attributes["src"].startswith("data:image/png;base64,")


@pytest.mark.parametrize("name", ["one", "two"])
def test_the_page_has_the_figures_of_every_model(name):
    text = text_of(page_of(group("accuracy", ACCURACY), group("best_of_n", BEST_OF_N)))
    report, (*_, last) = ACCURACY[name], BEST_OF_N[name]["rows"]
    for figures in (
        f"{name} all 8 {report['accuracy']:.1%}",
        f"{report['calibration']['log_loss']:.3f}",
    ):
        assert figures in text
    assert f"{name} 4 {last['best_of_n']:.1%}" in text


def test_differences_are_to_the_first_model():
    text = text_of(page_of(group("accuracy", ACCURACY), group("best_of_n", BEST_OF_N)))
    assert "points above one" in text
    assert "two all accuracy +0.0 +0.0 to +0.0 1.000" in text
    assert "two rate 1 accuracy +0.0" in text
    assert "two all best of n 4 +0.0" in text


def test_what_is_other_for_another_model_is_said():
    reports = {"one": BEST_OF_N["one"], "two": BEST_OF_N["two"] | {"vote_temperature": 0.5}}
    text = text_of(page_of(group("best_of_n", reports)))
    assert text.count("softmax at temperature 1.") == 1
    assert re.search(r"two: Votes: .*softmax at temperature 0\.5\.", text)


def test_a_model_alone_has_a_page_without_differences():
    text = text_of(page_of(group("accuracy", {"one": ACCURACY["one"]})))
    assert "points above" not in text


def test_what_has_no_votes_says_so():
    report = make_best_of_n(answers=(None,) * 4)
    one = group("best_of_n", {"one": report})
    for evaluation in one.models.values():
        evaluation.values["weighted_vote"] = [""] * 3
    assert "Votes do not apply" in text_of(page_of(one))


def test_names_do_nothing():
    page = page_of(group("best_of_n", {HOSTILE: BEST_OF_N["one"], "two": BEST_OF_N["two"]}))
    assert "script" not in {tag for tag, _ in page.tags}
    assert HOSTILE in text_of(page)
