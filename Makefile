# make run    set up, and serve this host's metrics (the bundled recording where this host has no readable VMX MSRs)
# make test   set up, and run the whole test suite; installs with apt the tools it needs where it is root
# make deb    build the Debian package into dist/, as root with apt to get what that needs
# make bench  measure vmxd against its peers (apt-get install prometheus-node-exporter); 7 minutes, on an idle machine
# make bench-fleet  measure rules and queries on simulated fleets of up to 5,000 hosts (apt-get install prometheus
#             victoria-metrics); an hour, 8 GiB, on an idle machine
# make golden rewrite tests/hosts/*/metrics.prom and look at the difference
# make generated  rewrite the completion scripts and the man page in deploy/share and look at the difference
# make docs   build the documentation as a site, build/site/index.html
# make docs-output  rewrite what the documentation shows: outputs of commands, pages generated from the code
# make screenshots  take docs/images anew (apt-get install chromium fonts-inter fonts-jetbrains-mono)
# make test-machine  boot Linux on emulated CPUs and test vmxd there, in 20 minutes on 2 idle cores; MODEL=haswell: that guest only
# make verification  copy what the last whole run of test-machine has shown to docs/verification.md

PYTHON ?= python3
VENV   ?= .venv
LISTEN ?= 127.0.0.1:10480
EXAMPLE = tests/hosts/lakefield-i5-l16g7
READY   = $(VENV)/.ready
TESTED  = $(VENV)/.ready-for-tests

.PHONY: run test test-machine verification deb bench bench-fleet golden generated docs docs-output screenshots clean

$(READY): pyproject.toml vmxd/__init__.py
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -qq --yes python3-venv; } || \
	  { echo "make: Python's venv module is missing; apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --editable .
	touch $@

$(TESTED): $(READY)
	$(VENV)/bin/pip install --quiet --editable '.[dev,deploy,docs]'
	touch $@

run: $(READY)
	@if $(VENV)/bin/vmxd metrics | grep -qE '^vmx_status\{status="(no_vmx|unreadable)"\} 1'; then \
	  echo "make run: this host has no readable VMX MSRs; serving the bundled recording $(EXAMPLE) instead:"; \
	  $(VENV)/bin/vmxd show | sed -n 's/^/  /; /^  status/,/^  cpus/p' | grep -v '^  cpus'; \
	  exec $(VENV)/bin/vmxd serve --web.listen-address=$(LISTEN) --root $(EXAMPLE); \
	else \
	  exec $(VENV)/bin/vmxd serve --web.listen-address=$(LISTEN); \
	fi

test: $(TESTED)
	tests/install-tools
	$(VENV)/bin/pytest $(PYTEST_ARGS)

test-machine: $(TESTED)
	tests/install-tools machine
	$(VENV)/bin/pytest -m machine --capture=sys tests/machine $(if $(MODEL),-k $(MODEL)) $(PYTEST_ARGS)

deb:
	tests/install-tools package
	deploy/debian/build dist

verification:
	cp .machine/verification.md docs/verification.md
	git diff --stat -- docs

bench: $(TESTED)
	$(VENV)/bin/python -m bench $(BENCH_ARGS)

bench-fleet: $(TESTED)
	$(VENV)/bin/python -m bench.fleet $(BENCH_ARGS)

golden: $(TESTED)
	$(VENV)/bin/pytest tests/test_hosts.py --update-golden
	git diff --stat -- tests/hosts

generated: $(TESTED)
	$(VENV)/bin/python -m deploy.shell.generate
	git diff --stat -- deploy/share

docs: $(TESTED)
	$(VENV)/bin/python -m sphinx -q -W --keep-going -c docs/site . build/site
	@echo build/site/index.html

docs-output: $(TESTED)
	$(VENV)/bin/pytest tests/test_docs_site.py tests/test_docs_commands.py --update-docs
	git diff --stat -- '*.md'

screenshots: $(TESTED)
	$(VENV)/bin/python -m tests.screenshots

clean:
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis .machine
