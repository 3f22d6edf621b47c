"""A small text, as data."""

from pathlib import Path

import pytest

from minigpt.text.data import TextData, load_data


@pytest.fixture
def text_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TextData:
    monkeypatch.setenv("MINIGPT_CACHE", str(tmp_path))
    (tmp_path / "text.txt").write_text("Größe zählt, 你好! " * 40, encoding="utf-8")
    data = load_data(str(tmp_path / "text.txt"), 16, "char")
    assert isinstance(data, TextData)
    return data
