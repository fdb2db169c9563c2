"""explain: the fourth reading of the formulas, and the stories and sheets made of it."""
