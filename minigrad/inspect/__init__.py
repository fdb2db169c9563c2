"""See inside: instruments for people who study autograd."""
