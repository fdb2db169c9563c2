"""What counting letters reaches: logistic regression on how often each occurs, without their order, or on short pieces.

Both come from scikit-learn, and know nothing of networks.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ..common.extras import import_extra
from . import data

# How weakly weights are held small. Of 1, 3 and 10, by cross-validation within the learned names: the best for the
# n-grams, and within 0.3% of the best for the bag.
INVERSE_DECAY = 3.0


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
    text = import_extra("sklearn.feature_extraction.text")
    pieces = {
        "bag of letters": text.CountVectorizer(analyzer="char"),
        "letter n-grams, n = 1 to 3": text.TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 3), sublinear_tf=True),
    }
    return {name: _logistic_regression(vectors, found) for name, vectors in pieces.items()}


def _logistic_regression(vectors: Any, found: data.Found) -> dict[str, float]:
    model = import_extra("sklearn.linear_model").LogisticRegression(C=INVERSE_DECAY, max_iter=3000)
    model.fit(vectors.fit_transform(found.learned.names), found.learned.labels)
    return judged(model.predict_proba(vectors.transform(found.held_out.names)), np.array(found.held_out.labels))
