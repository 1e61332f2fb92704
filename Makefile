# Everything runs in a private environment, made on first use and again when pyproject.toml changes.
# Another interpreter: make PYTHON=python3.12 <target>

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
COMPILED := $(VENV)/.compiled
# Frameworks bring much along that redpool's own tests are to run without.
INTEGRATIONS := .venv-integrations
BROWSER := .venv-browser
# Most modules of what is installed are never imported; those that are get compiled then. The other environments have no
# pip of their own: PIP_PYTHON tells that of the first which one it is to fill.
INSTALL := python -m pip install --quiet --disable-pip-version-check --no-compile
# Hundreds of processes import the same modules: what the first has compiled is there for all others.
unexport PYTHONDONTWRITEBYTECODE

FIND_SERVER := $(BIN)/python -c 'import sys; sys.tracebacklimit = 0; \
	from redpool.embedded import find_server; find_server()'
OTHER_SERVERS := $(BIN)/python -c 'from redpool.embedded import find_servers; print(*find_servers()[1:])'
# Most tests wait for a server or a clock for most of their time: two cores are enough for four files.
FOUR_FILES := --numprocesses 4 --dist loadfile
# What each server answers in its own way, and one of each kind of client, pool and topology.
ON_EACH_SERVER := tests/topology $(addprefix tests/integration/,wire connecting/test_healthy.py \
	deadlines/test_blocking_commands.py interruption/test_dropped.py servers/test_hello.py \
	$(addprefix dedicated/test_,clients.py sessions.py caching_and_cluster.py) \
	$(addprefix multiplexed/test_,commands.py pipelines.py))

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test lint types pyright unit servers docs integrations browser fresh compat matrix soak stress storms faults \
	stalls bench compare clean server

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: server ## see the pool at work
	@$(BIN)/redpool demo
	@echo "Next: a small fleet in your browser, by $(BIN)/redpool demo --dashboard"

test: server ## lint, unit, and types meanwhile; all of them run, any failure counts
	@status=0; \
	$(MAKE) --no-print-directory types >$(VENV)/types.log 2>&1 & types=$$!; \
	$(MAKE) --no-print-directory --keep-going lint unit || status=1; \
	wait $$types || status=1; \
	cat $(VENV)/types.log; \
	exit $$status

lint: $(STAMP) ## ruff: rules and layout
	@echo "== ruff"; status=0; \
	$(BIN)/ruff check --quiet || status=1; \
	$(BIN)/ruff format --check || status=1; \
	exit $$status

types: $(STAMP) ## mypy --strict
	@echo "== mypy"; $(BIN)/mypy

pyright: $(STAMP) ## what users' type checkers see, by pyright, too; installs it with a node of its own, 280 MB
	@$(BIN)/$(INSTALL) 'basedpyright>=1.30'
	@$(BIN)/pytest -q tests/typing

unit: $(COMPILED) ## pytest, four files at a time; then `make servers`
	@echo "== pytest"; $(BIN)/pytest -q $(FOUR_FILES)
	@$(MAKE) --no-print-directory servers

servers: server ## what servers differ in, on each that was found but the first; SERVERS='/path/to/one ...' on those
	@for each in $${SERVERS-$$($(OTHER_SERVERS))}; do \
		echo "== pytest on $$each"; \
		REDPOOL_SERVER=$$each $(BIN)/pytest -q $(FOUR_FILES) $(ON_EACH_SERVER) || exit 1; \
	done

docs: $(STAMP) ## the docs as a site, in site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "See site/index.html"

integrations: server $(INTEGRATIONS)/.installed ## frameworks, tracers and uWSGI over redpool, in an environment of their own
	@echo "== pytest with the packages of others"; $(INTEGRATIONS)/bin/python -m pytest -q $(FOUR_FILES) $(ARGS) tests/integrations

browser: server $(BROWSER)/.installed ## the dashboard in a real Chromium: CHROMIUM=/path/to/one, or what is on the PATH
	@echo "== pytest in a browser"; $(BROWSER)/bin/python -m pytest -q $(ARGS) tests/browser

