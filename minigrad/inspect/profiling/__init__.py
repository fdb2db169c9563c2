"""profile: hooks that note events, and what is read off these."""
