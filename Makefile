# make demo   install, then train a recogniser of drawn signs and judge it
# make test   install, then run the tests
# make clean  delete the environment
#
# PYTHON=python3.12 chooses the Python that the environment is made with.

PYTHON ?= $(shell for version in 3.13 3.12 3.11 3; do \
	if command -v python$$version >/dev/null && python$$version -c \
	'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; \
	then echo python$$version; break; fi; done)
BIN := .venv/bin

.PHONY: demo test clean

demo: .venv/installed
	$(BIN)/python pipeline_i3d.py

test: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

clean:
	rm -rf .venv

.venv/installed: requirements.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed. Install one, or name \
	it: make PYTHON=/path/to/python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) has no venv module. \
	On Debian or Ubuntu: sudo apt-get install $$(basename $(PYTHON))-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.txt
	@$(BIN)/python -c 'import cv2' 2>/dev/null || $(MAKE) --no-print-directory headless
	@touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt requirements-web.txt requirements-cluster.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements-dev.txt
	@touch $@

# The wheel with windows needs libGL.so.1 and libglib-2.0.so.0, which servers and containers lack.
.PHONY: headless
headless:
	@$(BIN)/python -c 'import cv2' 2>&1 | tail -n 1
	@echo "OpenCV cannot open windows on this machine: its headless wheel is installed instead."
	@echo "All stages work, livedemo.py only with --headless. To have windows:"
	@echo "sudo apt-get install libgl1 libglib2.0-0, then make clean."
	$(BIN)/python -m pip uninstall -q -y opencv-contrib-python
	$(BIN)/python -m pip install -q --disable-pip-version-check \
		"$$(sed -n 's/^opencv-contrib-python/&-headless/p' requirements.txt)"
	$(BIN)/python -c 'import cv2'
