# What people and CI run. `make` alone says what there is.

CARGO ?= cargo
# The version with which the dependencies were last looked over.
CARGO_DENY := 0.20.2

.DEFAULT_GOAL := help
.PHONY: help quickstart setup test smoke interop reprotest lint fmt clippy deny docs bench audit-deps fuzz mutants

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

quickstart: ## Install what is missing, build bulla and run the whole story in a temporary folder
	@scripts/quickstart.sh

setup: ## Install what the tests need (Debian, Ubuntu); what cannot be installed is skipped in the tests
	@scripts/setup.sh test

test: setup ## Run every test, with those in the documentation, but the two of `smoke` that fetch the biggest agents
	$(CARGO) test --locked

smoke: setup ## Build every bundled template and run it in a container
	$(CARGO) test --locked --test smoke --test agents -- --include-ignored

interop: ## Bring the Sigstore clients of others here, and test with them in both directions
	@scripts/interop.sh

reprotest: setup ## Build every template by every engine, user, clock … that is here, and compare (as root; long)
	@scripts/reprotest.sh

lint: fmt clippy deny docs ## Format, clippy, dependencies (offline), documentation

fmt:
	$(CARGO) fmt --check

clippy:
	$(CARGO) clippy --locked --all-targets -- -D warnings

deny:
	@$(CARGO) deny --version 2>/dev/null | grep -qx 'cargo-deny $(CARGO_DENY)' || { \
		echo "installing cargo-deny $(CARGO_DENY), which checks licences, sources and bans of the dependencies"; \
		$(CARGO) install cargo-deny --locked --version $(CARGO_DENY) --profile dev; }
	$(CARGO) fetch --locked
	$(CARGO) deny --offline check bans licenses sources

docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items

bench: ## Measure what docs/bench.md reports
	$(CARGO) bench --locked

audit-deps: ## Ask the advisory database about the dependencies (needs the network)
	$(CARGO) deny check advisories

fuzz: ## Run every fuzz target, RUNS times each (nightly Rust); see docs/fuzzing.md
	@scripts/fuzz.sh

# `make mutants SHARD=0/8 ARGS='--file src/json.rs'`: a part of them.
CARGO_MUTANTS := 27.1.0
SHARD ?= 0/1

mutants: ## Change the judge's code and see whether a test notices (hours); see docs/mutants.md
	@$(CARGO) mutants --version 2>/dev/null | grep -qx 'cargo-mutants $(CARGO_MUTANTS)' || { \
		echo "installing cargo-mutants $(CARGO_MUTANTS), which changes one expression at a time"; \
		$(CARGO) install cargo-mutants --locked --version $(CARGO_MUTANTS) --profile dev; }
	@mkdir -p target
	$(CARGO) mutants --shard $(SHARD) --output target $(ARGS)
