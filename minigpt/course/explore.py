"""`explore(model, tokenizer)`: type a text, and see what a model makes of it, token by token.

In JupyterLab it is alive: every control redraws what depends on it. Where nothing can be alive, as in a stored
notebook, the same code has drawn the same values as one picture.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ipywidgets
import torch

from minigpt.config import InputError
from minigpt.course import pictures
from minigpt.course.inside import Inside, logit_lens, look_inside, part_names, visible
from minigpt.course.pictures import Picture
from minigpt.generation.generate import distribution
from minigpt.model.gpt import GPT
from minigpt.text.tokenizer import Tokenizer

CHOICES, GUESSES = 10, 3  # tokens among the bars, and in each row of the lens

# Okabe and Ito's colours again, light enough for a dark theme. And ipywidgets names its sliders only for the eye: the
# script names them for screen readers too, as soon as they are there.
THEME = """<style onload="const box = this.closest('.minigpt-explorer'), name = () => {
    const sliders = box.querySelectorAll('.widget-slider [role=slider]');
    for (const slider of sliders)
        slider.setAttribute('aria-label', slider.closest('.widget-slider').querySelector('label').textContent);
    if (sliders.length < 3 && box.isConnected) setTimeout(name, 100);
}; name()">
.minigpt-explorer .widget-box { column-gap: 16px }
.minigpt-explorer .minigpt-scroll { overflow-x: auto }
[data-jp-theme-light="false"] .minigpt-explorer {
    --minigpt-data: #56b4e9; --minigpt-mark: #f0e442; --minigpt-line: #757575 }
</style>"""

# A click on a token writes its position into the field that the keyboard uses, and tells it so.
CLICK = """const token = event.target.closest('.token');
if (token) {
    const field = this.closest('.minigpt-explorer').querySelector('.minigpt-position input');
    field.value = token.dataset.position;
    field.dispatchEvent(new Event('change', {bubbles: true}));
}"""


def explore(
    model: GPT,
    tokenizer: Tokenizer,
    text: str = "Once upon a time",
    *,
    position: int | None = None,
    layer: int = 1,
    head: int = 1,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
) -> "Explorer":
    """Look into any model of this package: its tokens, its attention, its guesses, and how it writes.

    The other arguments are what the controls show at first; each can be changed there. Where the tokenizer has a token
    that starts a text, it stands before the text, as in training.

    Args:
        model: the model, which stays as it is.
        tokenizer: the one that the model was trained with.
        text: the text.
        position: the chosen token, counted from 0; None is the last.
        layer: counted from 1.
        head: counted from 1.
        temperature: 0 to 3; reshapes the distribution of the next token, as `distribution` in
            minigpt.generation.generate does.
        top_k: None or 0 keeps all tokens.
        top_p: None or 1 keeps all tokens.
        seed: of the draws.

    Raises:
        InputError: if a layer, a head or a setting does not exist. A text or a tokenizer that does not fit the model is
            no error here: the explorer says what is wrong with it.
    """
    return Explorer(model, tokenizer, text, position, layer, head, temperature, top_k or 0, top_p or 1.0, seed)


class Explorer:
    """What `explore` returns. Its attributes are the controls, ipywidgets all of them."""

    def __init__(
        self,
        model: GPT,
        tokenizer: Tokenizer,
        text: str,
        position: int | None,
        layer: int,
        head: int,
        temperature: float,
        top_k: int,
        top_p: float,
        seed: int,
    ) -> None:
        config = model.config
        self._check("layer", layer, 1, config.n_layers)
        self._check("head", head, 1, config.n_heads)
        self._check("temperature", temperature, 0, 3)
        self._check("top_k", top_k, 0, config.vocab_size)
        self._check("top_p", top_p, 0.05, 1)
        self.model, self.tokenizer = model, tokenizer
        self.prefix = [] if tokenizer.end_of_text is None else [tokenizer.end_of_text]  # starts a text, in training too
        self.ids: list[int] = []
        self.inside: Inside | None = None  # None while the text cannot be read
        self._generator = torch.Generator().manual_seed(seed)
        self._quiet = False

        wide = {"description_width": "initial"}
        self.text = ipywidgets.Textarea(
            text, description="text", rows=3, style=wide, layout=ipywidgets.Layout(width="98%")
        )
        self.draw = ipywidgets.Button(description="draw the next token", layout=ipywidgets.Layout(width="auto"))
        self.back = ipywidgets.Button(description="step back", layout=ipywidgets.Layout(width="auto"))
        self.status = ipywidgets.HTML()
        short = ipywidgets.Layout(width="130px")
        self.position = ipywidgets.BoundedIntText(0, 0, 0, description="position", style=wide, layout=short)
        layers = [(str(i + 1), i) for i in range(config.n_layers)]
        heads = [(str(i + 1), i) for i in range(config.n_heads)]
        self.layer = ipywidgets.Dropdown(options=layers, value=layer - 1, description="layer", style=wide, layout=short)
        self.head = ipywidgets.Dropdown(options=heads, value=head - 1, description="head", style=wide, layout=short)
        self.view = ipywidgets.Dropdown(
            options=["arcs", "matrix"], description="attention as", style=wide, layout=ipywidgets.Layout(width="190px")
        )
        slider = {"style": {"description_width": "120px"}, "layout": ipywidgets.Layout(width="420px")}
        self.temperature = ipywidgets.FloatSlider(
            temperature, min=0, max=3, step=0.05, description="temperature", **slider
        )
        self.top_k = ipywidgets.IntSlider(
            top_k, min=0, max=min(config.vocab_size, max(50, top_k)), description="top-k (0: all)", **slider
        )
        self.top_p = ipywidgets.FloatSlider(top_p, min=0.05, max=1, step=0.05, description="top-p (1: all)", **slider)
        self.attention, self.next_token, self.lens = ipywidgets.HTML(), ipywidgets.HTML(), ipywidgets.HTML()
        self.box = self._laid_out()

        self._read(self._encoded(), position)
        self.text.observe(self._on_text, "value")
        self.position.observe(self._on_position, "value")
        for control in (self.layer, self.head, self.view):
            control.observe(lambda _: self._show_attention(), "value")
        for control in (self.temperature, self.top_k, self.top_p):
            control.observe(lambda _: self._show_next_token(), "value")
        self.draw.on_click(lambda _: self._draw())
        self.back.on_click(lambda _: self._step_back())

    @staticmethod
    def _check(name: str, value: float, least: float, most: float) -> None:
        if not least <= value <= most:
            raise InputError(f"{name} is {value}; here it must be between {least:g} and {most:g}")

    def _laid_out(self) -> ipywidgets.VBox:
        self.position.add_class("minigpt-position")
        wrapped = ipywidgets.Layout(flex_flow="row wrap", align_items="flex-start")
        sampling = ipywidgets.VBox([self.temperature, self.top_k, self.top_p, self.next_token])
        box = ipywidgets.VBox(
            [
                ipywidgets.HTML(THEME, layout=ipywidgets.Layout(display="none")),
                self.text,
                ipywidgets.Box([self.draw, self.back, self.status], layout=wrapped),
                ipywidgets.Box([self.position, self.layer, self.head, self.view], layout=wrapped),
                self.attention,
                ipywidgets.Box([sampling, self.lens], layout=wrapped),
            ]
        )
        box.add_class("minigpt-explorer")
        return box

    # What the controls do.

    def _on_text(self, _: Any) -> None:
        if not self._quiet:
            self._read(self._encoded())

    def _on_position(self, _: Any) -> None:
        if not self._quiet:
            self._show()

    def _encoded(self) -> list[int] | InputError:
        """The ids of the text in the field, or what is wrong with it."""
        vocabulary, known = self.model.config.vocab_size, self.tokenizer.vocab_size
        if known != vocabulary:
            return InputError(
                f"model and tokenizer do not belong together: the model knows {vocabulary:,} tokens, the tokenizer "
                f"{known:,}. Take both from load_model(...)."
            )
        try:
            return self.prefix + self.tokenizer.encode(self.text.value)
        except InputError as error:
            return error

    def _read(self, ids: list[int] | InputError, position: int | None = None) -> None:
        """Let the model read the ids, and choose a position, by default the last."""
        self.inside, problem = None, ""
        try:
            if isinstance(ids, InputError):
                raise ids
            most = self.model.config.context_length
            if len(ids) > most:
                raise InputError(
                    f"the text has {len(ids)} tokens, and the model's context holds {most}: delete {len(ids) - most} "
                    "tokens or more"
                )
            if position is not None and ids:
                self._check("position", position, 0, len(ids) - 1)
            self.ids, self.inside = ids, look_inside(self.model, ids)
        except InputError as error:
            self.ids, problem = [], str(error)
        with self._silent():
            self.position.max = max(0, len(self.ids) - 1)
            self.position.value = self.position.max if position is None else position
        self._show(problem)

    def _draw(self) -> None:
        """Draw a token from the reshaped distribution after the last one, and append it."""
        if self.inside is None or self.draw.disabled:  # a click may come before the browser knows
            return
        probabilities = self._reshaped(self.inside.logits[-1:])[0]
        token = int(torch.multinomial(probabilities, 1, generator=self._generator))
        self._write([*self.ids, token])
        self._tell(f"drew «{visible(self.tokenizer, token)}», probability {probabilities[token]:.1%}")

    def _step_back(self) -> None:
        if not self.back.disabled:
            self._write(self.ids[:-1])

    def _write(self, ids: list[int]) -> None:
        """Make these ids the text. They are not encoded anew: other ids might give the same text."""
        with self._silent():
            self.text.value = self.tokenizer.decode([i for i in ids if i != self.tokenizer.end_of_text])
        self._read(ids)

    @contextmanager
    def _silent(self) -> Iterator[None]:
        """Change controls without reacting to each."""
        self._quiet = True
        try:
            yield
        finally:
            self._quiet = False

    # What they show.

    def _show(self, problem: str = "") -> None:
        length, most = len(self.ids), self.model.config.context_length
        ended = length > len(self.prefix) and self.ids[-1] == self.tokenizer.end_of_text
        full = length == most
        self.back.disabled = length <= max(1, len(self.prefix))
        self.draw.disabled = self.inside is None or ended or full
        state = f"{length} of at most {most} tokens"
        state += "; the text has ended" if ended else "; the context is full" if full else ""
        self._tell(problem or state, bad=bool(problem))
        self._show_attention()
        self._show_next_token()
        self.lens.value = self._live(self._lens_picture())

    def _tell(self, what: str, bad: bool = False) -> None:
        role = 'role="alert" style="color:var(--jp-error-color1,#b00020);font-weight:bold"' if bad else 'role="status"'
        self.problem = what if bad else ""
        self.status.value = f"<span {role}>{pictures.escape(what)}</span>"

    def _show_attention(self) -> None:
        self.attention.value = self._live(self._attention_picture())

    def _show_next_token(self) -> None:
        self.next_token.value = self._live(self._next_token_picture())

    def _live(self, picture: Picture | None) -> str:
        if picture is None:
            return ""
        return (
            f'<div class="minigpt-scroll" onclick="{pictures.escape(CLICK)}">{pictures.svg(picture, page=False)}</div>'
        )

    def _labels(self, ids: Sequence[int]) -> list[str]:
        return [visible(self.tokenizer, i) for i in ids]

    def _here(self) -> str:
        return f"«{visible(self.tokenizer, self.ids[self.position.value])}» (position {self.position.value})"

    def _attention_picture(self) -> Picture | None:
        if self.inside is None:
            return None
        labels, weights = self._labels(self.ids), self.inside.weights[self.layer.value, self.head.value].tolist()
        title = f"Layer {self.layer.value + 1}, head {self.head.value + 1}: what {self._here()} looks at"
        if self.view.value == "matrix":
            return pictures.matrix(labels, weights, self.position.value, title)
        return pictures.arcs(labels, self.ids, weights, self.position.value, title)

    def _reshaped(self, logits: torch.Tensor) -> torch.Tensor:
        """The distributions (1, V) from which the sliders let a token be drawn."""
        top_p = None if self.top_p.value == 1 else self.top_p.value
        return distribution(logits, self.temperature.value, self.top_k.value or None, top_p)

    def _next_token_picture(self) -> Picture | None:
        if self.inside is None:
            return None
        t = self.position.value
        logits = self.inside.logits[t : t + 1]  # (1, V)
        before, after = distribution(logits)[0], self._reshaped(logits)[0]
        shown = logits[0].topk(min(CHOICES, logits.size(1))).indices.tolist()
        came = self.ids[t + 1] if t + 1 < len(self.ids) else None
        if came is not None and came not in shown:
            shown.append(came)
        choices = [pictures.Choice(visible(self.tokenizer, i), before[i].item(), after[i].item()) for i in shown]
        left = f"{int((after > 0).sum()):,} of {len(after):,} tokens can be drawn"
        others = max(0.0, 1 - after[shown].sum().item())
        title = f"What comes after {self._here()}"
        return pictures.bars(choices, title, others, left, None if came is None else shown.index(came))

    def _lens_picture(self) -> Picture | None:
        if self.inside is None:
            return None
        states = logit_lens(self.model, self.inside.stream[:, self.position.value])  # (2 n_layers + 1, V)
        best = states.double().softmax(dim=-1).topk(min(GUESSES, states.size(1)))
        guesses = [
            list(zip(self._labels(ids), values, strict=True))
            for ids, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
        title = "What the model would say if it stopped after"
        return pictures.lens(part_names(self.model.config.n_layers), guesses, title)

    # How it stands in a notebook.

    def picture(self) -> Picture:
        """All that is shown now, as one picture; or the message, where the text cannot be read."""
        attention, after, between = self._attention_picture(), self._next_token_picture(), self._lens_picture()
        if attention is None or after is None or between is None:
            return pictures.stacked([[pictures.message(self.problem)]])
        return pictures.stacked([[attention], [after, between]])

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """The live explorer for a frontend with widgets, the picture for every other, its description for none."""
        picture = self.picture()
        words = f"The explorer; run the cell to use it. {picture.alt}"  # shown where a notebook is not trusted
        still = {"text/plain": words, "image/svg+xml": pictures.svg(picture)}
        return {**self.box._repr_mimebundle_(), **still}
