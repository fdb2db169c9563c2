"""A character-level language model: `python -m models.char_lm train`, then `... sample`."""
