"""A classifier against transformers' own, what it keeps of its language model, and where a label must not be read."""

from dataclasses import replace

import pytest
import torch
from transformers import GPT2Config, GPT2ForSequenceClassification

from minigpt.config import GPTConfig, InputError, TrainConfig, model_config_from_json, to_json
from minigpt.generation.beam_search import beam_search
from minigpt.generation.generate import generate
from minigpt.model.classifier import class_logits, with_labels
from minigpt.model.gpt import GPT, empty_model, flops_per_token, next_token_loss, parameter_count
from minigpt.model.vocabulary import with_more_tokens
from minigpt.text.tokenizer import CharTokenizer
from minigpt.weights.checkpoint import load_model, save
from minigpt.weights.gpt2_layout import to_gpt2, to_gpt2_config
from minigpt.weights.pretrained import export_gpt2

CONFIG = GPTConfig(vocab_size=13, context_length=9, n_layers=2, n_heads=2, d_model=8)
IDS = torch.tensor([[12, 3, 5, 12, 12, 12], [12, 7, 1, 2, 9, 4], [12, 8, 12, 12, 12, 12]])
LENGTHS = torch.tensor([3, 6, 3])  # the last row ends in a real token 12, which is also the padding


def language_model(**options) -> GPT:
    torch.manual_seed(0)
    model = GPT(replace(CONFIG, **options)).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=0.05, std=0.3)
    return model


def theirs(model: GPT, classifier: GPT, pad_id: int | None) -> GPT2ForSequenceClassification:
    """The classifier in transformers: the language model as we export it, with our head."""
    config = GPT2Config(**to_gpt2_config(model.config, None) | {"num_labels": 3, "pad_token_id": pad_id})
    peer = GPT2ForSequenceClassification(config).double().eval()
    weights = to_gpt2(model) | {"score.weight": classifier.output_head.weight}
    weights.pop("lm_head.weight", None)
    peer.load_state_dict(weights)
    return peer


@pytest.mark.parametrize("options", [{}, {"tie_embeddings": False}, {"bias": False}])
@torch.no_grad()
def test_it_says_what_transformers_classifier_says(options):
    model = language_model(**options)
    classifier = with_labels(model, 3)
    unused = 0  # a padding id that is in none of the texts
    ids = torch.where(torch.arange(6) < LENGTHS[:, None], IDS, unused)
    expected = theirs(model, classifier, unused)(ids).logits
    torch.testing.assert_close(class_logits(classifier, ids, LENGTHS), expected)
    torch.testing.assert_close(class_logits(classifier, IDS, LENGTHS), expected)  # ours asks for no id of its own


@torch.no_grad()
def test_a_text_that_ends_in_the_padding_s_id_is_read_whole_and_transformers_reads_it_too_early():
    model = language_model()
    classifier = with_labels(model, 3)
    ours = class_logits(classifier, IDS, LENGTHS)
    found = theirs(model, classifier, 12)(IDS).logits
    torch.testing.assert_close(found[:2], ours[:2])
    torch.testing.assert_close(found[2], classifier(IDS)[2, 1])  # at the 8, before the real 12
    assert (found[2] - ours[2]).abs().max() > 1e-3


@torch.no_grad()
def test_padding_changes_nothing_and_what_stands_after_it_is_another_answer():
    classifier = with_labels(language_model(), 3)
    alone = torch.cat([class_logits(classifier, IDS[i : i + 1, :n], LENGTHS[i : i + 1]) for i, n in enumerate(LENGTHS)])
    torch.testing.assert_close(class_logits(classifier, IDS, LENGTHS), alone)
    assert (classifier(IDS)[0, -1] - alone[0]).abs().max() > 1e-3


