"""A text becomes token ids and batches; the story world, whose entropy is known."""
