# What there is to do here. Each target does its own set-up (scripts/setup) and says what it installs.
#
#   ARGS      for `make rehearse`, `make test`, `make faults`, `make iam` and `make mutants`, such as ARGS=--json or ARGS=a_test_by_name
#   ARCH      for `make package` and `make deploy`: x86_64 or arm64
#   LOCKED    --locked in CI: Cargo.lock must be up to date

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
export PATH := $(CURDIR)/.venv/bin:$(PATH)

DEFINITIONS := $(wildcard statemachine/*.asl.json)
TEMPLATES := $(wildcard cloudformation/*.yaml)
SHELL_SCRIPTS := scripts/setup .ci/run

.DEFAULT_GOAL := help
.PHONY: help rehearse test faults faults-nightly iam mutants check check-templates test-templates advisories package package-twice deploy bench bench-flow bench-fleet bench-cold-start

help: ## Say what there is to do.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The workspace is built as a whole, because building one package alone chooses other features of the
# dependencies and compiles them a second time.
rehearse: ## Restore a database on this machine, through the whole pipeline. ARGS=--json for one JSON document.
	@scripts/setup rehearse
	$(CARGO) build $(LOCKED) --workspace --bins
	@$(TARGET)/debug/aurora-restore rehearse $(ARGS)

test: ## Run all tests. ARGS=name for some.
	@scripts/setup test
	$(CARGO) build $(LOCKED) --workspace --bins
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
	    set -x; $(CARGO) nextest run $(LOCKED) --workspace $(ARGS); \
	else \
	    set -x; $(CARGO) test $(LOCKED) --workspace --lib --bins --tests $(ARGS); \
	fi
	$(CARGO) test $(LOCKED) --workspace --doc
	@# With ARGS a person asked for some of Rust's tests.
	@$(if $(ARGS),,$(MAKE) --no-print-directory test-templates)

test-templates: ## The templates: our rules can fail, moto makes the stacks, the Automation documents run. A minute; part of `make test`.
	@scripts/setup test
	$(CARGO) build $(LOCKED) --workspace --bins
	.venv/bin/python -m unittest discover --start-directory tests/templates

faults: ## A restore under every single fault, and pairs of them. ARGS="--case '...'" for one, ARGS=--help for more.
	@scripts/setup rehearse
	$(CARGO) build $(LOCKED) --profile faults --package pipeline-tests --bin faults
	$(TARGET)/faults/faults $(ARGS)

faults-nightly: ## The same with every fault of an undo and of the reaper, and every pair of faults: takes a night.
	@$(MAKE) faults ARGS="--endings all --pairs all $(ARGS)"

iam: ## The roles of the template: enough for every restore, nothing too much, no use against others' resources.
	@scripts/setup rehearse
	$(CARGO) build $(LOCKED) --workspace --bins
	@$(TARGET)/debug/iam $(ARGS)

# One in so many of the mutants; the first number chooses which.
SHARD ?= 0/60
mutants: ## Are the tests able to fail? Mutates core and steps, SHARD=k/n of it. Needs cargo-mutants; takes hours.
	@$(CARGO) mutants --version >/dev/null 2>&1 || { echo "cargo-mutants is missing: cargo install --locked cargo-mutants" >&2; exit 1; }
	@scripts/setup test
	CARGO_TARGET_DIR=$(abspath $(TARGET))/mutants $(CARGO) mutants --shard $(SHARD) --sharding round-robin --output $(TARGET) $(ARGS)

check: ## Formatting, lints, documentation, dependencies, definition: what CI checks before the tests.
	@scripts/setup check
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(LOCKED) --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(LOCKED) --no-deps --workspace
	@# cargo-deny before 0.20 does not read deny.toml as it stands.
	@if $(CARGO) deny --version 2>/dev/null | grep -qE ' (0\.[2-9][0-9]|[1-9][0-9]*)\.'; then \
	    set -x; $(CARGO) deny check bans licenses sources; \
	else \
	    set -x; scripts/check-dependencies; \
	fi
	for definition in $(DEFINITIONS); do statelint $$definition || exit 1; done
	@if [ -x .tools/node_modules/.bin/asl-validator ]; then \
	    set -x; for definition in $(DEFINITIONS); do .tools/node_modules/.bin/asl-validator --json-path $$definition || exit 1; done; \
	fi
	@$(MAKE) --no-print-directory check-templates
	@for script in $(SHELL_SCRIPTS); do sh -c 'head -n 1 "$$1" | grep -q bash && bash -n "$$1" || sh -n "$$1"' - "$$script" || exit 1; done
	python3 -c 'import ast, sys; [ast.parse(open(file).read(), file) for file in sys.argv[1:]]' scripts/check-dependencies scripts/check-templates scripts/deploy scripts/package

check-templates: ## The linters of the templates alone: cfn-lint, checkov, our own rules, AWS' schema of Automation. Part of `make check`.
	@scripts/setup check
	@# W3002: local paths are what `aws cloudformation package` is for.
	.venv/bin/cfn-lint --ignore-checks W3002 -- $(TEMPLATES)
	.venv/bin/python scripts/check-templates
	.tools/checkov/bin/checkov --framework cloudformation --skip-download --quiet --compact --file $(TEMPLATES)

advisories: ## Known vulnerabilities in dependencies. Needs cargo-deny 0.20, and a network for its database.
	$(CARGO) deny check advisories

ARCH ?= x86_64
package: ## Build the functions for Lambda, small: package/<step>.zip. ARCH=arm64 for Graviton. Takes about ten minutes.
	@scripts/setup package
	scripts/package --arch $(ARCH)

package-twice: ## The same twice, in two folders: are the zips the same? Takes twice as long.
	@scripts/setup package
	scripts/package --arch $(ARCH) --twice

# Which account and region is for the AWS CLI's configuration to say.
TEMPLATE ?= pipeline
deploy: ## Package and deploy: STACK=name BUCKET=bucket PARAMETERS=file.json; TEMPLATE=monitoring for another. Shows a change set and asks; YES=1 does not.
	@scripts/setup deploy
	@[ -n "$(STACK)" ] && [ -n "$(BUCKET)" ] || { echo "say what and where: make deploy STACK=aurora-restore BUCKET=a-bucket-of-yours PARAMETERS=parameters.json" >&2; exit 1; }
	@if grep -q '^ *Code: \.\./package/' cloudformation/$(TEMPLATE).yaml; then $(MAKE) --no-print-directory package; fi
	scripts/deploy --stack $(STACK) --bucket $(BUCKET) --template $(TEMPLATE) $(if $(PARAMETERS),--parameters $(PARAMETERS)) $(if $(YES),--yes) $(if $(ENDPOINT),--endpoint $(ENDPOINT))

bench: bench-flow bench-fleet bench-cold-start ## Run all benchmarks; docs/performance.md says what they measure.

bench-flow: ## How late waits notice, and whole restores per second.
	@scripts/setup test
	$(CARGO) bench $(LOCKED) --profile dev --package pipeline-tests --bench flow

bench-fleet: ## 500 drills through the quotas of one account, against the lower bound that these allow. MEMBERS=n for another number.
	@scripts/setup test
	$(CARGO) bench $(LOCKED) --profile dev --package pipeline-tests --bench fleet

bench-cold-start: ## First response of a release bootstrap beside the same step in Python. Builds as `make package`.
	@scripts/setup bench
	scripts/package wake
	.venv/bin/python tests/benches/cold_start/bench.py $(TARGET)/lambda/wake .venv/bin/python 21
