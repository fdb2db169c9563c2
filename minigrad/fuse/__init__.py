"""The third reading: kernels written from the formulas."""
