"""Texts to cut into tokens: what people write, in many scripts, and what nobody writes."""

import argparse
import inspect
import random

ENGLISH = inspect.getsource(argparse)[:60_000]
MIXED = (
    "Es war einmal ein Mädchen. Жила-была девочка. 从前有一个小女孩,她住在森林里。小女孩有一只红色的风筝。\n"
    "👩\u200d👩\u200d👧 🪁🪁 naïve café  it's   they're 12345 ½ ٣٤ ...!!!   \t\r\n\n\n  if x == 10:\n        return\n"
    "'aaaaaaaaaaaaaaaa'  \u00a0\u3000 x\u0301 \x00\x1c\x85 "
)
TEXTS = {
    "English and code": ENGLISH,
    "many languages": MIXED * 3,
    "one letter": "a" * 1000,
    "few letters": "".join(random.Random(0).choices("ab \n", k=3000)),
    "random characters": "".join(random.Random(1).choices([chr(i) for i in range(0x20, 0x530)], k=3000)),
}
