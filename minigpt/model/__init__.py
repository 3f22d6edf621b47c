"""Token ids become logits."""
