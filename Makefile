# Everything a person runs. `make` alone lists it. Each target says what it misses and how to get it.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo demo-cluster chaos outage simulate flips test bench perf loadtest cost fuzz lint matrix screenshots check-tools peers pairs instructions hostile

# Seconds that `make demo` and `make fuzz` run; the demo without it runs until Ctrl-C.
SECONDS ?=

help: ## This list
	@echo "Segue: a real-time audio ad decision server. Two commands to begin with: make demo, make test."
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-22s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: check-tools ## A made-up network with listeners, until Ctrl-C [SECONDS=30: that long]
	cargo run --quiet -- demo $(if $(SECONDS),--seconds $(SECONDS))

demo-cluster: check-tools ## The same on a real Kafka and Cassandra, two servers of each role, until Ctrl-C [SECONDS=30: that long]
	@scripts/chaos.sh demo $(if $(SECONDS),--seconds $(SECONDS))

chaos: check-tools ## A cluster on three brokers, broken on purpose and judged [SEED=1] [SEEDS=1: so many in a row]
	@scripts/chaos.sh faults --first-seed $(if $(SEED),$(SEED),1) --seeds $(if $(SEEDS),$(SEEDS),1)

outage: check-tools ## The same without an engine for minutes [OF=kafka, cassandra or accounting] [SECONDS=600]
	@scripts/chaos.sh outage --of $(if $(OF),$(OF),kafka) --seconds $(if $(SECONDS),$(SECONDS),600)

simulate: check-tools ## The books under seeded faults in virtual time [SEEDS=1000]
	cargo run --quiet -- simulate --suite faults --seeds $(if $(SEEDS),$(SEEDS),1000)

# In memory where that is a file system: the data directory is small, and audited as often.
flips: check-tools ## Changed bytes in a data directory: each found by the audit, or harmless [FLIPS=10000] [SEED=1]
	@if [ -w /dev/shm ]; then export TMPDIR=/dev/shm; fi; \
	SEGUE_FLIPS=$(if $(FLIPS),$(FLIPS),10000) SEGUE_FLIPS_SEED=$(if $(SEED),$(SEED),1) \
	cargo test --quiet --lib -- --nocapture cli::audit::flips

pairs: check-tools ## The index against its definition while snapshots are swapped under readers [PAIRS=1000000] [SEED=1]
	@SEGUE_PAIRS=$(if $(PAIRS),$(PAIRS),1000000) SEGUE_PAIRS_SEED=$(if $(SEED),$(SEED),1) \
	cargo test --quiet --lib -- --nocapture catalog::pairs

matrix: check-tools ## The authorization matrix: every endpoint, as each role, about own, foreign and absent ids
	cargo test --quiet --test it -- --nocapture authorization

screenshots: check-tools ## Every page of the console, light and dark, desktop and phone, into target/screenshots, past an accessibility checker
	@mkdir -p target/screenshots
	SEGUE_SCREENSHOTS=$(CURDIR)/target/screenshots ENGINES=browser scripts/engines/with.sh cargo test --quiet --test it -- --nocapture console::every_page

test: check-tools ## All tests, beside a real Kafka and Cassandra, and a table of what was skipped [ENGINES=none: without]
	@scripts/test.sh

bench: check-tools ## A short run of the benches: index, decide, pod, token, journal, accounting
	cargo bench --benches -- --warm-up-time 0.5 --measurement-time 2 --noplot

loadtest: check-tools ## Segue beside a bare HTTP handler, one core each for server and load: CPU and rate a request [RUN="spotify-2016"]
	cargo build --release --bin segue
	cargo build --release --package segue-loadtest
	target/release/segue-loadtest $(if $(RUN),$(RUN),compare) --json target/loadtest.json

perf: check-tools ## All figures beside their bounds, in one table and target/perf.json [QUICK=1: half an hour] [SPOTIFY_PERCENT=100]
	@QUICK=$(QUICK) SPOTIFY_PERCENT=$(SPOTIFY_PERCENT) scripts/perf.sh

peers: check-tools ## The index beside a-tree, on the same catalogue and listeners [SEED=1] [JSON=file]
	cargo run --release --package segue-peers -- $(if $(SEED),--seed $(SEED)) $(if $(JSON),--json $(JSON))

instructions: check-tools ## Instructions of the hot steps under valgrind, against the committed baseline [UPDATE=1: writes it] [JSON=file]
	@UPDATE=$(UPDATE) scripts/instructions.sh $(if $(JSON),--json $(JSON))

hostile: check-tools ## Bad catalogues and listeners: what they cost, and what others then wait [JSON=file]
	cargo run --release --package segue-perf -- hostile $(if $(JSON),--json $(JSON))

cost: check-tools ## CPU a million events of each step beside bare Kafka, and bytes of lease traffic, as JSON too [EVENTS=300000]
	cargo build --release --example cost
	ENGINES="kafka cassandra" scripts/engines/with.sh target/release/examples/cost --json $(if $(EVENTS),--events $(EVENTS))

fuzz: check-tools ## Fuzz the parsers of outside input [SECONDS=60 each]
	@scripts/fuzz.sh $(if $(SECONDS),$(SECONDS),60)

lint: check-tools ## Format and lints, as CI runs them
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

check-tools:
	@scripts/check-tools.sh
