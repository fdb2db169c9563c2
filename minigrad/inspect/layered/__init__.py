"""Boxes in layers and side by side: what `layout` is made of."""
