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

# A browser for the page's tests: Debian's, where we may install it; elsewhere they are skipped.
$(VENV)/.browser: $(VENV)/.node
	if ! command -v chromedriver >/dev/null && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium chromium-driver fonts-nanum >/dev/null \
	    || echo "no browser could be installed: the page's browser tests will be skipped"; fi
	touch $@

serve: $(VENV)/.serve
	$(BIN)/lightkorllm serve $(ARGS)

test: $(VENV)/.browser
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
