# Every target sets up .venv by itself, and only when what it needs has changed. PYTHON chooses the interpreter.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo up test test-slow lint tables bench results report notebooks constraints clean

help:
	@echo "make demo         run the whole job on real photos: plaintext beside every encrypted protocol"
	@echo "make up           a whole deployment on this machine, in the folder hushmatch-data, until Ctrl-C"
	@echo "make test         the tests, without those marked slow"
	@echo "make test-slow    the tests marked slow (minutes)"
	@echo "make lint         ruff and mypy"
	@echo "make tables       write THREAT_MODEL.md's tables anew from the protocols' messages"
	@echo "make bench        what privacy costs on this machine: every protocol side by side, and the scan by stage"
	@echo "make results      run all experiments in full, into experiments/results (an hour and a half)"
	@echo "make report       run all experiments quickly and write out/report.html, one self-contained page"
	@echo "make notebooks    run the notebooks and keep their outputs"
	@echo "make constraints  write constraints.txt anew from pyproject.toml, newest versions"
	@echo "make clean        remove $(VENV) and caches"

demo: $(VENV)/.demo
	$(BIN)/hushmatch demo

up: $(VENV)/.service
	$(BIN)/hushmatch up

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadscope

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

tables: $(VENV)/.dev
	$(BIN)/python -m experiments.threat_tables

# Batches are large messages, and much of their cost is page faults: glibc shall take huge pages for them, and keep what
# was freed instead of giving it back (glibc 2.35 or later; else no effect).
bench: export GLIBC_TUNABLES := glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=8589934592:glibc.malloc.arena_max=1
bench: $(VENV)/.experiments
	$(BIN)/python -m experiments cost
	$(BIN)/python -m experiments scan
	$(BIN)/python -m experiments scale

results: $(VENV)/.experiments
	$(BIN)/python -m experiments all --out experiments/results

report: $(VENV)/.experiments
	$(BIN)/python -m experiments all --quick --out out
	$(BIN)/python -m experiments.report out

notebooks: $(VENV)/.notebooks
	$(BIN)/jupytext --to ipynb --update notebooks/*.py
	$(BIN)/python -m pytest --nbmake --overwrite -p no:cacheprovider --override-ini addopts= notebooks

# The newest versions that fit pyproject.toml, for every platform and Python >= 3.11.
constraints: $(VENV)/.lock
	$(BIN)/uv pip compile --upgrade --universal --python-version 3.11 --all-extras --strip-extras \
		--no-header --no-annotate --quiet --output-file constraints.txt pyproject.toml

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@"$(PYTHON)" -c 'import sys; sys.exit("Hushmatch needs Python 3.11 or later; set PYTHON to one" if sys.version_info < (3, 11) else 0)'
	"$(PYTHON)" -m venv $(VENV)

# A stamp an extra: .venv/.dev says that the extra `dev` is installed as pyproject.toml and constraints.txt ask.
$(VENV)/.%: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV): .[$*]"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$*]'
	@touch $@
