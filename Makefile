# make run: the whole experiment on the embedded images. make test: the tests.
# Both first make .venv with everything that requirements.txt names.

VENV := .venv
PYTHON := $(VENV)/bin/python
# Huge pages halve the time of a convolution step on Linux; other systems ignore this.
export GLIBC_TUNABLES = glibc.malloc.hugetlb=1

.PHONY: run test clean

run: $(VENV)/ready
	$(PYTHON) main.py --config=configs/augmented.py

test: $(VENV)/ready
	$(PYTHON) -m pytest -n auto --maxprocesses 4 --dist worksteal

# The newest Python of 3.11 to 3.13 that runs and can make an environment: a name on the PATH may be
# a shim that fails, and pyenv keeps versions that are not on the PATH at all.
$(VENV)/ready: requirements.txt
	@for version in 3.13 3.12 3.11; do \
	  for python in python$$version $(HOME)/.pyenv/versions/$$version.*/bin/python python3; do \
	    if $$python -c "import sys, ssl, ctypes, ensurepip; sys.exit('%d.%d' % sys.version_info[:2] != '$$version')" >/dev/null 2>&1; then \
	      echo "Making $(VENV) with $$($$python --version)"; \
	      $$python -m venv --clear $(VENV) && \
	      $(PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements.txt && \
	      touch $@ && exit 0 || exit 1; \
	    fi; \
	  done; \
	done; \
	echo "No working Python 3.11, 3.12 or 3.13 was found; install one and run make again."; exit 1

clean:
	rm -rf $(VENV) .jax_cache
