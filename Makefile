# What people and CI run. `make` alone says what there is.

CARGO ?= cargo
# The version with which the dependencies were last looked over.
CARGO_DENY := 0.20.2

.DEFAULT_GOAL := help
.PHONY: help quickstart setup test interop reprotest lint fmt clippy deny docs bench audit-deps

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

quickstart: ## Install what is missing, build bulla and run the whole story in a temporary folder
	@scripts/quickstart.sh

setup: ## Install what the tests need (Debian, Ubuntu); what cannot be installed is skipped in the tests
	@scripts/setup.sh test

test: setup ## Run every test, with those in the documentation
	$(CARGO) test --locked

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
