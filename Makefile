# Needs Python 3.10 or newer, make and PyPI; uv goes to .tools, environments to .venv and .venvs.
.DEFAULT_GOAL := help
UV := $(or $(shell command -v uv),.tools/bin/uv)
export UV_PROJECT_ENVIRONMENT ?= .venv
RUN = $(UV) run --frozen --no-sync
PYTEST = python -m pytest -p tests.docs.blocks
PYTHONS := 3.10 3.11 3.12 3.13
QUICK := tests/core tests/specifications \
	$(addprefix tests/persistence_sqlalchemy/test_,contracts.py unit_of_work.py repository.py mapping.py) \
	$(addprefix tests/redis/test_,cache.py fifo.py redlock.py queue_signal.py) -q -m "not slow"

# The interpreter of version $(1), or nothing. pyenv is asked for all it has, not only for its active one.
find_python = $(shell PYENV_VERSION="$$(pyenv versions --bare 2>/dev/null | paste -sd: -)" \
	$(UV) python find --system --no-python-downloads $(1) 2>/dev/null)

.PHONY: help
help: ## List the targets.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: install
install: $(UV) ## Make or update the environment in .venv (every other target does it by itself).
	@$(UV) sync --frozen --quiet

.tools/bin/uv:
	@echo "fetching uv into .tools"
	@python3 -m venv .tools
	@.tools/bin/python -m pip install --quiet --disable-pip-version-check uv

.PHONY: format
format: install ## Format the code and apply the fixes that are safe.
	$(RUN) ruff check --fix --exit-zero .
	$(RUN) ruff format .

.PHONY: lint
lint: install ## Check style and formatting.
	$(RUN) ruff check .
	$(RUN) ruff format --check .

.PHONY: types
types: install ## Check types with mypy, strictly.
	$(RUN) mypy

.PHONY: layers
layers: install ## Check that imports point to core.
	$(RUN) lint-imports

.PHONY: test
test: install ## Run every test and every Python block of the docs: make test ARGS="-k outbox"
	$(RUN) $(PYTEST) $(ARGS)

.PHONY: test-all
test-all: $(PYTHONS:%=test-py%) ## Run the tests on each Python from 3.10 to 3.13 that is found.

test-py%: $(UV)
	@python="$(call find_python,$*)"; \
	if [ -z "$$python" ]; then echo "== Python $*: not found, left out"; exit 0; fi; \
	echo "== Python $*: $$python"; \
	export UV_PROJECT_ENVIRONMENT=.venvs/py$*; \
	$(UV) sync --frozen --quiet --python "$$python" && $(RUN) $(PYTEST) $(ARGS)

.PHONY: test-lowest
test-lowest: $(UV) ## Run the tests on the oldest dependencies allowed, on the oldest Python found.
	@python="$(firstword $(foreach version,$(PYTHONS),$(call find_python,$(version))))"; \
	if [ -z "$$python" ]; then echo "== none of Python $(PYTHONS) found, oldest dependencies left out"; exit 0; fi; \
	echo "== oldest dependencies: $$python"; \
	export UV_PROJECT_ENVIRONMENT=.venvs/lowest VIRTUAL_ENV=.venvs/lowest; \
	rm -f .venvs/lowest.txt; \
	$(UV) venv --quiet --allow-existing --python "$$python" .venvs/lowest && \
	$(UV) pip compile --quiet --no-header --no-annotate --resolution lowest-direct \
		--python .venvs/lowest --output-file .venvs/lowest.txt pyproject.toml && \
	$(UV) pip install --quiet --group dev --requirements .venvs/lowest.txt && \
	$(RUN) $(PYTEST) $(ARGS)

.PHONY: test-newest
test-newest: $(UV)
	@version="$(lastword $(foreach version,$(PYTHONS),$(if $(call find_python,$(version)),$(version))))"; \
	if [ -z "$$version" ]; then echo "== none of Python $(PYTHONS) found, newest Python left out"; exit 0; fi; \
	$(MAKE) --no-print-directory "test-py$$version"

.PHONY: docs
docs: export UV_PROJECT_ENVIRONMENT = .venvs/docs
docs: $(UV) ## Build the documentation site into build/site (Python 3.11 or newer).
	@$(UV) sync --frozen --quiet --no-default-groups --group docs --python '>=3.11'
	@rm -rf build/docs build/site && mkdir -p build && cp -R docs build/docs && cp docs/mkdocs.yml build
	$(RUN) zensical build --config-file build/mkdocs.yml --clean

.PHONY: operators
operators: install ## Write docs/reference/operators.md from the table of operators.
	$(RUN) python -m tests.docs.operators

.PHONY: structure
structure: install ## Measure how the packages are built: make structure ARGS="--base HEAD~1"
	@$(RUN) python -m tests.architecture.structure $(ARGS)

.PHONY: bench
bench: install ## Measure each hot path beside its floor.
	PYTHONPATH=docs/examples $(RUN) python -m tests.benchmarks $(ARGS)

.PHONY: bench-compare
bench-compare: install ## Compare the hot paths with another revision: make bench-compare ARGS="--base HEAD~10"
	$(RUN) python -m tests.benchmarks.compare $(ARGS)

.PHONY: bench-peers
bench-peers: export UV_PROJECT_ENVIRONMENT = .venvs/peers
bench-peers: $(UV) ## Measure beside other libraries, in an environment of its own.
	@$(UV) sync --frozen --quiet --inexact
	@$(UV) pip install --quiet --python .venvs/peers mediatr 'eventsourcing[postgres]' pgqueuer advanced-alchemy
	$(RUN) python -m tests.benchmarks.peers $(ARGS)

.PHONY: soak
soak: install ## Run the fault tests in their long form, with figures: make soak ARGS="kill postgresql"
	PYTHONPATH=docs/examples $(RUN) python -m tests.faults $(ARGS)

.PHONY: profile
profile: install ## Show where the time of a hot path goes: make profile NAME="send a command"
	@PYTHONPATH=docs/examples $(RUN) python -m tests.benchmarks.profile $(NAME)

.PHONY: demo
demo: install ## Run the order system of docs/examples; ORDERS="file.csv --mapping m.json" feeds it a file.
	@PYTHONPATH=docs/examples $(RUN) python -m order_system $(ORDERS)

.PHONY: check
check: lint types layers test ## Run everything that must pass before a change lands.
	@$(MAKE) --no-print-directory test-lowest test-newest ARGS='$(QUICK)'

.PHONY: build
build: $(UV) ## Build the wheels and source distributions into dist.
	$(UV) build --quiet --all-packages --out-dir dist
	@ls dist

.PHONY: clean
clean: ## Remove environments, tools, caches and build output.
	rm -rf .venv .venvs .tools dist build .bench .cache .hypothesis .import_linter_cache \
		.mypy_cache .pytest_cache .ruff_cache
	find packages tests docs -name __pycache__ -type d -prune -exec rm -rf {} +
