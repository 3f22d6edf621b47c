"""The explorer without a browser: its controls change what it shows, and what it shows is what the model says."""

import re
import xml.etree.ElementTree as ElementTree
from functools import cache
from html import unescape
from typing import Any

import nbformat
import pytest
import torch
from ipywidgets import HTML

from minigpt.config import GPTConfig, InputError
from minigpt.course import explore, pictures
from minigpt.course.explore import Explorer
from minigpt.course.inside import look_inside, visible
from minigpt.generation.generate import distribution
from minigpt.model.gpt import GPT
from minigpt.text.stories import story_at
from minigpt.text.tokenizer import BPETokenizer, CharTokenizer, Tokenizer
from minigpt.weights.checkpoint import load_model
from notebooks.build import NOTEBOOKS, WIDGET

TEXT = "Once upon a time, there was a kind pony named Ida."


@cache
def storyteller() -> tuple[GPT, Tokenizer]:
    model, tokenizer = load_model("storyteller")
    return model.double(), tokenizer


def explorer(text: str = TEXT, **settings: Any) -> Explorer:
    return explore(*storyteller(), text, **settings)


def ids_of(text: str) -> list[int]:
    """As the model reads a text: after the token that starts one."""
    _, tokenizer = storyteller()
    assert tokenizer.end_of_text is not None
    return [tokenizer.end_of_text, *tokenizer.encode(text)]


def tips(shown: HTML) -> list[str]:
    """What shows while the mouse rests somewhere on a picture."""
    (drawing,) = re.findall(r"<svg.*</svg>", shown.value, re.DOTALL)
    return [element.text or "" for element in ElementTree.fromstring(drawing).iter("{http://www.w3.org/2000/svg}title")]


def untrained(n_layers: int = 1, vocabulary: int = 257, context: int = 12) -> GPT:
    torch.manual_seed(0)
    return GPT(GPTConfig(vocab_size=vocabulary, context_length=context, n_layers=n_layers, n_heads=2, d_model=8)).eval()


def test_a_padded_vocabulary_shows_only_tokens_that_have_a_text():
    torch.manual_seed(0)
    config = GPTConfig(vocab_size=257, context_length=12, n_layers=1, n_heads=2, d_model=8, pad_vocab=64)
    shown = explore(GPT(config).eval(), BPETokenizer([], ("<|endoftext|>",)), "abc")
    assert shown.problem == "" and shown.inside is not None and shown.inside.logits.shape == (4, 257)
    shown.draw.click()
    assert shown.problem == "" and len(shown.ids) == 5


# Each picture shows the model's own numbers.


def test_the_boxes_are_the_tokens_with_their_ids_after_the_token_that_starts_a_text():
    _, tokenizer = storyteller()
    shown = [tip for tip in tips(explorer().attention) if tip.startswith("position")]
    assert [re.fullmatch(r"position (\d+): (.+), id (\d+), weight .*", tip).groups() for tip in shown] == [  # type: ignore[union-attr]
        (str(i), visible(tokenizer, token), str(token)) for i, token in enumerate(ids_of(TEXT))
    ]


@pytest.mark.parametrize("view", ["arcs", "matrix"])
def test_arcs_and_matrix_hold_the_weights_of_the_chosen_head(view: str):
    model, _ = storyteller()
    shown = explorer(layer=2, head=3, position=9)
    shown.view.value = view
    weights = look_inside(model, shown.ids).weights[1, 2, 9].tolist()
    found = dict(
        re.findall(r"^«.*» at 9 looks at «.*» at (\d+): (.*)$", "\n".join(tips(shown.attention)), re.MULTILINE)
    )
    wanted = {str(j): f"{weight:.2f}" for j, weight in enumerate(weights) if round(weight, 2) >= 0.01}
    if view == "arcs":
        wanted.pop("9", None)  # its own weight stands in its own box
    assert found == wanted
    assert "Layer 2, head 3" in shown.attention.value


def test_bars_are_the_distribution_at_the_chosen_position_reshaped():
    model, tokenizer = storyteller()
    shown = explorer(position=13, temperature=0.7, top_k=5)
    logits = model(torch.tensor([shown.ids]))[:, 13]
    before, after = distribution(logits)[0], distribution(logits, 0.7, 5)[0]
    for tip, token in zip(tips(shown.next_token), logits[0].topk(10).indices.tolist(), strict=True):
        assert tip == f"{visible(tokenizer, token)}: drawn with {after[token]:.1%}; the model gives {before[token]:.1%}"
    assert "5 of 1,861 tokens can be drawn" in shown.next_token.value
    assert shown.next_token.value.count(">cut<") == 5


def test_the_token_that_comes_next_in_the_text_is_among_the_bars_and_marked():
    shown = explorer("Once upon a strawberry", position=3)
    assert len(tips(shown.next_token)) == 11, "␣straw is not among the ten most probable after «Once upon a»"
    assert tips(shown.next_token)[-1].startswith("␣straw: ")
    assert shown.next_token.value.count("comes here") == 1
    shown.position.value = len(shown.ids) - 1
    assert "comes here" not in shown.next_token.value


