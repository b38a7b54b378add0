# make setup    environment in .venv (EXTRA=cpu or EXTRA=gpu to choose; otherwise by whether an NVIDIA driver answers)
# make demo     a small run on this machine, with its report in runs/demo
# make quick    most of the tests that start no vLLM and no Ray, in less than two minutes
# make test     the tests
# make test-long  the tests that take minutes each and that `make test` leaves out
# make fuzz     recipes, manifests and corpora of any form, ten minutes each (SECONDS_EACH=60 for less)
# make audit    known vulnerabilities of the installed packages; needs the network
# make lint     ruff and mypy
# make docs     the site, into build/site; broken links and missing references are errors
# make docs-serve  the site on http://localhost:8000, made again at each change
# make clean    removes the environment and caches; never touches runs/
.PHONY: help setup demo quick test test-long fuzz audit lint docs docs-serve clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# //p' Makefile

# Without compiled files each of the tests' processes takes three times as long to import torch, vLLM and Ray.
unexport PYTHONDONTWRITEBYTECODE

setup:
	@scripts/setup.sh $(EXTRA)

demo: setup
	.venv/bin/autophage run demo --out runs/demo

quick: setup
	.venv/bin/python -m pytest -m "not slow and not thorough" -n auto

test: setup
	.venv/bin/python -m pytest -m "not slow" -n auto
	.venv/bin/python -m pytest -m slow

test-long: setup
	.venv/bin/python -m pytest -m long

SECONDS_EACH ?= 600

fuzz: setup
	AUTOPHAGE_FUZZ_SECONDS=$(SECONDS_EACH) .venv/bin/python -m pytest tests/fuzz --timeout 0

audit: setup
	scripts/audit.sh

lint: setup
	.venv/bin/ruff check
	.venv/bin/mypy

# Leaves out a note about another generator, which stands before each build.
export NO_MKDOCS_2_WARNING := 1

docs: setup
	.venv/bin/python -m mkdocs build --strict

docs-serve: setup
	.venv/bin/python -m mkdocs serve --dev-addr localhost:8000

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find engine kernels tests bench -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
