# All targets work on a machine with only Python 3.11 or later: each target installs its requirements.

# The Python for .venv, such as PYTHON=/opt/python/bin/python3. The default is the first of these that runs, is 3.11 or
# later, and can create virtual environments. A Python built with profile-guided optimisation is preferred: with it the
# service needs an eighth less processor time. The Pythons of Linux distributions, below /usr, are built with it.
PYTHON ?=
PYTHONS := python3.11 python3.12 python3.13 python3.14 python3 python
VENV := .venv
DEMO ?= http://127.0.0.1:8080
DEMO_ISSUER ?= http://127.0.0.1:8083/issuer/token
BIN := $(VENV)/bin
LOCK := $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host
SBOM := $(VENV)/sbom/bin/cyclonedx-py requirements --output-format JSON --spec-version 1.6 --output-reproducible --validate

.DEFAULT_GOAL := help

.PHONY: help run contract-check install test check released-contracts commands-page docs coverage format bench soak wheel sbom dist version lock clean

help: ## Print the targets
	@echo "usage: make TARGET"
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1:\2/p' $(firstword $(MAKEFILE_LIST)) | \
		while IFS=: read -r name text; do printf '%-20s %s\n' "$$name" "$$text"; done

run: install ## Run the service, a mock Open-E and a demo
	@$(BIN)/budkavle dev

# Run the command that the demo prints.
contract-check: install ## Check the demo of `make run`, which runs in another terminal, against the contracts
	@PATH="$(CURDIR)/$(BIN):$$PATH"; \
	command=$$(python -c 'from budkavle.demo import subscriptions, web_messages; print(subscriptions.check_command("$(DEMO)", web_messages.KEY, "$(DEMO_ISSUER)"))') && \
	sh -c "$$command" || { code=$$?; [ $$code -ne 2 ] || echo "Does the demo run there? make run starts it." >&2; exit $$code; }

install: $(VENV)/.runtime ## Set up .venv from the locked requirements, including those of contract-check

# Tests start hundreds of programs, which would compile all modules again if the environment disabled bytecode files.
# Test processes often wait for programs and timeouts, so there are three more processes than processors.
test: $(VENV)/.docs $(VENV)/.sbom ## Run all tests, on SQLite and PostgreSQL
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q --dist loadfile \
		--numprocesses $$(($$(getconf _NPROCESSORS_ONLN) + 3)) --maxprocesses 5