def test_the_last_row_of_the_lens_is_the_first_bar():
    shown = explorer()
    best = re.match(r"(.*): drawn with (.*)%;", tips(shown.next_token)[0])
    (answer,) = [tip for tip in tips(shown.lens) if tip.startswith("after feed-forward 3:")][:1]
    assert best is not None and answer == f"after feed-forward 3: {best[1]} {float(best[2]) / 100:.2f}"
    assert len(tips(shown.lens)) == 7 * 3


# The controls.


def test_typing_reads_the_text_anew_and_chooses_its_last_token():
    shown = explorer(position=3)
    shown.text.value = "Hana saw"
    assert shown.ids == ids_of("Hana saw")
    assert shown.position.value == shown.position.max == len(shown.ids) - 1
    assert "␣saw" in shown.next_token.value


def test_each_control_changes_its_picture_and_no_other():
    shown = explorer()
    panels = {"attention": shown.attention, "next_token": shown.next_token, "lens": shown.lens}
    changes = {
        shown.layer: (1, {"attention"}),
        shown.head: (2, {"attention"}),
        shown.view: ("matrix", {"attention"}),
        shown.temperature: (2.0, {"next_token"}),
        shown.top_k: (3, {"next_token"}),
        shown.top_p: (0.5, {"next_token"}),
        shown.position: (4, {"attention", "next_token", "lens"}),
    }
    for control, (value, expected) in changes.items():
        before = {name: panel.value for name, panel in panels.items()}
        control.value = value
        assert {name for name, panel in panels.items() if panel.value != before[name]} == expected, control.description


def test_top_p_keeps_the_nucleus():
    shown = explorer("Once upon")
    shown.top_p.value = 0.5
    assert "1 of 1,861 tokens can be drawn" in shown.next_token.value


def test_drawing_appends_a_token_and_stepping_back_takes_it_away():
    shown = explorer("Once upon", temperature=0.0)
    before = list(shown.ids)
    shown.draw.click()
    assert shown.text.value == "Once upon a" and shown.ids[:-1] == before
    assert shown.position.value == len(before), "the new token is chosen"
    assert "drew «␣a», probability 100.0%" in shown.status.value
    shown.back.click()
    assert shown.text.value == "Once upon" and shown.ids == before
    for _ in range(5):
        shown.back.click()
    assert shown.text.value == "" and len(shown.ids) == 1 and shown.back.disabled


def test_drawn_tokens_are_not_encoded_anew():
    """Two tokens may have the text of one: what was drawn is what the model goes on with."""
    _, tokenizer = storyteller()
    shown = explorer("Once up")
    pieces = [*shown.ids, *tokenizer.encode("on")]
    shown._write(pieces)
    assert shown.text.value == "Once upon" and shown.ids == pieces
    assert tokenizer.encode("Once upon") != pieces[1:]


def test_draws_follow_the_reshaped_distribution_and_the_seed():
    def drawn(seed: int) -> list[int]:
        shown = explorer("Once upon a time, there was a", top_k=2, seed=seed)
        tokens = []
        for _ in range(10):
            shown.draw.click()
            tokens.append(shown.ids[-1])
            shown.back.click()
        return tokens

    logits = look_inside(storyteller()[0], ids_of("Once upon a time, there was a")).logits[-1]
    best_two = logits.topk(2).indices.tolist()
    assert set(drawn(0)) == set(best_two)
    assert drawn(0) == drawn(0) != drawn(1)


def test_after_the_end_of_the_text_nothing_is_drawn():
    text = story_at("test", 0).text
    shown = explorer(text, temperature=0.0)
    shown.draw.click()
    assert shown.ids == [*ids_of(text), storyteller()[1].end_of_text]
    assert shown.text.value == text and shown.draw.disabled
    assert "drew «<|endoftext|>»" in unescape(shown.status.value)
    shown.draw.click()
    assert len(shown.ids) == len(ids_of(text)) + 1, "a click that came too late"
    shown.back.click()
    assert not shown.draw.disabled and shown.ids == ids_of(text)


def test_when_the_context_is_full_nothing_is_drawn():
    tokenizer = CharTokenizer.train("abc")
    shown = explore(untrained(vocabulary=3, context=4), tokenizer, "abc")
    shown.draw.click()
    assert len(shown.ids) == 4 and shown.draw.disabled


# What cannot be read.


