"""neurons: what the cells of a recurrent network do over a text."""
