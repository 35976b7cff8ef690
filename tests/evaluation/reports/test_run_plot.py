import numpy as np
import pytest
from matplotlib.figure import Figure

from codepmp_jax.evaluation.reports import run_plot
from tests.evaluation.reports.samples import ACCURACY, BEST_OF_N

METRICS = [
    {"step": 1, "pair_loss": 0.69, "accuracy": 0.5},
    {"step": 2, "pair_loss": 0.60, "accuracy": 0.7},
    {"step": 2, "eval_accuracy": 0.6},
]


def test_training_shows_loss_accuracy_and_held_out_accuracy():
    axes = Figure().subplots()
    run_plot.draw_training(axes, METRICS)
    (right,) = [other for other in axes.figure.axes if other is not axes]
    loss, *_ = axes.lines
    np.testing.assert_allclose(np.asarray(loss.get_ydata()), [0.69, 0.60])
    np.testing.assert_allclose(np.asarray(right.lines[-1].get_xdata()), [2])
    np.testing.assert_allclose(np.asarray(right.lines[-1].get_ydata()), [0.6])


@pytest.mark.parametrize("metrics", [METRICS, METRICS[:2]])
def test_the_run_is_three_panels(metrics):
    figure = run_plot.run_figure(metrics, ACCURACY["one"], BEST_OF_N["one"])
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert [title for title in titles if title] == [
        "Training",
        "Accuracy by subset",
        "Picks a correct one, if one is there",
    ]
