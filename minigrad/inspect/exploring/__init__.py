"""explorer: a computation as a page to walk through."""
