# Thin targets over cargo and the `lattice` program; `make help` lists them.
# Everything is built in one profile and in one selection (the whole workspace), so that the
# wasmCloud host is never compiled twice.

.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

TARGET := $(or $(CARGO_TARGET_DIR),target)
PROVIDERS := fly-io-metadata kind-metadata keyvalue-valkey
COMPONENTS := cloud-hello naive-hello
E2E := regions cli faults single_store chaos browser
LATTICE := $(TARGET)/release/lattice
REGIONS ?= iad,fra,sin
WAN_MS ?= 80
ARGS ?=
SEEDS ?=

# Prints what a stage took: $(call stage,name,command)
stage = @start=$$(date +%s); $(2); echo "== $(1): $$(( $$(date +%s) - start )) s"

.PHONY: help setup build check test unit e2e demo down bench simulate chaos clean

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | while IFS=$$'\t' read -r name text; do printf '  make %-8s %s\n' "$$name" "$$text"; done

setup: ## Fetch nats-server, valkey-server and the wasm target, where missing
	@crates/lattice/tools/setup.sh

build: setup ## Build every program, and the artifacts to deploy into build/
	$(call stage,programs,cargo build --locked --release --workspace)
	$(call stage,components,cargo build --locked --release --target wasm32-wasip2 $(COMPONENTS:%=--package %))
	$(call stage,artifacts,$(LATTICE) package --out build $(PROVIDERS:%=$(TARGET)/release/%) $(foreach c,$(COMPONENTS),$(TARGET)/wasm32-wasip2/release/$(subst -,_,$(c)).wasm))

check: setup ## Formatting, lints, vendored WIT, manifests and deployment trees
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets --features e2e/lattice-tests -- -D warnings
	cargo clippy --locked --target wasm32-wasip2 $(COMPONENTS:%=--package %) -- -D warnings
	cd wit && sha256sum --check --quiet deps.lock
	deploy/check.sh

test: unit e2e ## Every test: unit, property, contract, and end to end

unit: setup ## Unit, property and contract tests, with real NATS and Valkey; 2,000 simulated worlds
	@crates/lattice/tools/faketime.sh
	cargo test --locked --release --workspace --no-fail-fast

e2e: build ## End-to-end tests over a real lattice, and in a real browser
	@crates/lattice/tools/browser.sh
	cargo test --locked --release --workspace --features e2e/lattice-tests $(E2E:%=--test %) --no-fail-fast -- --test-threads=1

demo: build ## Start three regions on this machine, with a WAN between them, and show their page's address
	@$(LATTICE) up --regions $(REGIONS) --wan-ms $(WAN_MS) $(ARGS)

down: ## End the lattice that `make demo` started
	@$(LATTICE) down

bench: build ## Measure, side by side, and print a table and JSON
	@$(TARGET)/release/bench $(ARGS)

simulate: ## Run simulated worlds of replicated regions; SEEDS=10000, ARGS='--seed 7'
	cargo build --locked --release --workspace --quiet
	@$(TARGET)/release/simulate $(if $(SEEDS),--seeds $(SEEDS)) $(ARGS)

chaos: build ## Strike a loaded lattice with a seeded schedule of faults; ARGS='--minutes 5 --seed 7'
	@$(TARGET)/release/chaos $(ARGS)

clean: ## Remove what was built and what a lattice kept; .tools stays
	cargo clean
	rm -rf build .lattice
