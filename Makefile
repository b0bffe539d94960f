# What one can do here. Every target works from a fresh clone; the environment is made on the way.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SOURCES := $(wildcard services contracts infra tests bench)
WORKERS ?= 2

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-8s %s\n", $$1, $$2 }'

$(READY): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	touch $@

.PHONY: check
check: $(READY) ## style, format and types
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy $(SOURCES)

.PHONY: test
test: $(READY) ## the whole suite, against a real broker and a real database
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup

.PHONY: mutants
mutants: $(READY) ## ten bugs planted one by one: which test catches each, and how fast
	$(BIN)/python -m tests.mutants

.PHONY: demo
demo: $(READY) ## a story played on the whole system; stays up on a terminal
	$(BIN)/python -m infra.demo

.PHONY: replay
replay: $(READY) ## replays an order history: make replay DATA=<folder of Olist files>; again, it goes on
	@test -n "$(DATA)" || { echo "DATA=<folder> is missing: the folder with the history's files"; exit 2; }
	$(BIN)/python -m infra.replay "$(DATA)"

.PHONY: chaos
chaos: $(READY) ## breaks a running system and checks every promise: make chaos SEED=1 MINUTES=10
	$(BIN)/python -m tests.chaos --seed $(or $(SEED),1) --minutes $(or $(MINUTES),10) $(if $(DATA),--replay "$(DATA)")

.PHONY: bench
bench: $(READY) ## every measurement, each judged by its gates; about 75 minutes
	$(BIN)/python -m bench all

.PHONY: release-gate
release-gate: $(READY) ## the acceptance list of a release, checked on a system of its own
	$(BIN)/python -m infra.release_gate

.PHONY: dev
dev: $(READY) ## the whole system as local processes, until Ctrl-C
	$(BIN)/python -m infra

.PHONY: up
up: ## the whole system in containers (docker compose), until Ctrl-C
	docker compose up --build

.PHONY: format
format: $(READY) ## formats the code and repairs what can be repaired
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

.PHONY: lock
lock: ## pins every dependency anew from pyproject.toml
	$(BIN)/pip-compile --extra dev --generate-hashes --strip-extras --allow-unsafe --no-header --no-annotate \
	  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --quiet --output-file .requirements.new pyproject.toml
	{ grep '^#' requirements.lock; cat .requirements.new; } > .requirements.whole
	mv .requirements.whole requirements.lock
	rm .requirements.new
