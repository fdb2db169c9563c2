"""From a computation to a picture: boxes, arrows and frames, written as SVG, DOT and Mermaid."""