check: $(VENV)/.dev docs ## Format, lint, types, imports, contracts, documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy tests/persistence/mistaken_work.py
	$(BIN)/lint-imports
	$(BIN)/yamllint --strict spec docs/contracts deploy compose.yaml
	$(BIN)/openapi-spec-validator spec/*.yaml docs/contracts/*/*.yaml
	$(BIN)/python -m contract_tests.compatibility
	$(BIN)/hadolint Containerfile Containerfile.mock
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec compose.yaml
	$(BIN)/kubernetes-validate --quiet --strict $(filter-out %/kustomization.yaml,$(wildcard deploy/kubernetes/*.yaml))

released-contracts: ## Store the contracts of a release, to compare later ones with them
	rm -f docs/contracts/released/*.yaml
	cp spec/*.yaml docs/contracts/released/

commands-page: $(VENV)/.dev ## Write docs/reference/commands.md from the command line
	$(BIN)/python -m tests.commands_page

# Do not add --quiet: it hides the warnings that must be errors.
docs: $(VENV)/.docs ## Build the documentation as a site into build/site; a dead link is an error
	$(BIN)/properdocs build --config-file site/properdocs.yml

coverage: $(VENV)/.dev ## Report which keywords of the contracts their tests try
	$(BIN)/python -W ignore -m tests.contract_coverage

format: $(VENV)/.dev ## Format, and fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.bench ## Measure, and compare with the peers
	$(BIN)/python -m benchmarks.run bench

soak: $(VENV)/.bench ## Run the long tests: killed processes, a failing database
	$(BIN)/python -m benchmarks.run soak

wheel: $(VENV)/.dev ## Build the wheels, of Budkavle and of the mock Open-E, into dist/
	$(BIN)/python -m build --wheel --no-isolation --outdir dist
	$(BIN)/python -m build --wheel --no-isolation --outdir dist mock_open_e

sbom: $(VENV)/.sbom ## Write bills of materials (CycloneDX) of Budkavle and of the mock Open-E into dist/
	mkdir -p dist
	$(SBOM) --pyproject pyproject.toml --output-file dist/budkavle.cdx.json requirements/runtime.txt
	$(SBOM) --pyproject mock_open_e/pyproject.toml --output-file dist/mock-open-e.cdx.json requirements/mock.txt
	$(BIN)/python -m tests.vendored_components dist/budkavle.cdx.json dist/mock-open-e.cdx.json

# From the commit, not from the working directory, so that the same commit gives the same bytes everywhere.
dist: $(VENV)/.dev $(VENV)/.sbom ## Build the files of a release from the last commit into dist/, with SHA256SUMS
	rm -rf dist build/commit
	mkdir -p dist build/commit
	git archive HEAD | tar -x -C build/commit
	$(BIN)/python -m build --wheel --no-isolation --outdir dist build/commit
	$(BIN)/python -m build --wheel --no-isolation --outdir dist build/commit/mock_open_e
	$(MAKE) sbom
	cd dist && sha256sum *.whl *.json > SHA256SUMS

version: $(VENV)/.dev ## Write the version of a release into all files that name it: make version VERSION=1.2.3
	$(BIN)/python -m tests.set_version "$(VERSION)"

lock: $(VENV)/.dev ## Lock the requirements again, with hashes
	$(LOCK) -o requirements/runtime.txt pyproject.toml
	$(LOCK) --extra build --extra contract -c requirements/runtime.txt -o requirements/contract.txt pyproject.toml
	$(LOCK) --extra otel -c requirements/contract.txt -o requirements/otel.txt pyproject.toml
	$(LOCK) --extra import -c requirements/contract.txt -o requirements/import.txt pyproject.toml
	$(LOCK) --extra build --extra contract --extra import --extra otel --extra test --extra check -c requirements/contract.txt -c requirements/otel.txt -c requirements/import.txt -o requirements/dev.txt pyproject.toml
	$(LOCK) --extra build --extra contract --extra import --extra otel --extra test --extra check --extra bench -c requirements/dev.txt -o requirements/bench.txt pyproject.toml
	$(LOCK) -c requirements/dev.txt -o requirements/docs.txt requirements/docs.in
	$(LOCK) -o requirements/sbom.txt requirements/sbom.in
	$(LOCK) -c requirements/contract.txt -o requirements/build.txt requirements/build.in
	$(LOCK) --extra server -c requirements/runtime.txt -o requirements/mock.txt mock_open_e/pyproject.toml
	$(LOCK) -o tests/clients/python_server/requirements.txt tests/clients/python_server/requirements.in

clean: ## Remove the environment and everything that was built
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis

IS_USABLE := import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))
IS_OPTIMISED := import sys, sysconfig; \
	sys.exit(sys.base_prefix != "/usr" and "--enable-optimizations" not in (sysconfig.get_config_var("CONFIG_ARGS") or ""))

$(BIN)/python:
	@for check in '$(IS_OPTIMISED)' ''; do for python in $(or $(PYTHON),$(PYTHONS)); do \
		"$$python" -c '$(IS_USABLE)' 2>/dev/null && "$$python" -c "$$check" || continue; \
		echo "Setting up $(VENV) with $$(command -v "$$python"): $$("$$python" --version)"; \
		[ -n "$$check" ] || echo "This Python was built without optimisations: the service needs about 13 % more processor time than with" \
			"another build, such as that of a Linux distribution. Name one with: make PYTHON=/path/to/python3"; \
		exec "$$python" -m venv $(VENV); \
	done; done; \
	echo "Python 3.11 or later with the modules venv and ensurepip is required (Debian: the package python3-venv)." >&2; \
	echo "None of these is usable: $(or $(PYTHON),$(PYTHONS)). Name another one with: make PYTHON=/path/to/python3" >&2; exit 1

# Install only requirements with hashes, then the project itself as an editable installation.
define set_up
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes $(1)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . --editable mock_open_e
	touch $@
endef

$(VENV)/.runtime: requirements/contract.txt pyproject.toml mock_open_e/pyproject.toml | $(BIN)/python
	$(call set_up,-r requirements/contract.txt)

$(VENV)/.dev: requirements/dev.txt $(VENV)/.runtime
	$(call set_up,-r requirements/dev.txt)

$(VENV)/.bench: requirements/bench.txt $(VENV)/.dev
	$(call set_up,-r requirements/bench.txt)

$(VENV)/.docs: requirements/docs.txt $(VENV)/.dev
	$(call set_up,-r requirements/docs.txt)

# cyclonedx-bom has an environment of its own: it requires optional libraries of jsonschema. With them every program of
# the tests would start a second later, and check formats that the installed service does not check.
$(VENV)/.sbom: requirements/sbom.txt | $(BIN)/python
	$(BIN)/python -m venv $(VENV)/sbom
	$(VENV)/sbom/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/sbom.txt
	touch $@
