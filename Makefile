# `make` lists the targets. Everything that they need is found or fetched by tools/bootstrap.sh.

RUN := ./tools/bootstrap.sh
RELEASE := REPROQ_WORKER_BIN="$(CURDIR)/target/release/reproq" $(RUN)
# The demo's database: sqlite or postgres (a throwaway cluster).
DB ?= sqlite
# More arguments for the tests, e.g. `make test-python ARGS="-k installer"`.
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test test-rust test-python build lint fmt wheel bench bench-peers bench-quick hammer hammer-schedules hammer-workflows compare-cron clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build ## run the main job and show how it ends; DB=postgres for a throwaway PostgreSQL
ifeq ($(DB),postgres)
	@$(RUN) python tools/postgres.py run -- python examples/demo.py
else ifeq ($(DB),sqlite)
	@$(RUN) python examples/demo.py
else
	$(error DB is sqlite or postgres, not $(DB))
endif

test: test-rust test-python ## run all tests, on SQLite and on throwaway PostgreSQL clusters

test-rust: ## run the Rust tests
	$(RUN) python tools/postgres.py run -- cargo nextest run --workspace $(RUST_ARGS)

test-python: build ## run the Python tests
	@$(RUN) python -m tools.pg_cron >/dev/null
	$(RUN) uv run pytest $(ARGS)

build: ## build the worker binary (debug)
	@$(RUN) cargo build --package reproq

lint: ## check formats, lints and types; changes nothing
	$(RUN) cargo fmt --all --check
	$(RUN) cargo clippy --quiet --workspace --all-targets -- -D warnings
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

fmt: ## format all code
	$(RUN) cargo fmt --all
	$(RUN) ruff check --quiet --fix-only .
	$(RUN) ruff format .

wheel: ## build the wheel with the release binary into dist/
	$(RUN) uv build --wheel

bench: ## measure drain rate and latency on both databases; ARGS=claims, enqueues, starts, children or chords for those
	$(RUN) cargo build --quiet --release --package reproq
	$(RELEASE) python -m bench $(ARGS)

bench-peers: ## compare with other task queues, which takes hours; installs brokers (root, apt-get), writes docs/benchmarks/
	$(RUN) cargo build --quiet --release --package reproq
	$(RELEASE) python -m bench.peers --growth --docs $(ARGS)
	$(RUN) python -m bench.peers --readme

bench-quick: ## compare with three other task queues
	$(RUN) cargo build --quiet --release --package reproq
	$(RELEASE) python -m bench.peers --plan quick $(ARGS)

hammer: ## hold locks, limits and rates against real workers; ARGS="--database sqlite --seeds 10 --claims 100000"
	$(RUN) cargo build --quiet --release --package reproq
	$(RELEASE) python tools/postgres.py run -- python -m tests.hammer $(ARGS)

hammer-schedules: ## three schedulers, killed and stopped, 200 schedules a second; ARGS="--database sqlite --seconds 30"
	$(RUN) cargo build --quiet --release --package reproq
	$(RELEASE) python -m tests.schedulers $(ARGS)

hammer-workflows: ## chords and chains under workers that are killed; ARGS="--database sqlite --chords 100"
	$(RUN) cargo build --quiet --release --package reproq
	$(RELEASE) python -m tests.workflows $(ARGS)

compare-cron: ## the cron evaluator beside two others, 400 zones over ten years
	$(RUN) cargo build --quiet --release --package reproq
	$(RELEASE) python -m tests.clocks $(ARGS)

clean: ## remove what was built and fetched here
	rm -rf target dist .venv .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
