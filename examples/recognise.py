"""Recognise pictures by a gallery, from Python: python examples/recognise.py

Digits of scikit-learn stand for features (64 numbers each); two of the ten digits are kept out of the gallery, so that
some queries belong to nobody.
"""

import numpy as np
from sklearn.datasets import load_digits

from lightmeter.search.auto import Budget, choose_index
from lightmeter.search.granular import Granular
from lightmeter.search.recogniser import UNKNOWN, Gallery, Recogniser


def main() -> None:
    digits = load_digits()
    x, y = digits.data.astype(np.float32), digits.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(x))
    known = order[:1200][y[order[:1200]] < 8]
    gallery = Gallery(x[known], y[known], tuple("01234567"), groups=known)
    queries = order[1200:]

    exact = Granular(metric="cosine").fit(gallery.vectors)
    certificate = exact.search(x[queries[:1]]).certificates[0]
    print(f"exact: {certificate.exact}, {certificate.refined} of {len(exact)} rows measured in full")

    plan = Budget(candidates=("granular", "brute"))
    choice = choose_index(gallery.vectors, labels=gallery.labels, metric="cosine", plan=plan)
    print(f"cheapest here: {choice.spec}, among {', '.join(trial.candidate for trial in choice.trials)}")

    sure = Recogniser(gallery, exact).with_unknown(risk=0.05, outside=0.2)
    print(sure.rejection.said())
    answers = [sure.recognise(x[[at]]) for at in queries]
    answered = [(answer.label, y[at]) for answer, at in zip(answers, queries, strict=True) if answer.label != UNKNOWN]
    wrong = np.mean([label != truth for label, truth in answered])
    print(f"{len(answered)} of {len(queries)} answered, {wrong:.1%} of them wrong; the rest are unknown")


if __name__ == "__main__":
    main()
