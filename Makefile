# The commands of this repository. Each makes .venv when it is missing.
PYTHON ?= python3
BIN := .venv/bin
# Nothing here may reach a public Hub: tokens and endpoints of the caller are dropped.
LOCAL := env -u HF_TOKEN -u HUGGING_FACE_HUB_TOKEN -u HF_ENDPOINT -u HF_HUB_OFFLINE \
	-u TRANSFORMERS_OFFLINE -u HUGGINGFACE_CO_STAGING -u MOXIN_HUB -u MOXIN_NAMESPACE MOXIN_HUB=local

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

.venv/ready: requirements.txt setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@
