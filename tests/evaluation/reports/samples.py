"""Small reports of two models on the same pairs and on the same problem."""

from codepmp_jax.evaluation.accuracy import accuracy_report
from codepmp_jax.evaluation.best_of_n import best_of_n_report
from codepmp_jax.records.schema import Candidate, PreferencePair, Problem, Score

PAIRS = [
    PreferencePair(str(i), "p", "c", "r", margin=1.0, subset=f"rate {i % 2}") for i in range(8)
]


def make_accuracy(shift=0):
    scores = [
        Score(str(i), side, float((i + shift) % 3 - side), 4 + side)
        for i in range(8)
        for side in (0, 1)
    ]
    return accuracy_report(PAIRS, scores)


def make_best_of_n(step=1, answers=("r", "r", "w", None)):
    candidates = tuple(Candidate("r", i < 2, answer) for i, answer in enumerate(answers))
    scores = [Score("a", i, float(i * step), 4) for i in range(4)]
    return best_of_n_report([Problem("a", "p", candidates)], scores)


ACCURACY = {"one": make_accuracy(), "two": make_accuracy(1)}
BEST_OF_N = {"one": make_best_of_n(), "two": make_best_of_n(-1)}
