"""Programs written with minigrad. They use its public names only, and are not part of the wheel."""
