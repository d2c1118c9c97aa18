# Needs Python 3.10 or newer, make and access to PyPI. uv is installed into .tools, environments into
# .venv and .venvs.
.DEFAULT_GOAL := help
UV := $(or $(shell command -v uv),.tools/bin/uv)
export UV_PROJECT_ENVIRONMENT ?= .venv
RUN = $(UV) run --frozen --no-sync
PYTEST = python -m pytest -p tests.docs.blocks -p tests.workers
# Several worker processes, or one where ARGS names a file, a test or -k, which is simpler to debug.
WORKERS = $(if $(filter -k% %.py %.md,$(ARGS))$(findstring ::,$(ARGS)),,-n auto)
# The tests with a form that is longer than the one of `make test`, see tests/faults/sizes.py.
LONG := $(addprefix tests/,advanced architecture docs faults persistence_sqlalchemy) -m "long or full"
PYTHONS := 3.10 3.11 3.12 3.13
QUICK := tests/core tests/specifications \
	$(addprefix tests/persistence_sqlalchemy/test_,contracts.py unit_of_work.py repository.py mapping.py) \
	$(addprefix tests/redis/test_,cache.py fifo.py redlock.py queue_signal.py) -q -n auto -m "not slow"

# Path of the interpreter of Python version $(1), or an empty text. PYENV_VERSION makes every version that
# pyenv has installed visible, not only the active one.
find_python = $(shell PYENV_VERSION="$$(pyenv versions --bare 2>/dev/null | paste -sd: -)" \
	$(UV) python find --system --no-python-downloads $(1) 2>/dev/null)

# Ends a target with an error unless variable $(1) is set; $(2) is an example of a value.
require = @test -n "$($(1))" || { echo "make $@ needs $(1), for example: make $@ $(1)=$(2)" >&2; exit 2; }

.PHONY: help
help: ## List the targets.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: install
install: $(UV) ## Create or update the environment in .venv; the other targets do this automatically.
	@$(UV) sync --frozen --quiet

.tools/bin/uv:
	@echo "fetching uv into .tools"
	@python3 -m venv .tools
	@.tools/bin/python -m pip install --quiet --disable-pip-version-check uv

.PHONY: format
format: install ## Format the code and apply safe fixes.
	$(RUN) ruff check --fix --exit-zero .
	$(RUN) ruff format .

.PHONY: lint
lint: install ## Check style and formatting.
	$(RUN) ruff check .
	$(RUN) ruff format --check .

.PHONY: types
types: install ## Check types with mypy in strict mode, and those of an application with pyright, too.
	$(RUN) mypy
	$(RUN) python -m tests.typing

.PHONY: layers
layers: install ## Check that imports follow the layers of the architecture.
	$(RUN) lint-imports

.PHONY: test
test: install ## Run every test, long ones in a short form, and every Python block of the docs: make test ARGS="-k outbox"
	$(RUN) $(PYTEST) $(WORKERS) $(ARGS)

.PHONY: test-faults
test-faults: export CQRS_DDD_TEST_FORM = full
test-faults: install ## Run in full the tests of killed processes and random data that `make test` shortens.
	$(RUN) $(PYTEST) $(WORKERS) $(LONG) $(ARGS)

.PHONY: test-all
test-all: $(PYTHONS:%=test-py%) ## Run the tests on each installed Python from 3.10 to 3.13.

test-py%: $(UV)
	@python="$(call find_python,$*)"; \
	if [ -z "$$python" ]; then echo "== Python $*: not found, skipped"; exit 0; fi; \
	echo "== Python $*$(SQLALCHEMY:%=, SQLAlchemy %): $$python"; \
	export UV_PROJECT_ENVIRONMENT=.venvs/py$*$(SQLALCHEMY:%=-sqlalchemy%); \
	$(UV) sync --frozen --quiet --python "$$python" && \
	$(if $(SQLALCHEMY),$(UV) pip install --quiet --python "$$UV_PROJECT_ENVIRONMENT" "sqlalchemy==$(SQLALCHEMY).*" &&) \
	$(RUN) $(PYTEST) $(WORKERS) $(ARGS)

find-py%: $(UV)
	@echo "$(call find_python,$*)"

.PHONY: test-matrix
test-matrix: install ## Run short tests on each installed version of .ci/matrix.json: make test-matrix ARGS=tests/core
	@$(RUN) python -m tests.project.matrix $(or $(ARGS),$(QUICK))

.PHONY: test-lowest
test-lowest: $(UV) ## Run the tests with the oldest supported dependencies on the oldest installed Python.
	@python="$(firstword $(foreach version,$(PYTHONS),$(call find_python,$(version))))"; \
	if [ -z "$$python" ]; then echo "== none of Python $(PYTHONS) found, tests of the oldest dependencies skipped"; exit 0; fi; \
	echo "== oldest dependencies: $$python"; \
	export UV_PROJECT_ENVIRONMENT=.venvs/lowest VIRTUAL_ENV=.venvs/lowest; \
	rm -f .venvs/lowest.txt; \
	$(UV) venv --quiet --allow-existing --python "$$python" .venvs/lowest && \
	$(UV) pip compile --quiet --no-header --no-annotate --resolution lowest-direct \
		--python .venvs/lowest --output-file .venvs/lowest.txt pyproject.toml && \
	$(UV) pip install --quiet --group dev --requirements .venvs/lowest.txt && \
	$(RUN) $(PYTEST) $(WORKERS) $(ARGS)

