"""The test of other processors sees what it should, and leaves alone what every processor does alike."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt.config import GPTConfig
from minigpt.model.gpt import GPT
from tests.portable import __main__ as portable
from tests.portable.startup.another_processor import ERROR, NOISY, Noise, overloads


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def deviation(dtype: torch.dtype, seed: int = 1) -> float:
    """How far a product of two matrices of this type strays with noise, relatively: the standard deviation."""
    a, b = draw(200, 100).to(dtype), draw(100, 50).to(dtype)
    with Noise(seed):
        noisy = a @ b
    return float((noisy.double() / (a @ b).double() - 1).std())


def test_a_product_strays_by_the_stated_error_and_float64_not_at_all() -> None:
    assert deviation(torch.float32) == pytest.approx(ERROR[torch.float32], rel=0.1)
    assert deviation(torch.bfloat16) == pytest.approx(ERROR[torch.bfloat16], rel=0.2)
    assert deviation(torch.float64) == 0


@pytest.mark.parametrize("name", NOISY)
def test_torch_has_every_noisy_operation(name: str) -> None:
    assert overloads(name), f"this torch has no aten::{name}"


def test_noise_reaches_what_the_layers_of_a_model_call_and_their_gradients() -> None:
    x = draw(2, 4, 5, 8)
    calls = [
        lambda x: F.linear(x, draw(8, 8)),
        lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
        lambda x: F.layer_norm(x, (8,)),
        lambda x: F.cross_entropy(x.flatten(0, 2), torch.arange(40) % 8),
        lambda x: x.softmax(-1),
        lambda x: x.new_zeros(2, 4, 5, 8).copy_(x).baddbmm_(x, x) if x.dim() == 3 else x @ x.mT,
        lambda x: torch.stack([x, x]).mean(),
    ]
    for number, call in enumerate(calls):
        exact, noisy = x.clone().requires_grad_(), x.clone().requires_grad_()
        call(exact).square().sum().backward()
        with Noise(1):
            call(noisy).square().sum().backward()
        assert exact.grad is not None and noisy.grad is not None
        assert not torch.equal(exact.grad, noisy.grad), number
        assert torch.allclose(exact.grad, noisy.grad, rtol=1e-3, atol=1e-4), number


def test_noise_is_the_same_in_inference_mode_where_torch_shows_a_mode_other_operations() -> None:
    model = GPT(GPTConfig(vocab_size=11, context_length=8, n_layers=1, n_heads=2, d_model=8))
    x = draw(2, 5, 8)
    calls: list[Callable[[], Tensor]] = [
        lambda: F.linear(x, draw(8, 8), draw(8)),
        lambda: x @ draw(8, 3),
        lambda: torch.einsum("btd,ed->bte", x, draw(4, 8)),
        lambda: x.softmax(-1),
        lambda: x.log_softmax(-1),
        lambda: F.layer_norm(x, (8,)),
        lambda: F.scaled_dot_product_attention(x, x, x, is_causal=True),
        lambda: F.cross_entropy(x.flatten(0, 1), torch.arange(10) % 8, reduction="none"),  # a mean may hide it
        lambda: model(torch.arange(8)[None]),
    ]
    for number, call in enumerate(calls):
        with torch.no_grad():
            exact = call()
            with Noise(1):
                expected = call()
        with torch.inference_mode(), Noise(1):
            assert torch.equal(call(), expected) and not torch.equal(expected, exact), number


def test_results_written_into_a_given_tensor_stray_in_place() -> None:
    a, out = draw(8, 8), torch.empty(8, 8)
    with Noise(1):
        assert torch.mm(a, a, out=out) is out
        assert torch.equal(out, a @ a) or not torch.equal(out, torch.zeros(8, 8))
    assert not torch.equal(out, a @ a)
    total = draw(8, 8)
    place = total.data_ptr()
    with Noise(1):
        total.addmm_(a, a)
    assert total.data_ptr() == place and not torch.equal(total, draw(8, 8) + a @ a)


def test_the_same_work_gives_the_same_bits_and_another_seed_gives_others() -> None:
    a = draw(30, 30)
    with Noise(1):
        first, again = a @ a, a @ a
    with Noise(1):
        later = a @ a
    with Noise(2):
        other = a @ a
    assert torch.equal(first, again) and torch.equal(first, later)
    assert not torch.equal(first, other)


def test_a_later_row_changes_no_earlier_one() -> None:
    a, changed = draw(2, 30, 30)
    changed[:20] = a[:20]
    with Noise(1):
        assert torch.equal((a @ a)[:20], (changed @ a)[:20])


def test_whole_numbers_and_simple_fractions_stay() -> None:
    with Noise(1):
        assert torch.tensor([0.5, 0.0, 0.25]).cumsum(0).tolist() == [0.5, 0.5, 0.75]
        assert torch.ones(1000).sum() == 1000
        assert torch.equal(
            torch.eye(3) @ torch.tensor([[1.0, 2], [3, 4], [5, 6]]), torch.tensor([[1.0, 2], [3, 4], [5, 6]])
        )
        assert torch.equal(torch.tensor([0.0, float("-inf")]).softmax(0), torch.tensor([1.0, 0.0]))


def test_large_results_are_covered_too() -> None:
    a = draw(1100, 1000)
    with Noise(1):
        noisy = a @ a.T
    assert (noisy != a @ a.T).float().mean() > 0.8


def test_the_lessons_random_numbers_are_untouched() -> None:
    torch.manual_seed(5)
    before = torch.rand(3)
    torch.manual_seed(5)
    with Noise(1):
        assert torch.equal(torch.rand(3), before)


PROGRAM = """
import json, sys, threading
import torch
from minigpt.runtime import has_bfloat16_units
a = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
seen = {}
def strays(name):
    seen[name] = not torch.equal(a @ a, torch.linalg.multi_dot([a.double(), a.double()]).float()) and float(
        ((a @ a).double() / (a.double() @ a.double()) - 1).abs().median())
