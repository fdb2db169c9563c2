"""What `profile` is made of: hooks that note events, and what is read off these."""
