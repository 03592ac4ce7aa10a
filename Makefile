# Everything a developer or CI runs. `make help` lists it.
#
# Build outputs live outside the checkout, in LATCHKEY_CACHE (default: ~/.cache/latchkey): target/ for cargo unless
# CARGO_TARGET_DIR says otherwise, tools/ for the programs of the test cluster. A second run builds nothing unchanged.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

ifeq ($(LATCHKEY_CACHE),)
LATCHKEY_CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/latchkey
endif
ifeq ($(CARGO_TARGET_DIR),)
CARGO_TARGET_DIR := $(LATCHKEY_CACHE)/target
endif
export LATCHKEY_CACHE CARGO_TARGET_DIR

CLUSTER := $(CARGO_TARGET_DIR)/debug/cluster
IMAGES := latchkey provider-fake provider-generators provider-vault

.PHONY: help setup tools build images generate lint deny test demo bench clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  Outputs: $(CARGO_TARGET_DIR), $(LATCHKEY_CACHE)/tools, dist/"

setup: ## Install the Debian packages that are missing (as root), check Rust and Go
	@tests/tools/setup.sh

tools: setup ## Build the test cluster's programs into the cache (a quarter of an hour, once) and fetch OpenBao
	@cargo build --quiet --package latchkey-cluster --bin cluster
	@$(CLUSTER) tools
	@tests/tools/openbao.sh >/dev/null
	@tests/tools/pyyaml.sh >/dev/null

build: ## Build all programs for development
	cargo build --workspace --bins

images: ## Write dist/images/<name>.tar for the agent and each provider server (static, release)
	@images/build.sh $(IMAGES)

generate: ## Write the CRDs into the charts and docs/templates.md
	cargo run --quiet --package latchkey-crds --bin crdgen -- .
	cargo run --quiet --package latchkey-templating --example book -- .

lint: ## Check format, clippy, documentation and dependencies; warnings are errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	@# A module's documentation may point at its private parts: those who read it here have the source.
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --workspace --no-deps --quiet
	tests/tools/dependencies.sh check
	@# cargo-deny repeats these checks and adds licences; it takes minutes to install, so it runs where it is installed.
	@if [ -x "$$(tests/tools/cargo-deny.sh --print)" ]; then $(MAKE) --no-print-directory deny; \
	else echo "lint: cargo-deny is not installed here, licences are not checked (make deny)"; fi

deny: ## Check bans, licences and sources with cargo-deny, installing it into the cache first (5 minutes, once)
	"$$(tests/tools/cargo-deny.sh)" --workspace check --hide-inclusion-graph bans licenses sources

test: tools images ## Run every test, unit to end-to-end, on real clusters started for the run
	cargo build --workspace --bins
	cargo test --workspace --no-run
	@tests/tools/test.sh $(CLUSTER)

demo: tools images ## Show the main job on a one-node cluster, each step verified; KEEP=1 leaves it up
	cargo build --package latchkey-demo --package latchkey-cluster
	$(CARGO_TARGET_DIR)/debug/demo --cluster $(CLUSTER) --images dist/images --root . $(if $(KEEP),--keep)

# With the same flags as the images, so that everything but the program itself is built already.
bench: tools images ## Measure the figures of docs/performance.md on a cluster of its own (25 minutes)
	host=$$(rustc -vV | sed -n 's/^host: //p'); \
	RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --target "$$host" --package latchkey-bench; \
	go build -C tests/bench/templates -trimpath -o "$(LATCHKEY_CACHE)/tools/template-bench-go" .; \
	"$(CARGO_TARGET_DIR)/$$host/release/template-bench" --go "$(LATCHKEY_CACHE)/tools/template-bench-go" --into docs/performance.md; \
	"$(CARGO_TARGET_DIR)/$$host/release/bench" --cluster $(CLUSTER) --images dist/images --root . --into docs/performance.md

clean: ## Remove cargo's outputs and dist/; the cluster's programs in the cache stay
	cargo clean
	rm -rf dist