strays("main")
thread = threading.Thread(target=strays, args=["thread"])
thread.start(), thread.join()
seen["units"] = has_bfloat16_units(torch.device("cpu"))
torch.set_num_threads(1)
seen["threads"] = torch.get_num_threads()
torch.manual_seed(1)
seen["drawn"] = torch.rand(1).item()
print(json.dumps(seen))
"""


def seen(settings: dict[str, str], program: str = PROGRAM) -> dict[str, float]:
    command = [sys.executable, "-W", "error", "-c", program]
    return json.loads(subprocess.check_output(command, env=portable.another_machine(settings), text=True))


def test_a_process_and_its_threads_are_on_another_machine() -> None:
    plain = seen({})
    noisy = seen({"PORTABLE_NOISE": "1", "PORTABLE_BFLOAT16": "1", "PORTABLE_THREADS": "2"})
    assert noisy["main"] > 3 * plain["main"] and noisy["thread"] == noisy["main"]
    assert noisy["drawn"] == plain["drawn"]
    assert noisy["units"] is True and seen({"PORTABLE_BFLOAT16": "0"})["units"] is False
    assert plain["threads"] == 1 and noisy["threads"] == 2


def test_a_process_without_torch_does_not_load_it() -> None:
    program = "import json, sys; print(json.dumps({'torch': 'torch' in sys.modules}))"
    assert seen({"PORTABLE_NOISE": "1"}, program) == {"torch": False}


HONEST = "print(f'{float(x.sum()):.2f}', f'{float((x.double() @ x.double()).mean()):.10f}')"
ONE_DIGIT_TOO_MANY = "print(f'{float((x @ x).mean()):.9f}')"


@pytest.fixture
def lessons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two lessons and their solutions, executed: in one a cell prints what only this machine prints."""
    (tmp_path / "solutions").mkdir()
    monkeypatch.setattr(portable, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(portable, "REPORTS", tmp_path / "reports")
    setup = "import torch\nx = torch.randn(50, 50, generator=torch.Generator().manual_seed(1))"
    for name, last in (("01_honest", HONEST), ("02_proud", ONE_DIGIT_TOO_MANY)):
        cells = [nbformat.v4.new_markdown_cell("# A lesson", id="title")]
        cells += [nbformat.v4.new_code_cell(code, id=id) for id, code in (("setup", setup), ("last", last))]
        notebook = nbformat.v4.new_notebook(cells=cells)
        notebook.cells[1].execution_count, notebook.cells[2].execution_count = 1, 2
        program = f"{setup}\n{last}"
        shown = subprocess.check_output(
            [sys.executable, "-c", program], text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        notebook.cells[2].outputs = [nbformat.v4.new_output("stream", name="stdout", text=shown)]
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
        nbformat.write(nbformat.v4.new_notebook(cells=cells[:2]), tmp_path / "solutions" / f"{name}.ipynb")
    return tmp_path


def test_one_digit_too_many_is_red_and_an_honest_lesson_green(
    lessons: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert portable.main(["--setting", "noise-1"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("1/2 01_honest, noise-1: ok") and "02_proud, noise-1: red: last" in lines[1]
    assert [line.split() for line in lines[-3:-1]] == [["01_honest", "ok"], ["02_proud", "1", "red"]]
    assert lines[-1] == "red: 02_proud, noise-1: last"
    assert "mismatch 'stdout'" in (lessons / "reports" / "02_proud.noise-1.txt").read_text()
    assert portable.main(["01", "--seed", "7"]) == 0


def test_a_name_that_no_lesson_has_is_refused(lessons: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        portable.main(["07"])
    assert "no lesson begins with '07'; there are 01_honest, 02_proud" in capsys.readouterr().err


@pytest.mark.parametrize("capability", ["AVX2", "AVX512", "DEFAULT"])
@pytest.mark.parametrize("units", [True, False])
def test_settings_that_change_nothing_here_are_left_out(
    capability: str, units: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(portable, "has_bfloat16_units", lambda device: units)
    monkeypatch.setattr(portable, "run", lambda lesson, name, settings: portable.Verdict(lesson, name, [], 0.0))
    assert portable.main(["04"]) == 0
    printed = capsys.readouterr().out
    run = {name for name in portable.SETTINGS if f", {name}: ok" in printed}
    expected = set(portable.SETTINGS)
    if capability == "AVX2":
        expected.remove("avx2")
    if not units:
        expected.remove("no-bfloat16")
    assert run == expected and ("change nothing" in printed) == (expected != set(portable.SETTINGS))
    assert portable.main(["04", "--setting", "avx2"]) == 0 and ", avx2: ok" in capsys.readouterr().out
