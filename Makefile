# Every target sets up .venv by itself. `make help` lists them.

PYTHON ?= python3
PIP_FLAGS ?=

BIN := .venv/bin
READY := .venv/.ready
EXTRAS := test,check,vision,text,causes

# Plain, so that two targets on one line never share a half-made environment.
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help venv demo test check format clean

help: ## List the targets
	@echo "Targets of Stoic:"
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1|\2/p' Makefile \
		| awk -F '|' '{ printf "%-14s %s\n", $$1, $$2 }'
	@echo "Options: PYTHON=python3.12 picks the interpreter of a new .venv;"
	@echo "  PIP_FLAGS='--extra-index-url https://download.pytorch.org/whl/cpu' takes"
	@echo "  PyTorch's smaller build without CUDA."

venv: $(READY) ## Set up .venv (every other target does it when needed)

demo: $(READY) ## Measure the network of the case signs and write a report
	@echo "stoic: 2000 bit flips in the weights of the case 'signs'; results go to runs/demo"
	@$(BIN)/stoic pvf signs --faults 2000 --seed 0 --out runs/demo
	@echo "The report: $(CURDIR)/runs/demo/report.html (open it in a browser)"

test: $(READY) ## Run the tests, without the slow ones and the peers
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile \
		-m "not slow and not peers" tests

check: $(READY) ## Check format, lint, types, import laws and documentation
	@echo "check: format"
	@$(BIN)/ruff format --check --quiet || \
		{ $(BIN)/ruff format --check; echo "check: 'make format' mends it"; exit 1; }
	@echo "check: lint"
	@$(BIN)/ruff check --quiet
	@echo "check: types"
	@$(BIN)/mypy
	@echo "check: import laws and documentation"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/test_laws.py tests/test_docs.py

format: $(READY) ## Format the code and mend what the linter can mend
	@$(BIN)/ruff check --fix --quiet || true
	@$(BIN)/ruff format

clean: ## Remove caches and build products; keep .venv and runs
	@rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find src tests docs -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "clean: caches and build products are gone; .venv and runs/ are kept"

# The check speaks one line, where pip and venv would speak many.
define ASK_PYTHON
import sys
if sys.version_info < (3, 11):
    sys.exit("stoic: Python must be 3.11 or newer, got %d.%d from '$(PYTHON)'; "
             "name another one: make PYTHON=python3.12" % sys.version_info[:2])
try:
    import ensurepip, venv
except ImportError:
    sys.exit("stoic: '$(PYTHON)' must be able to make environments, got no venv "
             "module; on Debian and Ubuntu: apt-get install python3-venv")
endef
export ASK_PYTHON

# -qq keeps pip's errors and drops its warnings and progress.
$(READY): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "stoic: Python must be 3.11 or newer," \
		"got no '$(PYTHON)'; install it, or name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
		$(PYTHON) -c "$$ASK_PYTHON" && \
		echo "stoic: making a virtual environment in .venv" && \
		$(PYTHON) -m venv .venv; }
	@echo "stoic: installing Stoic with PyTorch and its tools into .venv; this takes 1 to 10"
	@echo "       minutes, and up to 6 GB where PyTorch comes with CUDA (see 'make help')"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check $(PIP_FLAGS) \
		--editable ".[$(EXTRAS)]"
	@touch $@
	@echo "stoic: .venv is ready"
