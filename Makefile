# The commands of this repository. Each makes .venv when it is missing.
PYTHON ?= python3
BIN := .venv/bin
# Python compiles what is imported, at its first import, and not all 20,000 files of the libraries.
PIP := $(BIN)/python -m pip install --quiet --no-compile
UV := .venv/uv/bin/uv
# Nothing here may reach a public Hub: tokens and endpoints of the caller are dropped.
LOCAL := env -u HF_TOKEN -u HUGGING_FACE_HUB_TOKEN -u HF_ENDPOINT -u HF_HUB_OFFLINE \
	-u TRANSFORMERS_OFFLINE -u HUGGINGFACE_CO_STAGING -u MOXIN_HUB -u MOXIN_NAMESPACE \
	-u PYTHONDONTWRITEBYTECODE MOXIN_HUB=local

.PHONY: demo test lint bench soak look

demo: .venv/ready
	@$(LOCAL) $(BIN)/moxin run recipes/moxin-nano --hub local

test: .venv/ready
	$(LOCAL) $(BIN)/python -m pytest -m "not soak" --numprocesses 2 --dist loadscope tests

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/ready
	$(LOCAL) $(BIN)/python -m bench

soak: .venv/ready
	$(LOCAL) $(BIN)/python -m pytest -m soak tests

look: .venv/ready
	PYTHONPATH=.:tests/moxin_hub $(LOCAL) $(BIN)/python tests/moxin_hub/look.py $(HUB)

# The rest comes by uv, which takes a fraction of pip's time, or by pip where uv cannot be had. These
# two are pip's: torch may lie on the disk, where only pip looks, and of multiprocess uv takes a wheel
# for another Python. uv itself stays out of the packages.
.venv/ready: requirements.txt setup.cfg pyproject.toml
	@[ ! -e .venv/unfinished ] || rm -r .venv # a killed set-up leaves halves of packages
	$(PYTHON) -m venv .venv
	@touch .venv/unfinished
	$(PIP) --constraint requirements.txt torch multiprocess
	($(PIP) --target .venv/uv uv==0.13.9 \
		&& $(UV) pip install --quiet --python $(BIN)/python --requirement requirements.txt) \
		|| $(PIP) --requirement requirements.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	@mv .venv/unfinished $@
