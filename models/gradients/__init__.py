"""What becomes of a gradient on its way back through time: where it vanishes, where it explodes, and what helps."""
