"""gradient_flow: the norms of gradients, by layer and by time step."""
