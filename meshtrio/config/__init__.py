"""Core. What the configuration may say, and what is wrong with it."""
