"""Full against truncated backpropagation through time: what truncation costs, and what it buys."""