@pytest.mark.parametrize("options", [{}, {"pad_vocab": 16}, {"tie_embeddings": False, "positions": "rope"}])
def test_it_keeps_the_language_model_but_for_its_head_and_shares_nothing_with_it(options):
    model = language_model(**options)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    state = torch.get_rng_state()
    classifier = with_labels(model, 5)
    assert torch.equal(torch.get_rng_state(), state) and not classifier.training
    assert classifier.config == replace(model.config, n_labels=5, tie_embeddings=False)
    assert classifier(IDS).shape == (3, 6, 5) and classifier.output_head.weight.dtype == torch.float64
    torch.testing.assert_close(classifier.hidden_states(IDS), model.hidden_states(IDS))
    assert parameter_count(classifier.config) == sum(p.numel() for p in classifier.parameters())
    next_token_loss(classifier(IDS), IDS % 5).backward()
    with torch.no_grad():
        for parameter in classifier.parameters():
            parameter.add_(1)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name]), name


def test_the_head_is_small_and_the_seed_s():
    wide = with_labels(GPT(replace(CONFIG, d_model=400)), 100)
    assert wide.output_head.weight.std().item() == pytest.approx(0.02, rel=0.02)
    again, other = (with_labels(GPT(replace(CONFIG, d_model=400)), 100, seed) for seed in (0, 1))
    assert torch.equal(wide.output_head.weight, again.output_head.weight)
    assert not torch.equal(wide.output_head.weight, other.output_head.weight)


def test_the_cost_is_that_of_the_smaller_head():
    classifier = replace(CONFIG, n_labels=3, tie_embeddings=False)
    assert flops_per_token(CONFIG, 6) - flops_per_token(classifier, 6) == 6 * (13 - 3) * 8


def test_a_classifier_s_tokens_may_grow_and_its_head_stays():
    classifier = with_labels(language_model(), 3)
    grown = with_more_tokens(classifier, 20)
    assert grown.config.vocab_size == 20 and grown.config.n_labels == 3
    torch.testing.assert_close(grown(IDS), classifier(IDS))


def test_a_checkpoint_brings_it_back(tmp_path):
    classifier = with_labels(language_model().float(), 3)
    save(tmp_path / "labels", classifier, CharTokenizer("abcdefghijklm"))
    loaded, _ = load_model(str(tmp_path / "labels"))
    assert loaded.config == classifier.config == model_config_from_json(to_json(classifier.config))
    assert torch.equal(loaded(IDS), classifier(IDS))


def test_a_classifier_is_no_language_model(tmp_path):
    classifier = with_labels(language_model(), 3)
    with pytest.raises(InputError, match="a classifier with 3 labels and has no next token"):
        generate(classifier, [1, 2], 3)
    with pytest.raises(InputError, match="a classifier with 3 labels and has no next token"):
        beam_search(classifier, [1, 2], 3, beams=2)
    with pytest.raises(InputError, match="output head has 3 labels, and GPT-2's has a row for each token"):
        export_gpt2(classifier, CharTokenizer("abcdefghijklm"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_wrong_labels_and_lengths_are_refused():
    model = language_model()
    with pytest.raises(InputError, match="n_labels is 1; a classifier tells at least 2"):
        with_labels(model, 1)
    with pytest.raises(InputError, match="has no labels: make it a classifier with `with_labels`"):
        class_logits(model, IDS, LENGTHS)
    classifier = with_labels(model, 3)
    for lengths in ([0, 3, 3], [3, 7, 3], [3, 3]):
        with pytest.raises(InputError, match="each of 3 rows has 1 to 6 real ids"):
            class_logits(classifier, IDS, torch.tensor(lengths))
    for n_labels, what in ((1, "at least 2, or 0"), (-3, "at least 2, or 0"), (2.5, "a whole number")):
        with pytest.raises(InputError, match=f"n_labels is {n_labels}; it must be {what}"):
            GPTConfig(n_labels=n_labels, tie_embeddings=False)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="n_labels is 3, and tie_embeddings .* needs tie_embeddings off"):
        GPTConfig(n_labels=3)
    with pytest.raises(InputError, match="trained is 'body'; choose from all, last, head"):
        TrainConfig(trained="body")  # type: ignore[arg-type]


def test_a_classifier_s_shape_needs_no_numbers():
    assert empty_model(replace(CONFIG, n_labels=3, tie_embeddings=False)).output_head.weight.shape == (3, 8)
