# `make ablation` and `make test` work on a bare machine with python >= 3.11 and make; the first call installs into .venv.
PYTHON ?= python3
STUDY ?= demo
PROFILE ?= default
CORES ?= $(shell nproc 2>/dev/null || echo 2)
# tests at a time
PROCESSES ?= $(shell nproc 2>/dev/null || echo 2)
# further arguments for Snakemake or pytest
ARGS ?=
# the rooms of mathematics, specs and tables
FAST := $(addprefix tests/,study nets distributions models measuring summary)

BIN := .venv/bin
INSTALLED := .venv/.installed
ACTIVE := PATH="$(CURDIR)/$(BIN):$$PATH" PYTHONPATH="$(CURDIR)/src"

.PHONY: help ablation test test-fast check check-part plan preflight audit trace report verify export bench
.DEFAULT_GOAL := help

help:
	@echo "make ablation [STUDY=demo] [CORES=2]   run a study of config/ (or a path) and print its headline table"
	@echo "make check    [STUDY=demo]             validate its config and list its runs"
	@echo "make check-part FILE=my_prior.py        try a part of your own: shapes, gradients, density against samples; see docs/extending.md"
	@echo "make plan     [STUDY=demo] [CORES=2]   say what it will take: jobs, hours, memory; starts nothing"
	@echo "make preflight [PROFILE=slurm]          try what a profile needs of this cluster or machine, and say what to change"
	@echo "make audit    [STUDY=demo]             check its results: complete, unchanged, consistent, plausible"
	@echo "make report   [STUDY=demo]             write results/<study>/report.html: findings, tables, figures, lineage, cost"
	@echo "make trace TABLE=results/demo/tables/x.csv ROW=nll,K=4 COLUMN=vamp+iaf   where one cell comes from"
	@echo "make verify RUN=<run>                  train a run again elsewhere and compare: same bytes, or within the spread of the seeds"
	@echo "make export   [STUDY=demo]             write its results as a Workflow Run RO-Crate, results/<study>/crate.zip"
	@echo "make test-fast                         run those of mathematics, specs and tables only"
	@echo "make test                              run all tests, with those that run studies, a SLURM cluster and a browser"
	@echo "make bench    [ARGS='--only mlp']      measure what training, evaluation and a job's start cost"

ablation: $(INSTALLED)
	@$(ACTIVE) python scripts/ablation.py "$(STUDY)" --cores "$(CORES)" --profile "$(PROFILE)" $(ARGS)

check: $(INSTALLED)
	@$(ACTIVE) python scripts/check.py "$(STUDY)"

check-part: $(INSTALLED)
	@test -n "$(FILE)" || { echo "error: FILE is empty; give the path of a part's file, FILE=my_prior.py" >&2; exit 1; }
	@$(ACTIVE) python scripts/check_part.py "$(FILE)" $(ARGS)

plan: $(INSTALLED)
	@$(ACTIVE) python scripts/plan.py "$(STUDY)" --cores "$(CORES)" $(ARGS)

# a study only where one is named: a cluster is tried before there is one
preflight: $(INSTALLED)
	@$(ACTIVE) python scripts/preflight.py "$(PROFILE)" $(if $(filter command line environment,$(origin STUDY)),--study "$(STUDY)") $(ARGS)

audit: $(INSTALLED)
	@$(ACTIVE) python scripts/audit.py "$(STUDY)"

report: $(INSTALLED)
	@$(ACTIVE) python scripts/report.py "$(STUDY)"

trace: $(INSTALLED)
	@$(ACTIVE) python scripts/trace.py "$(TABLE)" --row="$(ROW)" --column="$(COLUMN)"

verify: $(INSTALLED)
	@$(ACTIVE) python scripts/verify.py "$(RUN)"

export: $(INSTALLED)
	@$(ACTIVE) python scripts/export.py "$(STUDY)"

bench: $(INSTALLED)
	@$(ACTIVE) python -m benchmarks.bench $(ARGS)

# One process more than there are cores: one of them mostly waits for SLURM. What measures time comes last, with nothing beside it;
# exit code 5 says that ARGS have chosen no such test.
test: $(INSTALLED)
	@$(ACTIVE) python -m pytest -m "not alone" -n $$(($(PROCESSES) + 1)) --dist loadfile --no-loadscope-reorder $(ARGS)
	@$(ACTIVE) python -m pytest -m alone $(ARGS) || [ $$? -eq 5 ]

test-fast: $(INSTALLED)
	@$(ACTIVE) python -m pytest -m "not slow and not alone" -n $(PROCESSES) --dist worksteal $(FAST) $(ARGS)

$(INSTALLED): envs/requirements.lock pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || { echo "error: no $(PYTHON) here; install python >= 3.11 or set PYTHON=" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: $$("$(PYTHON)" -V) at $(PYTHON) is too old; install python >= 3.11 or set PYTHON=" >&2; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "error: $(PYTHON) comes without venv; install it (on Debian: apt install python3-venv) or set PYTHON=" >&2; exit 1; }
	@echo "installing the pinned dependencies into .venv, once; a few minutes"
	@"$(PYTHON)" -m venv .venv
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar on -r envs/requirements.lock
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --editable .
	@touch $@
