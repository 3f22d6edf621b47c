"""A model becomes files and comes back, ours or other people's."""
