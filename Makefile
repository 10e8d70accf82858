# make serve · make test · make check · make fix · make bench: each does all its own set-up.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: serve test check fix bench clean

# Only what serving needs; `make test` adds the rest to the same environment.
$(VENV)/.serve: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[demo]"
	touch $@

$(VENV)/.dev: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@ $(VENV)/.serve

# Clients of other languages that the tests point at us; without npm those tests are skipped.
$(VENV)/.node: $(VENV)/.dev
	if command -v npm >/dev/null; then npm install --silent --no-audit --no-fund --prefix $(VENV)/node openai@7 axe-core@4; fi
	touch $@

serve: $(VENV)/.serve
	$(BIN)/lightkorllm serve $(ARGS)

test: $(VENV)/.node
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fix: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/serve.py $(ARGS)

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
