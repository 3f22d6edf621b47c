#!/usr/bin/env bash
# tyro 1.0.17: for a parameter `int | None` it imports typeguard and what that needs; for `Optional[int]` it does not.
#
# Both mean the same, and both are read alike. But tyro asks whether a default fits its annotation, and its quick way
# knows the unions of `typing` alone: of Python 3.11's two kinds of union, `X | None` goes to typeguard, whose import
# also looks through the entry points of all packages that are installed. A command line of short commands starts
# sooner with `Optional`, also where one parameter of many is written the other way.
#
# Seen: as EXPECTED below; whether typeguard was imported.
set -euo pipefail
EXPECTED='Optional[int] -> 3 False
Union[int, None] -> 3 False
int | None -> 3 True'
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet tyro==1.0.17 typeguard==4.6.0
cat > try.py <<'PY'
import sys
from typing import Optional, Union

import tyro


def optional(n: Optional[int] = None) -> int | None:
    return n


def union(n: Union[int, None] = None) -> int | None:
    return n


def bar(n: int | None = None) -> int | None:
    return n


read = {"Optional[int]": optional, "Union[int, None]": union, "int | None": bar}[sys.argv[1]]
print(sys.argv[1], "->", tyro.cli(read, args=["--n", "3"]), "typeguard" in sys.modules)
PY
found=$(for kind in "Optional[int]" "Union[int, None]" "int | None"; do venv/bin/python try.py "$kind"; done)
echo "$found"
[ "$found" = "$EXPECTED" ]
