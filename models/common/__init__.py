"""What the programs in `models/` share: errors, the terminal, files, the journal of a run."""
