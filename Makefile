# Everything a reader or a contributor does. Each target can be repeated, and does only what is missing.
PYTHON    ?= python3
VENV      := .venv
BIN       := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SITE      := _build/html
CHAPTERS  := $(wildcard book/notebooks/*.ipynb)

.DEFAULT_GOAL := help
.PHONY: help book test lab clean install pair notebooks picture readme constraints lint audit bench

help:
	@echo "make book   install into $(VENV), train the tiny pair if it is missing, build the book"
	@echo "make test   install, build the book, run every test"
	@echo "make lab    install, open the chapters as notebooks in JupyterLab"
	@echo "make clean  delete the built book and its execution cache; $(VENV), runs and lab stay"
	@echo
	@echo "PYTHON=/path/to/python3 make book    with another Python, 3.11 or newer"
	@echo
	@echo "For contributors (CONTRIBUTING.md):"
	@echo "make lint         formatters, linters, the contract of imports, spelling (make test runs it, too)"
	@echo "make notebooks    write book/notebooks again after a chapter has changed"
	@echo "make readme       write README.md's list of chapters from the run times of the last build"
	@echo "make constraints  write the installed versions to constraints.txt"
	@echo "make bench        speed against the commit BEFORE and others' libraries; wants a quiet machine"
	@echo "make audit        known holes in the versions of constraints.txt, asked of PyPI"

# One environment for everything, installed again only when the dependencies have changed. Python compiles what is
# imported; to compile all that is installed beforehand would take minutes.
install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: $(PYTHON) is missing or older than 3.11: install Python 3.11 or newer, or name one, as in PYTHON=python3.12 make book" >&2; exit 1; }
	@test -x $(BIN)/python || { echo "Making $(VENV) ..."; $(PYTHON) -m venv $(VENV); }
	@echo "Installing the library and its tools into $(VENV) ..."
	$(BIN)/python -m pip install --disable-pip-version-check --no-compile -c constraints.txt -e '.[book,test]'
	@touch $@

# The tiny teacher and student, trained once on the packaged data and kept in runs/.
pair: $(INSTALLED)
	$(BIN)/deit-edu train --scale tiny --teacher convnet --resume

book: $(INSTALLED) pair
	$(BIN)/jupyter-book build book --all -W --keep-going
	@echo
	@echo "The book's first page: file://$(CURDIR)/$(SITE)/index.html"

# Two workers of one thread each are as fast as one worker of two threads, and keep both cores busy; tests/conftest.py
# says which files are dealt first. The lines of the library that were run are counted, and held against what must be.
LINES := _build/lines.json
test: book
	OMP_NUM_THREADS=1 $(BIN)/python -m slipcover --json --out $(LINES) -m pytest -n 2 --dist loadfile --no-loadscope-reorder
	$(BIN)/python -m slipcover --merge $(LINES) --out $(LINES) --fail-under 95

# tests/test_repository.py runs these lines one by one. Types are checked where there is Node.js.
lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/oxfmt --check 'deit_edu/widgets/**/*.js'
	$(BIN)/oxlint --deny-warnings deit_edu/widgets
	! command -v npx >/dev/null || npx --yes --package=typescript@5.9.3 tsc --project deit_edu/widgets
	$(BIN)/lint-imports
	$(BIN)/codespell README.md CONTRIBUTING.md CHANGELOG.md SECURITY.md book deit_edu tests data_scripts

# Copies, so that what a reader types in them is kept and the repository stays clean.
lab: $(INSTALLED)
	@mkdir -p lab
	@for chapter in $(CHAPTERS); do test -e lab/$${chapter##*/} || cp $$chapter lab/; done
	$(BIN)/jupyter lab lab

notebooks: $(INSTALLED)
	$(BIN)/python book/_ext/pair_notebooks.py

# The other tree is a worktree of this clone; book/ledger/bench.json is what came out. What it is compared with and the
# environment lacks lives apart from it.
BEFORE := 751d782
PEERS  := vit-pytorch==1.26.14 einops==0.8.2
bench: $(INSTALLED)
	@test -d _build/$(BEFORE) || git worktree add --detach _build/$(BEFORE) $(BEFORE)
	@test -d _build/peers || $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  --target _build/peers $(PEERS) || echo "$(PEERS) could not be fetched: the table goes without" >&2
	PYTHONPATH=_build/peers $(BIN)/python -W ignore book/_ext/run_bench.py --against _build/$(BEFORE)

# README.md's picture, from the packaged student.
picture: $(INSTALLED)
	$(BIN)/python book/_ext/attention_picture.py

readme: book
	$(BIN)/python book/_ext/readme_chapters.py

# What differs from one platform to another is left to pip.
constraints: $(INSTALLED)
	{ echo "# The exact versions that were tested (make constraints); pyproject.toml has the ranges."; \
	  $(BIN)/python -m pip freeze --exclude-editable | grep -viE '^(nvidia|cuda|triton)'; } > constraints.txt

# The tool lives apart from the environment that it looks at. --strict: what could not be asked about is not called safe.
AUDIT   := pip-audit==2.10.1
AUDITOR := _build/audit/bin/pip-audit
audit: constraints.txt
	@test -x $(AUDITOR) || { $(PYTHON) -m venv _build/audit && \
	  _build/audit/bin/python -m pip install --quiet --disable-pip-version-check $(AUDIT); } || { \
	  rm -rf _build/audit; echo "error: $(AUDIT) could not be fetched: make audit needs a network" >&2; exit 1; }
	@$(AUDITOR) --strict --disable-pip --no-deps --progress-spinner off -r constraints.txt > _build/audit.txt 2>&1; \
	  status=$$?; grep -v '^WARNING' _build/audit.txt | tail -n 40; test $$status -eq 0 || { grep -q "^Found" _build/audit.txt && \
	  echo "error: known holes, named above: raise those versions in pyproject.toml, then make constraints" >&2 || \
	  echo "error: PyPI could not be asked about every version: make audit needs a network that reaches pypi.org" >&2; \
	  exit 1; }

clean:
	rm -rf _build
