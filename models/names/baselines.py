"""What counting letters reaches: logistic regression on how often each occurs, without their order, or on short pieces.

Both come from scikit-learn, and know nothing of networks.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ..common.extras import datasets
from . import data


def judged(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Figures about guesses.

    accuracy: the share of names whose likeliest language is right; balanced: the mean of these shares, taken of each
    language by itself, so that one of few names counts as much as one of many; nats: -log p of the right one, the mean.

    Args:
        probabilities: (N, K).
        labels: (N,), the right ones.
    """
    right = probabilities.argmax(1) == labels
    of_the_right = probabilities[np.arange(len(labels)), labels]
    return {
        "accuracy": float(right.mean()),
        "balanced": float(np.mean([right[labels == label].mean() for label in np.unique(labels)])),
        "nats": float(-np.log(np.maximum(of_the_right, 1e-30)).mean()),
    }


@cache
def references() -> dict[str, dict[str, float]]:
    """Figures on what is held out, of models that learned the same names."""
    found = data.load()
    text = datasets("sklearn.feature_extraction.text")
    pieces = {
        "bag of letters": text.CountVectorizer(analyzer="char"),
        "letters, pairs, triples": text.TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 3), sublinear_tf=True),
    }
    return {
        name: _logistic_regression(vectors, strength, found)
        for (name, vectors), strength in zip(pieces.items(), (1.0, 10.0), strict=True)
    }


def _logistic_regression(vectors: Any, strength: float, found: data.Found) -> dict[str, float]:
    model = datasets("sklearn.linear_model").LogisticRegression(C=strength, max_iter=3000)
    model.fit(vectors.fit_transform(found.learned.names), found.learned.labels)
    return judged(model.predict_proba(vectors.transform(found.held_out.names)), np.array(found.held_out.labels))
