# Shortcuts. `make` prints the list.
#
# Variables: DATASET=20x64KiB,4x8MiB (files per node), PORT=5025 (the tracker's port; nodes use the next ones),
# RUN=run (the folder of data and logs), BIN=target/release (the folder of the programs).

DATASET ?= 20x64KiB,4x8MiB
PORT ?= 5025
RUN ?= run
BIN ?= target/release
NODES := alpha beta gamma
COMPOSE := docker compose --file packaging/docker/compose.yaml
export DATASET PORT RUN BIN
# Containers write files as the calling user.
export OWNER_UID := $(shell id -u)
export OWNER_GID := $(shell id -g)

.DEFAULT_GOAL := help
.PHONY: help setup generate demo up try down test docker-up docker-down interop clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## build the programs: target/release/tracker, node, demo
	cargo build --release --locked

generate: ## give each node of the swarm its data set without starting it, unless it has files already
	cargo build --release --locked --example dataset
	@for name in $(NODES); do \
	    mkdir -p $(RUN)/data/$$name && $(BIN)/examples/dataset $(RUN)/data/$$name '$(DATASET)' $$name || exit 1; \
	done

demo: ## watch downloads, ranking and a killed source, in a few seconds
	cargo run --release --locked --bin demo

up: setup ## start a tracker and three nodes on this machine, each with a data set of its own
	scripts/swarm up

try: ## fetch a file from each node that is up, and compare the bytes
	scripts/swarm try

down: ## stop the programs that `up` started
	scripts/swarm down

test: ## run all tests
	cargo test --locked

# The token of the pages in containers.
run/http-token:
	@mkdir -p run && (umask 077 && head -c 24 /dev/urandom | base64 >$@)

docker-up: generate run/http-token ## start a tracker and three nodes in containers, on the same data
	$(COMPOSE) up --detach --build --wait

docker-down: ## stop and remove the containers
	$(COMPOSE) down

interop: ## check against foreign tools, and write docs/interop.md
	scripts/interop --write

clean: ## stop the swarm, remove its data sets and logs; the build stays
	scripts/swarm clean
