# Every target creates the environment first when it is missing.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3.12 python3; do "$$p" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' 2>/dev/null && echo $$p && break; done)
RUN ?= runs/first

OPTIONS ?=
PAIR := -n 2 --dist loadfile
# Most of the time of tests is XLA compiling thousands of tiny models; optimizing them less takes less than half of it.
QUICK := XLA_FLAGS="--xla_backend_optimization_level=1 $$XLA_FLAGS"
FRESH := HELPTUNE_PROGRESS=$$(mktemp -d)/progress.json

.PHONY: env finetune test browser notebooks nbval exercises check lab bench pins clean

# --no-deps: the pins are complete, and what gemma 4.0.1 asks for cannot be resolved as written (its xmanager wants
# python-dateutil 3, its google-cloud-bigquery wants less); neither is used here.
env: $(VENV)/.complete

$(VENV)/.complete: requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.12 is needed: install it, or name it with PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

finetune: env  ## the main job: measure, train, measure again, evaluate, report
	$(BIN)/helptune finetune --run "$(RUN)" $(OPTIONS)
	$(BIN)/helptune evaluate --run "$(RUN)"

test: env  ## everything, in two processes
	$(QUICK) $(BIN)/python -m pytest $(PAIR)

browser: env  ## the notebooks in JupyterLab and headless Chromium; skipped without a chromium
	$(BIN)/python -m pytest -rs tests/browser

notebooks: env  ## run every notebook from its source, keep its outputs, and generate the exercises
	$(BIN)/python .ci/notebooks.py

nbval: env  ## run every notebook again, and compare what it shows with what is kept
	$(FRESH) $(BIN)/python -m pytest --nbval --nbval-current-env --nbval-cell-timeout 900 $(PAIR) \
	  --nbval-sanitize-with tests/nbval_sanitize.cfg course solutions

exercises: env  ## generate the exercises from the solutions, and try every known mistake on their checks
	$(BIN)/helptune exercises build
	$(FRESH) $(BIN)/helptune exercises check

check: env  ## format, lint, types and the tests without the real model
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(QUICK) $(BIN)/python -m pytest -m "not real"

lab: env  ## JupyterLab on this machine only
	$(BIN)/jupyter lab --ip=127.0.0.1 $(if $(filter 0,$(shell id -u)),--allow-root)

bench: env  ## speed of training and of generation, one line of JSON each
	$(BIN)/helptune bench train
	$(BIN)/helptune bench generate

pins: env  ## pin what is installed now, after an update
	{ head -1 requirements.txt; $(BIN)/python -m pip freeze --all --exclude-editable | grep -v '^pip==' | \
	  awk -F== '{ name = tolower($$1); gsub(/[_.]/, "-", name); print name "==" $$2 }' | LC_ALL=C sort; } > requirements.new
	mv requirements.new requirements.txt
	$(BIN)/python .ci/pins.py

clean:
	rm -rf $(VENV)
