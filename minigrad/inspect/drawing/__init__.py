"""draw: boxes and arrows laid out, as SVG, DOT and Mermaid."""
