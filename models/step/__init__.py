"""y = rnn.step(x): a layer that keeps its state, one time step a call."""
