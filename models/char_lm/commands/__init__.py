"""The commands of `python -m models.char_lm`, a file each."""