fresh: server ## the newest release of each framework beside redpool, in a fresh environment each; ARGS='arq rq' some
	@$(BIN)/python tests/integrations/fresh.py $(ARGS)

compat: server ## redis-py's own tests over our pools, compared with its own
	@$(BIN)/python tests/compat/run.py

matrix: server ## each supported version of redis-py, from 5.2 on; ARGS='--only 6.4' one of them, '--contract' quicker
	@$(BIN)/python tests/matrix/versions.py $(ARGS)

faults: server ## the same faults against redis-py's pools and ours; ARGS='--row 4' one of them
	@PYTHONPATH=tests $(BIN)/python -m benchmarks.faults $(ARGS)

soak: server ## all kinds of pools under faults for SOAK seconds (120): nothing may grow; then interleavings
	@PYTHONPATH=tests $(BIN)/python -m stress.soak $${SOAK:-120}
	@SOAK=$${SOAK:-120} $(BIN)/pytest -q tests/stress/interleaving

stress: server ## threads switched and garbage collected as often as can be, STRESS seconds for each kind (60)
	@PYTHONPATH=tests $(BIN)/python -m stress.switching $${STRESS:-60}

storms: server ## every bytecode interrupted, and storms at full length: 100 000 interruptions and more
	@SOAK=1 $(BIN)/pytest -q tests/stress/storms $(addprefix tests/integration/interruption/test_,every_bytecode.py unused.py)

stalls: server ## the tests while the machine stalls now and again; ARGS='tests/docs -k pages' some of them
	@PYTHONPATH=tests $(BIN)/python -m stress.stalls -q $(FOUR_FILES) $(ARGS)

bench: server ## measure against redis-py, then against a bare socket; ARGS='checkout --rounds 1' one case, once
	@$(BIN)/redpool bench $(ARGS)
	@$(if $(strip $(ARGS)),,echo; $(BIN)/redpool bench --floor)

compare: server ## measure beside other clients, installed here for it; ARGS as above; BEFORE=clone to compare with
	@$(BIN)/$(INSTALL) -r benchmarks/peers/requirements.txt \
		|| echo "Not all of the other clients can be installed here; those that can't be imported are left out" >&2
	@$(BIN)/python $(if $(BEFORE),benchmarks/trees.py $(BEFORE) .,-m benchmarks.peers) $(ARGS)

clean: ## remove the environment, caches and builds
	@rm -rf $(VENV) $(INTEGRATIONS) $(BROWSER) .matrix build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

$(STAMP): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { \
		echo "$(PYTHON) not found: install Python 3.11 or newer, or say make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1); say make PYTHON=python3.12" >&2; \
		exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) lacks the venv module; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV) with $$($(PYTHON) -V); this takes a minute, once"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/$(INSTALL) --editable '.[dev]'
	@touch $@

$(INTEGRATIONS)/.installed: $(STAMP) tests/integrations/requirements.txt
	@echo "Setting up $(INTEGRATIONS); this takes a minute, once"
	@$(BIN)/python -m venv --clear --without-pip $(INTEGRATIONS)
	@PIP_PYTHON=$(INTEGRATIONS)/bin/python $(BIN)/$(INSTALL) --editable '.[embedded]' -r tests/integrations/requirements.txt
	@touch $@

$(BROWSER)/.installed: $(STAMP) tests/browser/requirements.txt
	@echo "Setting up $(BROWSER); this takes a minute, once"
	@$(BIN)/python -m venv --clear --without-pip $(BROWSER)
	@PIP_PYTHON=$(BROWSER)/bin/python $(BIN)/$(INSTALL) --editable '.[cli,dashboard,embedded]' -r tests/browser/requirements.txt
	@touch $@

# Else each of four processes that begin together would compile all that they import.
$(COMPILED): $(STAMP) | server
	@$(BIN)/pytest -q --collect-only >/dev/null || true
	@touch $@

server: $(STAMP)
	@$(FIND_SERVER)
