# make run: the whole experiment on the embedded images. make test: the tests. make docs-check: those
# of the documents' commands, links and programs alone. make install: nothing but what all of them do
# first, .venv with everything that requirements.txt names. Another Python, beside it:
# make test VENV=.venv311 VERSIONS=3.11

VENV := .venv
VERSIONS := 3.13 3.12 3.11
PYTHON := $(VENV)/bin/python
# As train/hugepages.py, which main.py asks: for the tests.
export GLIBC_TUNABLES = glibc.malloc.hugetlb=1

.PHONY: run test docs-check install clean

run: $(VENV)/ready
	$(PYTHON) main.py --config=configs/augmented.py

test: $(VENV)/ready
	$(PYTHON) -m pytest -n auto --maxprocesses 4 --dist worksteal

docs-check: $(VENV)/ready
	$(PYTHON) -m pytest tests/docs

install: $(VENV)/ready

# What Python compiles of the packages it keeps when they are first imported: pip would compile all
# of them, which took two thirds of the installation's time.
# The newest Python of VERSIONS that runs and can make an environment: a name on the PATH may be
# a shim that fails, and pyenv keeps versions that are not on the PATH at all.
$(VENV)/ready: requirements.txt
	@if [ -L $(VENV) ]; then \
	  echo "$(VENV) is a link, and what it leads to would be emptied: remove it, or touch $@ if it has all of requirements.txt"; \
	  exit 1; \
	fi
	@for version in $(VERSIONS); do \
	  for python in python$$version $(HOME)/.pyenv/versions/$$version.*/bin/python python3; do \
	    if $$python -c "import sys, ssl, ctypes, ensurepip; sys.exit('%d.%d' % sys.version_info[:2] != '$$version')" >/dev/null 2>&1; then \
	      echo "Making $(VENV) with $$($$python --version)"; \
	      $$python -m venv --clear $(VENV) && \
	      $(PYTHON) -m pip install --quiet --no-compile --disable-pip-version-check -r requirements.txt && \
	      touch $@ && exit 0 || exit 1; \
	    fi; \
	  done; \
	done; \
	echo "No working Python of $(VERSIONS) was found (of Debian's, one with python3-venv); install one and run make again."; exit 1

clean:
	rm -rf $(VENV) .jax_cache
