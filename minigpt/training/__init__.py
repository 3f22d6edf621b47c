"""A model gets better."""
