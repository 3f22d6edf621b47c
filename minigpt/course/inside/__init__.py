"""A room for looking inside: what a model computed for a text, and what becomes of it when a part is changed.

`looking` reads one text for the lessons and the explorer; `activations` names everything, in batches, and replaces it;
on it stand `patching`, `attribution`, `patterns`, `probes` and `tuned_lens`. GPT-2's kind and Llama's kind alike.
"""

from minigpt.course.inside.looking import Inside, logit_lens, look_inside, part_names, visible
