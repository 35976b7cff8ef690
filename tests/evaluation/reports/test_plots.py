import numpy as np
import pytest
from matplotlib.figure import Figure

from codepmp_jax.evaluation.accuracy import accuracy_report
from codepmp_jax.evaluation.reports import plots
from codepmp_jax.records.schema import PreferencePair, Score
from tests.evaluation.reports.samples import ACCURACY, BEST_OF_N, PAIRS, make_best_of_n


def axes_of(draw, *arguments):
    axes = Figure().subplots()
    draw(axes, *arguments)
    return axes


def labels_of(axes):
    return [str(handle.get_label()) for handle in axes.get_legend_handles_labels()[0]]


def curve(axes, label):
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)


def test_accuracy_shows_every_group_with_its_interval_and_baseline():
    axes = axes_of(plots.draw_accuracy, {"one": ACCURACY["one"]})
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["rate 0 (4)", "rate 1 (4)", "all (8)"]
    report = ACCURACY["one"]
    rows = [*report["subsets"].values(), report]
    (container,) = axes.containers
    points, _, (bars,) = container
    np.testing.assert_allclose(points.get_xdata(), [row["accuracy"] for row in rows])
    ends = np.array([segment[:, 0] for segment in bars.get_segments()])
    np.testing.assert_allclose(ends, [row["accuracy_interval"] for row in rows])
    baselines, places = curve(axes, "longer one wins")
    np.testing.assert_allclose(baselines, [row["length_baseline"] for row in rows])
    np.testing.assert_allclose(places, [0, 1, 2])
    low, high = axes.get_xlim()
    assert low <= ends.min()
    assert high >= ends.max()


def test_models_stand_side_by_side():
    axes = axes_of(plots.draw_accuracy, ACCURACY)
    assert {"one", "two", "longer one wins", "chance"} == set(labels_of(axes))
    one, two = (container[0].get_ydata() for container in axes.containers)
    np.testing.assert_allclose(np.asarray(two) - np.asarray(one), 0.56)


def test_reward_gaps_of_several_models_are_not_one_panel():
    alone = plots.accuracy_panels({"one": ACCURACY["one"]})
    assert list(alone) == ["subset", "length_difference", "margin", "reward_gap", "reliability"]
    wide = {"one": ACCURACY["one"], "two": accuracy_report(PAIRS, [
        Score(str(i), side, 10.0 * i * side, 5) for i in range(8) for side in (0, 1)
    ])}  # fmt: skip
    assert list(plots.accuracy_panels(wide)) == ["subset", "margin", "reliability"]


def test_lengths_in_other_units_are_not_one_panel():
    assert "length_difference" in plots.accuracy_panels(ACCURACY)
    reports = {"one": ACCURACY["one"], "two": ACCURACY["two"] | {"length_unit": "characters"}}
    assert "length_difference" not in plots.accuracy_panels(reports)


def test_without_subsets_all_pairs_are_a_panel():
    pairs = [PreferencePair(str(i), "p", "c", "r") for i in range(2)]
    scores = [Score(str(i), side, float(i), 4) for i in range(2) for side in (0, 1)]
    panels = plots.accuracy_panels({"one": accuracy_report(pairs, scores)})
    assert list(panels) == ["all", "length_difference", "reward_gap", "reliability"]


def test_reliability_shows_each_bin():
    axes = axes_of(plots.draw_reliability, {"one": ACCURACY["one"]})
    bins = ACCURACY["one"]["calibration"]["bins"]
    (container,) = axes.containers
    points = container[0]
    np.testing.assert_allclose(points.get_xdata(), [row["confidence"] for row in bins])
    np.testing.assert_allclose(points.get_ydata(), [row["accuracy"] for row in bins])


def test_best_of_n_shows_what_there_is_beside_the_model():
    axes = axes_of(plots.draw_best_of_n, {"one": BEST_OF_N["one"]})
    rows = BEST_OF_N["one"]["rows"]
    for label, name in (
        ("best of N, one", "best_of_n"),
        ("oracle", "oracle"),
        ("random pick", "random"),
        ("majority vote", "majority_vote"),
        ("weighted vote", "weighted_vote"),
        ("best of the first N", "first_n"),
    ):
        n, values = curve(axes, label)
        np.testing.assert_allclose(n, [1, 2, 4])
        np.testing.assert_allclose(values, [row[name] for row in rows], err_msg=name)
    assert axes.get_xscale() == "log"
    axes = axes_of(plots.draw_best_of_n, BEST_OF_N)
    assert set(labels_of(axes)) == {"oracle", "one", "two", "majority vote", "random pick"}


def test_votes_that_do_not_apply_are_not_drawn():
    report = make_best_of_n(answers=(None,) * 4)
    axes = axes_of(plots.draw_best_of_n, {"one": report})
    assert not {"majority vote", "weighted vote"} & set(labels_of(axes))


def test_selection_shows_model_and_random_pick():
    axes = axes_of(plots.draw_selection, {"one": BEST_OF_N["one"]})
    for label, name in (("one", "selection_accuracy"), ("random pick", "selection_random")):
        _, values = curve(axes, label)
        np.testing.assert_allclose(values, [row[name] for row in BEST_OF_N["one"]["rows"]])


def size(path):
    """Width and height in a PNG's header."""
    header = path.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(header[16:20]), int.from_bytes(header[20:24])


def test_files_are_whole_pngs_and_nothing_else(tmp_path):
    panels = list(plots.best_of_n_panels(BEST_OF_N).values())
    plots.save(tmp_path / "one.png", plots.make_figure(panels[:1]))
    plots.save(tmp_path / "three.png", plots.make_figure([*panels, panels[0]], num_columns=2))
    assert {path.name for path in tmp_path.iterdir()} == {"one.png", "three.png"}
    width, height = size(tmp_path / "one.png")
    assert size(tmp_path / "three.png") == (2 * width, 2 * height)


@pytest.mark.parametrize("name", ["$x_$", "日本", "m" * 200, "a_b"])
def test_names_are_shown_as_they_are(tmp_path, name):
    """A name is no formula, and one that the font lacks is no warning."""
    figure = plots.make_figure(list(plots.accuracy_panels({name: ACCURACY["one"]}).values()))
    plots.save(tmp_path / "plot.png", figure)
    assert len(plots.short(name)) <= 36
    assert name.endswith(plots.short(name).removeprefix("…"))
