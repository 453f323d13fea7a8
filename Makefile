# make run    set up, and serve this host's metrics (the bundled recording where this host has no readable VMX MSRs)
# make demo   twenty recorded hosts, a Prometheus with rules and a past, an Alertmanager, and a tour of five commands, on 127.0.0.1
# make test   set up, and test the code, with linters and one real Prometheus; as root, apt installs the tools that are missing
# make test-packaging  test what is shipped and what it is put into: deb, rpm, wheel, zipapp, container, Ansible, Kubernetes,
#             dashboards, VictoriaMetrics, pages in a browser, the documentation as a site
# make test-machine  boot Linux on emulated CPUs and test vmxd there, in 20 minutes on 2 idle cores; MODEL=haswell: that guest only
# make deb    build the Debian package into dist/, as root with apt to get what that needs
# make dist   build the wheel, the sdist, vmxd.pyz and the bill of materials into dist/; make pyz: that one only
# make test-wheel  test the code as the built and installed wheel has it
# make release  check, build and try a release (deploy/release/README.md); make release-check: the checks only
# make pins   renew .ci/requirements.txt and deploy/container/*requirements.txt: the newest versions that pyproject.toml allows
# make bench  measure vmxd against its peers (apt-get install prometheus-node-exporter); 7 minutes, on an idle machine
# make bench-fleet  measure what simulated fleets of up to 10,000 hosts cost in Prometheus, its shards and agents, VictoriaMetrics
#             and vmagent (apt-get install prometheus victoria-metrics prometheus-alertmanager); two hours, 14 GiB, on an idle
#             machine. One of it: BENCH_ARGS='--hosts 1000 --only vmagent --part questions'
# make generated  renew all that is made from tables, parser and recordings, and look at the difference: golden files, reference
#             pages, outputs in pages, dashboards, completion scripts, the man page
# make platforms RECORDINGS=DIR  take recordings into the table of real CPUs, and say what the table is worth
# make docs   build the documentation as a site, build/site/index.html
# make screenshots  take docs/images anew (apt-get install chromium fonts-inter fonts-jetbrains-mono)
# make verification  copy what the last whole run of test-machine has shown to tests/machine/verification.md

PYTHON ?= python3
VENV   ?= .venv
LISTEN ?= 127.0.0.1:10480
EXAMPLE = tests/hosts/lakefield-i5-l16g7
READY   = $(VENV)/.ready
TESTED  = $(VENV)/.ready-for-tests
PYTEST  = $(VENV)/bin/python $(if $(COVERAGE),-m coverage run) -m pytest
PIP     = $(VENV)/bin/pip --quiet --disable-pip-version-check
# what pyproject.toml allows; in CI what .ci/requirements.txt pins, to the hash
ifdef CI
INSTALL = $(PIP) install --require-hashes --requirement .ci/requirements.txt && $(PIP) install --no-deps --no-build-isolation --editable
else
INSTALL = $(PIP) install --editable
endif

.PHONY: run demo test test-packaging test-wheel test-machine verification deb dist pyz release release-check pins bench bench-fleet generated platforms docs \
  screenshots clean

$(READY): pyproject.toml vmxd/__init__.py
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -qq --yes python3-venv; } || \
	  { echo "make: Python's venv module is missing; apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) .
	touch $@

$(TESTED): $(READY)
	$(if $(CI),,$(INSTALL) '.[dev,deploy,docs,release]')
	touch $@

run: $(READY)
	@if $(VENV)/bin/vmxd metrics | grep -qE '^vmx_status\{status="(no_vmx|unreadable)"\} 1'; then \
	  echo "make run: this host has no readable VMX MSRs; serving the bundled recording $(EXAMPLE) instead:"; \
	  $(VENV)/bin/vmxd show | sed -n 's/^/  /; /^  status/,/^  cpus/p' | grep -v '^  cpus'; \
	  exec $(VENV)/bin/vmxd serve --web.listen-address=$(LISTEN) --root $(EXAMPLE); \
	else \
	  exec $(VENV)/bin/vmxd serve --web.listen-address=$(LISTEN); \
	fi

demo: $(READY)
	@tests/install-tools demo
	@$(VENV)/bin/python -m bench.fleet.demo $(DEMO_ARGS)

test: $(TESTED)
	tests/install-tools
	$(PYTEST) --numprocesses=auto --dist=worksteal $(PYTEST_ARGS)

# files in the order of their names: xdist would keep those with few tests, which are the slow ones, for the end
test-packaging: $(TESTED)
	tests/install-tools packaging
	$(PYTEST) --numprocesses=auto --dist=loadfile --no-loadscope-reorder tests/packaging $(PYTEST_ARGS)

test-machine: $(TESTED)
	tests/install-tools machine
	$(VENV)/bin/pytest --capture=sys tests/machine $(if $(MODEL),-k $(MODEL)) $(PYTEST_ARGS)

test-wheel: $(TESTED)
	$(VENV)/bin/python -m deploy.release test-wheel

deb:
	tests/install-tools package
	deploy/debian/build dist

verification:
	cp .machine/verification.md tests/machine/verification.md
	git diff --stat -- tests/machine

dist pyz release: $(TESTED)
	$(VENV)/bin/python -m deploy.release $@

release-check: $(TESTED)
	$(VENV)/bin/python -m deploy.release check

# whoever has the image or CI has the same versions; hatchling and editables build what pip installs without isolation
COMPILE = $(VENV)/bin/uv pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-annotate \
  --custom-compile-command 'make pins'
pins: $(TESTED)
	printf '%s\n' editables hatchling | $(COMPILE) --upgrade --all-extras --output-file .ci/requirements.txt pyproject.toml -
	$(COMPILE) --constraint .ci/requirements.txt --extra web --output-file deploy/container/requirements.txt pyproject.toml
	echo hatchling | $(COMPILE) --constraint .ci/requirements.txt --output-file deploy/container/build-requirements.txt -

bench: $(TESTED)
	$(VENV)/bin/python -m bench $(BENCH_ARGS)

bench-fleet: $(TESTED)
	$(VENV)/bin/python -m bench.fleet $(BENCH_ARGS)

generated: $(TESTED)
	$(VENV)/bin/python -m deploy.shell.generate
	$(VENV)/bin/python -m deploy.grafana.generate
	$(VENV)/bin/python -m docs.site.generate
	$(VENV)/bin/python -m pytest -q --update tests/test_hosts.py tests/model/test_profiles.py tests/docs/test_docs_commands.py \
	  tests/fleet/test_docs.py
	git diff --stat

platforms: $(TESTED)
	$(if $(RECORDINGS),$(VENV)/bin/python -m deploy.platforms $(RECORDINGS))
	$(VENV)/bin/python -m deploy.platforms

docs: $(TESTED)
	$(VENV)/bin/python -m sphinx -q -W --keep-going -c docs/site . build/site
	@echo build/site/index.html

screenshots: $(TESTED)
	$(VENV)/bin/python -m tests.helpers.screenshots

clean:
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis .machine
