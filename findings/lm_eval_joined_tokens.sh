#!/usr/bin/env bash
# lm-eval 0.4.13, transformers 5.23.0: an answer that joins the last word of its context into one token scores 0.0, the
# log-probability of what is certain.
#
# A context and an answer are encoded as one text, and the answer's tokens are those behind as many as the context has by
# itself. Where «child» and «children» are a token each, the text «… child» + «ren» has no token behind that: the answer
# is empty, its score exactly 0.0 and its greedy flag true, so that it wins against every other, whatever the model says.
# No warning. With the answers « children» and « childs» after «… two» all tokens are scored.
#
# Seen: a random model is certain of «ren», and of nothing else.
set -euo pipefail
EXPECTED="'one child, two child' + 'ren': 0.0, greedy True
'one child, two child' + 's': below -1, greedy False
'one child, two' + ' children': below -1, greedy False
'one child, two' + ' childs': below -1, greedy False"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.13.0 numpy==2.4.6 transformers==5.23.0 accelerate==1.15.0 lm-eval==0.4.13
cat > try.py <<'PY'
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

made = Tokenizer(models.BPE())
made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
made.decoder = decoders.ByteLevel()
trainer = trainers.BpeTrainer(
    vocab_size=300, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
)
made.train_from_iterator(["one child, two children."] * 50, trainer)
tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|endoftext|>")
torch.manual_seed(0)
model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_positions=64, n_embd=32, n_layer=2, n_head=2)).eval()
judge = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, device="cpu")


def scores(context, continuations):
    asked = [Instance("loglikelihood", {}, (context, words), i) for i, words in enumerate(continuations)]
    for words, (score, greedy) in zip(continuations, judge.loglikelihood(asked, disable_tqdm=True), strict=True):
        print(f"{context!r} + {words!r}: {'0.0' if score == 0 else 'below -1' if score < -1 else score}, greedy {greedy}")


scores("one child, two child", ["ren", "s"])
scores("one child, two", [" children", " childs"])
PY
found=$(venv/bin/python try.py 2>/dev/null | grep greedy)
echo "$found"
[ "$found" = "$EXPECTED" ]
