"""Texts that are written together, each from when it comes until it ends: what a server's clients ask for.

A step reads all weights once, for one text or for several. So a text that comes later does not wait until the others
have ended, but joins them (Yu et al. 2022, «Orca»: iteration-level scheduling).
"""

import numpy as np
import torch
from torch import Tensor

from minigpt.generation.decoding import Decoding, check_finite
from minigpt.generation.generate import distribution, draw
from minigpt.model.gpt import GPT


class Together:
    """Texts in rows that grow by a token a step; each is what `generate` writes for its prompt and seed alone.

    Args:
        model: on any device, without dropout, whatever its training mode.
        temperature: as for `distribution`.
        top_p: as for `distribution`.
    """

    def __init__(self, model: GPT, temperature: float = 1.0, top_p: float | None = None) -> None:
        self.model, self.temperature, self.top_p = model, temperature, top_p
        self.decoding: Decoding | None = None
        self.generators: list[np.random.Generator] = []
        self.last = torch.empty(0, 1, dtype=torch.int64, device=model.token_embedding.weight.device)  # (rows, 1)

    @torch.inference_mode()
    def add(self, prompts: list[list[int]], seeds: list[int], max_new_tokens: int) -> list[int]:
        """Rows below those that are there; the first token of each.

        Args:
            prompts: token ids, at least one prompt, each of at least one token.
            seeds: for each prompt.
            max_new_tokens: how many tokens any text, old or new, can still grow by. The longest of them and as many
                tokens must fit into the context.

        Raises:
            InputError: if the logits are not finite.
        """
        if self.decoding is None:
            self.decoding = Decoding(self.model, prompts, 1, max_new_tokens)
            logits = self.decoding.prefill()
        else:
            logits = self.decoding.join(prompts, max_new_tokens)
        new = [np.random.default_rng((seed, 0)) for seed in seeds]
        tokens = self._choose(logits, new)
        self.generators += new
        self.last = torch.cat([self.last, tokens])
        return tokens[:, 0].tolist()

    @torch.inference_mode()
    def step(self) -> list[int]:
        """One more token of each text. Raises InputError as `add`; there must be a text."""
        assert self.decoding is not None
        self.last = self._choose(self.decoding.step(self.last), self.generators)
        return self.last[:, 0].tolist()

    @torch.inference_mode()
    def keep(self, rows: list[int]) -> None:
        """Go on with these texts, in this order."""
        self.generators, self.last = [self.generators[row] for row in rows], self.last[rows]
        if not rows:
            self.decoding = None
        elif self.decoding is not None:
            self.decoding.keep(rows)

    def _choose(self, logits: Tensor, generators: list[np.random.Generator]) -> Tensor:
        """A token for each row of logits (B, V): (B, 1)."""
        check_finite(logits)
        if self.temperature == 0:
            return logits.argmax(dim=-1, keepdim=True)
        uniform = torch.tensor([generator.random() for generator in generators], dtype=torch.float64)
        probabilities = distribution(logits, self.temperature, top_p=self.top_p)
        return draw(probabilities, uniform.to(logits.device))[:, None]
