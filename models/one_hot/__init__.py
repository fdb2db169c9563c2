"""One-hot against embedding: the same numbers, at another cost."""