.PHONY: test-newest
test-newest: $(UV) ## Run the tests on the newest installed Python.
	@version="$(lastword $(foreach version,$(PYTHONS),$(if $(call find_python,$(version)),$(version))))"; \
	if [ -z "$$version" ]; then echo "== none of Python $(PYTHONS) found, tests of the newest Python skipped"; exit 0; fi; \
	$(MAKE) --no-print-directory "test-py$$version"

.PHONY: docs
docs: export UV_PROJECT_ENVIRONMENT = .venvs/docs
docs: $(UV) ## Build the documentation site into build/site (Python 3.11 or newer).
	@$(UV) sync --frozen --quiet --group docs --python '>=3.11'
	@rm -rf build/site && $(RUN) python -m tests.docs.site build/docs && cp docs/mkdocs.yml build
	$(RUN) zensical build --config-file build/mkdocs.yml --clean

.PHONY: test-site
test-site: export UV_PROJECT_ENVIRONMENT = .venvs/docs
test-site: ## Build the site, and test its reference, links and scripts, and its pages in Chromium.
	@if [ -z "$(call find_python,'>=3.11')" ]; then echo "== no Python 3.11 or newer, site not tested"; exit 0; fi; \
	$(MAKE) --no-print-directory docs && $(RUN) $(PYTEST) -q -n auto tests/site $(ARGS)

.PHONY: operators
operators: install ## Generate docs/reference/operators.md from the operator table.
	$(RUN) python -m tests.docs.operators

.PHONY: fields
fields: install ## Generate the table of docs/reference/fields.md from the cases of its test.
	$(RUN) python -m tests.docs.fields

.PHONY: columns
columns: install ## Generate the table of docs/reference/columns.md from the cases of its test.
	$(RUN) python -m tests.docs.columns

.PHONY: glossary
glossary: install ## Link each term of docs/reference/glossary.md where a page first uses it.
	$(RUN) python -m tests.docs.glossary

.PHONY: structure
structure: install ## Measure the code structure of the packages: make structure ARGS="--base HEAD~1"
	@$(RUN) python -m tests.architecture.structure $(ARGS)

.PHONY: bench
bench: install ## Measure each hot path against hand-written code.
	PYTHONPATH=docs/examples $(RUN) python -m tests.benchmarks $(ARGS)

.PHONY: bench-compare
bench-compare: install ## Compare the hot paths of two revisions: make bench-compare ARGS="--base HEAD~10"
	$(RUN) python -m tests.benchmarks.compare $(ARGS)

.PHONY: bench-peers
bench-peers: export UV_PROJECT_ENVIRONMENT = .venvs/peers
bench-peers: $(UV) ## Compare hot paths with other libraries, in a separate environment.
	@$(UV) sync --frozen --quiet --inexact
	@$(UV) pip install --quiet --python .venvs/peers mediatr 'eventsourcing[postgres]' pgqueuer advanced-alchemy
	$(RUN) python -m tests.benchmarks.peers $(ARGS)

.PHONY: bench-service
bench-service: export UV_PROJECT_ENVIRONMENT = .venvs/service
bench-service: $(UV) ## Load the FastAPI example and the same service written by hand.
	@$(UV) sync --frozen --quiet --inexact
	@$(UV) pip install --quiet --python .venvs/service uvicorn
	PYTHONPATH=docs/examples $(RUN) python -m tests.benchmarks.load

.PHONY: soak
soak: export CQRS_DDD_TEST_FORM = soak
soak: install ## Run the long fault tests and print figures: make soak ARGS="kill postgresql"
	PYTHONPATH=docs/examples $(RUN) python -m tests.faults $(ARGS)

.PHONY: profile
profile: install ## Profile a hot path: make profile NAME="send a command"
	@PYTHONPATH=docs/examples $(RUN) python -m tests.benchmarks.profile $(NAME)

.PHONY: demo
demo: install ## Run the order system with a sample or a file: make demo ORDERS="file.csv --mapping m.json"
	@PYTHONPATH=docs/examples $(RUN) python -m order_system $(ORDERS)

.PHONY: check
check: lint types layers test test-faults test-site ## Run everything that must pass before a change is merged.
	@$(MAKE) --no-print-directory test-lowest test-newest ARGS='$(QUICK)'

.PHONY: build
build: $(UV) ## Build wheels and source distributions into dist.
	$(UV) build --quiet --all-packages --out-dir dist
	@ls dist

.PHONY: changelog
changelog: install ## Move the fragments of changelog.d into docs/changelog.md: make changelog VERSION=0.2.0
	$(call require,VERSION,0.2.0)
	$(RUN) towncrier build --yes --version "$(VERSION)"
	$(RUN) python -m tests.docs.glossary

.PHONY: release-check
release-check: install ## Check versions and changelog before a tag: make release-check VERSION=0.2.0
	$(call require,VERSION,0.2.0)
	@$(RUN) python -m tests.project.release check "$(VERSION)"

.PHONY: release-build
release-build: install ## Build into dist with links to the project: make release-build URL=https://host/owner/name
	$(call require,URL,https://host/owner/name)
	@UV="$(UV)" $(RUN) python -m tests.project.release build "$(URL)"

.PHONY: clean
clean: ## Remove environments, tools, caches and build output.
	rm -rf .venv .venvs .tools dist build .bench .cache .hypothesis .import_linter_cache \
		.mypy_cache .pytest_cache .ruff_cache
	find packages tests docs -name __pycache__ -type d -prune -exec rm -rf {} +
