"""Logits become text."""
