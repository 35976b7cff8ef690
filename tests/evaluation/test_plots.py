import numpy as np
from matplotlib.figure import Figure

from codepmp_jax.evaluation import plots
from codepmp_jax.evaluation.accuracy import accuracy_report
from codepmp_jax.evaluation.best_of_n import best_of_n_report
from codepmp_jax.records import Candidate, PreferencePair, Problem, Score

PAIRS = [PreferencePair(str(i), "p", "c", "r", subset=f"rate {i % 2}") for i in range(8)]
ACCURACY = accuracy_report(
    PAIRS, [Score(str(i), side, float(i % 3 - side), 4 + side) for i in range(8) for side in (0, 1)]
)
BEST_OF_N = best_of_n_report(
    [Problem("a", "p", tuple(Candidate("r", i == 1) for i in range(4)))],
    [Score("a", i, float(i), 4) for i in range(4)],
)
METRICS = [
    {"step": 1, "pair_loss": 0.69, "accuracy": 0.5},
    {"step": 2, "pair_loss": 0.60, "accuracy": 0.7},
    {"step": 2, "eval_accuracy": 0.6},
]


def size(path):
    """Width and height in a PNG's header."""
    header = path.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(header[16:20]), int.from_bytes(header[20:24])


def test_files_are_whole_pngs_and_nothing_else(tmp_path):
    plots.plot_accuracy(tmp_path / "accuracy.png", ACCURACY)
    plots.plot_best_of_n(tmp_path / "best_of_n.png", BEST_OF_N)
    plots.plot_run(tmp_path / "run.png", METRICS, ACCURACY, BEST_OF_N)
    names = {"accuracy.png", "best_of_n.png", "run.png"}
    assert {path.name for path in tmp_path.iterdir()} == names
    width, height = size(tmp_path / "accuracy.png")
    assert size(tmp_path / "best_of_n.png") == (width, height)
    assert size(tmp_path / "run.png") == (3 * width, height)


def test_accuracy_shows_subsets_and_baseline():
    axes = Figure().subplots()
    plots.draw_accuracy(axes, ACCURACY)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["rate 0", "rate 1", "all"]
    heights = [patch.get_extents().height for patch in axes.patches]
    values = [ACCURACY["subsets"][f"rate {i}"]["accuracy"] for i in (0, 1)]
    unit = axes.transData.transform((0, 1))[1] - axes.transData.transform((0, 0))[1]
    np.testing.assert_allclose(np.array(heights) / unit, [*values, ACCURACY["accuracy"]])
    _, labels = axes.get_legend_handles_labels()
    assert {"longer one wins", "chance"} < set(labels)


def test_best_of_n_shows_model_and_random_pick():
    axes = Figure().subplots()
    plots.draw_best_of_n(axes, BEST_OF_N)
    model, random = axes.lines
    np.testing.assert_allclose(np.asarray(model.get_xdata()), [1, 2, 4])
    np.testing.assert_allclose(np.asarray(random.get_ydata()), [1, 1 / 2, 1 / 4])
    assert axes.get_xscale() == "log"


def test_training_shows_loss_accuracy_and_held_out_accuracy():
    axes = Figure().subplots()
    plots.draw_training(axes, METRICS)
    (right,) = [other for other in axes.figure.axes if other is not axes]
    loss, *_ = axes.lines
    np.testing.assert_allclose(np.asarray(loss.get_ydata()), [0.69, 0.60])
    np.testing.assert_allclose(np.asarray(right.lines[-1].get_xdata()), [2])
    np.testing.assert_allclose(np.asarray(right.lines[-1].get_ydata()), [0.6])


def test_training_without_evaluations_is_drawn():
    plots.draw_training(Figure().subplots(), METRICS[:2])
