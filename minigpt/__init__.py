"""A GPT to learn from and to work with: small, typed, tested, fast. Start with `minigpt.checkpoint.load_model`."""
