# Every wish is one command. All of them make .venv first; nothing else is needed but Python 3.11.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test unit lint fix bench chaos fuzz soak picture sbom lock clean

help:  ## what can be typed here
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(STAMP)  ## make .venv with everything that requirements.lock pins

$(STAMP): pyproject.toml requirements.lock
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[demo,training,dev]'
	@touch $@

demo: $(STAMP)  ## send real studies through the whole line and show what came of them
	$(BIN)/pneumo demo

test: $(STAMP)  ## every test there is: real Valkey, real PostgreSQL, real workers, killed on purpose
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

unit: $(STAMP)  ## the tests that take seconds
	$(BIN)/python -m pytest tests/unit

lint: $(STAMP)  ## style, types, import directions, compose files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	docker/check-compose

fix: $(STAMP)  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)  ## ratios, each within one run
	$(BIN)/python -m tests.benchmarks

chaos: $(STAMP)  ## break a real installation at random, then check every promise; CHAOS="--postgresql --seed 7"
	$(BIN)/python -m tests.chaos $(CHAOS)

fuzz: $(STAMP)  ## 20,000 mutated files over every way in; FUZZ="--count 1000"
	$(BIN)/python -m tests.fuzz $(FUZZ)

soak: $(STAMP)  ## half an hour of steady work, after which nothing may have grown; SOAK="--minutes 5"
	$(BIN)/python -m tests.soak $(SOAK)

picture: $(STAMP)  ## draw docs/rooms.svg from the imports
	$(BIN)/python docs/draw_rooms.py

sbom: $(STAMP)  ## write sbom.json, a CycloneDX bill of what is installed
	$(BIN)/python -m cyclonedx_py environment $(BIN)/python --pyproject pyproject.toml --output-reproducible --output-file sbom.json

lock: $(STAMP)  ## write what is installed into requirements.lock
	@sed -n '/^#/p' requirements.lock > requirements.lock.new
	@$(BIN)/python -m pip freeze --exclude-editable >> requirements.lock.new
	@mv requirements.lock.new requirements.lock

clean:  ## forget .venv and the demo's state
	rm -rf $(VENV) demo-state