@pytest.mark.parametrize(
    ("model", "tokenizer", "text", "words"),
    [
        (untrained(vocabulary=3), CharTokenizer.train("abc"), "", "the text is empty"),
        (untrained(vocabulary=3), CharTokenizer.train("abc"), "a" * 13, "delete 1 tokens or more"),
        (untrained(vocabulary=3), CharTokenizer.train("abc"), "abx", "unknown character 'x' at position 2"),
        (untrained(vocabulary=4), CharTokenizer.train("abc"), "abc", "do not belong together"),
    ],
    ids=["empty", "too long", "unknown character", "another tokenizer"],
)
def test_one_message_says_what_is_wrong_live_and_in_the_picture(model, tokenizer, text: str, words: str):
    shown = explore(model, tokenizer, text)
    assert words in shown.problem and 'role="alert"' in shown.status.value
    assert shown.attention.value == shown.next_token.value == shown.lens.value == ""
    assert shown.draw.disabled and shown.back.disabled
    assert words.partition("'")[0] in shown._repr_mimebundle_()["text/plain"]


def test_a_mended_text_is_read_again():
    shown = explorer("x " * 500)
    assert shown.problem and shown.inside is None
    shown.text.value = "Once upon"
    assert not shown.problem and shown.inside is not None and not shown.draw.disabled
    assert "3 of at most 192 tokens" in shown.status.value


def test_an_empty_text_is_a_start_where_the_tokenizer_has_one():
    shown = explorer("")
    assert len(shown.ids) == 1 and not shown.problem
    assert tips(shown.next_token)[0].startswith("Once: ")


@pytest.mark.parametrize(
    "setting", [{"layer": 4}, {"head": 0}, {"temperature": -0.1}, {"top_k": 1862}, {"top_p": 1.5}], ids=str
)
def test_a_setting_that_does_not_exist_is_refused(setting: dict[str, Any]):
    ((name, value),) = setting.items()
    with pytest.raises(InputError, match=f"{name} is {value}; here it must be between"):
        explorer(**setting)


def test_a_position_that_does_not_exist_is_told():
    assert "position is 99; here it must be between 0 and 13" in explorer(position=99).problem


# Any model of ours, any text.


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("n_layers", [1, 2])
def test_any_model(n_layers: int, training: bool):
    tokenizer = BPETokenizer.train("", 257)
    model = untrained(n_layers).train(training)
    shown = explore(model, tokenizer, "<b>&\x00你")
    for drawing in (shown.attention, shown.next_token, shown.lens):
        assert tips(drawing)  # it is well-formed
    assert "&lt;" in shown.attention.value and "<b>" not in shown.attention.value
    assert model.training is training


def test_every_token_of_the_vocabulary_can_be_drawn_as_a_picture():
    _, tokenizer = storyteller()
    labels = [visible(tokenizer, i) for i in range(tokenizer.vocab_size)]
    rows = [[1.0] + [0.0] * (len(labels) - 1)] * len(labels)
    drawing = pictures.svg(pictures.arcs(labels, range(len(labels)), rows, 0, "all"))
    assert len(re.findall('class="token"', ElementTree.canonicalize(drawing))) == len(labels)


# How it stands in a notebook.


def test_outside_a_live_frontend_there_is_the_same_as_one_picture():
    shown = explorer(temperature=0.5)
    bundle = shown._repr_mimebundle_()
    assert bundle[WIDGET]["model_id"] == shown.box.model_id
    drawing = bundle["image/svg+xml"]
    assert "fill: #ffffff" in drawing, "it has a page of its own"
    root = ElementTree.fromstring(drawing)
    assert bundle["text/plain"].endswith(root.get("aria-label") or "?") and "␣Her" in bundle["text/plain"]
    there = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}title")]
    assert there == tips(shown.attention) + tips(shown.next_token) + tips(shown.lens)


def test_the_picture_is_the_same_each_time_and_has_few_digits():
    first, second = (explorer()._repr_mimebundle_()["image/svg+xml"] for _ in range(2))
    assert first == second
    assert not re.search(r"\d\.\d{3}", first), "a number that another CPU might round differently"


def test_every_control_has_a_name():
    shown = explorer()
    controls = [shown.text, shown.draw, shown.back, shown.position, shown.layer, shown.head, shown.view]
    controls += [shown.temperature, shown.top_k, shown.top_p]
    names = [control.description for control in controls]
    assert all(names) and len(set(names)) == len(names)
    for shown_as in (shown.attention, shown.next_token, shown.lens):
        assert re.search(r'<svg [^>]*role="img" aria-label="[^"]{20,}"', shown_as.value)


def test_stored_notebooks_hold_the_picture_and_no_widget():
    lessons = []
    for path in [*NOTEBOOKS.glob("*.ipynb"), *NOTEBOOKS.glob("solutions/*.ipynb")]:
        notebook = nbformat.read(path, as_version=4)
        assert "widgets" not in notebook.metadata
        for cell in notebook.cells:
            kinds = {kind for output in cell.get("outputs", []) for kind in output.get("data", {})}
            assert WIDGET not in kinds, f"{path.name}, {cell.id}"
            if cell.cell_type == "code" and "\nexplore(" in f"\n{cell.source}":
                lessons.append(path.stem[:2])
                assert kinds == {"image/svg+xml", "text/plain"}, f"{path.name}, {cell.id}"
    assert sorted(lessons) == ["01", "02", "05", "13"]
