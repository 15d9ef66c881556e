# The Python to build .venv with; `make PYTHON=python3.12 demo` takes another.
PYTHON ?= python3
VENV := .venv/bin/python
NODE_PACKAGES := axe-core@4.14.1 onnxruntime-web@1.30.0 puppeteer-core@24.43.1
NETWORKS := fsrcnn_x2 fsrcnn_x3 fsrcnn_x4 fsrcnn_s_x2 fsrcnn_s_x3 fsrcnn_s_x4

.PHONY: demo test lint extra fuzz soak data page pretrained exported report help clean clean-cache

demo: .venv/installed ## install into .venv and score the shipped weights on scikit-image's photographs (the default)
	$(VENV) validate.py --test-sets Samples --exp-name demo

# In two processes, whose idle threads must not wait in a busy loop: there are more of them than cores.
test: .venv/installed ## run the tests
	OMP_WAIT_POLICY=passive $(VENV) -m pytest -n 2 --dist worksteal

# Other runtimes, programs in an environment of their own and, if there is npm, packages for Node.
extra: .venv/extra ## install what the tests of the exported files and of the page need besides

lint: .venv/installed ## check the format and the style of the code
	$(VENV) -m ruff format --check .
	$(VENV) -m ruff check .
	$(VENV) -m mypy

fuzz: .venv/installed ## try 25,000 damaged pictures, weights and videos, and 2,000 command lines
	$(VENV) -m tests.fuzz

soak: .venv/installed ## kill trainings and batches at many moments, and run long ones, an hour
	$(VENV) -m tests.soak

data: .venv/installed ## download the image sets, or import them: make data SOURCE=folder
	$(VENV) prepare_dataset.py $(if $(SOURCE),--source $(SOURCE))

page: web/made/motorcycle.webm ## make the page and serve it to this machine alone: http://127.0.0.1:8000
	$(VENV) -m http.server --bind 127.0.0.1 --directory web

web/made/motorcycle.webm: .venv/installed export.py exports/wasm.py exports/page.py $(wildcard fsrcnn/*.py fsrcnn/native/*.py results/pretrained/*.safetensors)
	$(VENV) export.py --format wasm --output web/made
	$(VENV) export.py --format wasm --output web/made --variant fsrcnn_s
	$(VENV) -m exports.page

# After an interruption, the same command goes on. One network of each variant is trained from scratch, the others start
# from the convolutions of an earlier one; then each is fine-tuned on larger patches, and from there on compressed
# pictures, to the restoring weights.
pretrained: $(NETWORKS:%=pretrained-%) ## train the networks in results/pretrained again, hours on a CPU

BEFORE := results/pretrained/before_finetuning
pretrained-fsrcnn_x2 pretrained-fsrcnn_x4: pretrained-fsrcnn_x3
pretrained-fsrcnn_s_x3: pretrained-fsrcnn_s_x2
pretrained-fsrcnn_s_x4: pretrained-fsrcnn_s_x3
FLAGS_fsrcnn_x2 := --transfer-from $(BEFORE)/fsrcnn_x3.safetensors
FLAGS_fsrcnn_x4 := $(FLAGS_fsrcnn_x2)
FLAGS_fsrcnn_s_x3 := --transfer-from $(BEFORE)/fsrcnn_s_x2.safetensors
FLAGS_fsrcnn_s_x4 := --transfer-from $(BEFORE)/fsrcnn_s_x3.safetensors
# Patches of 160 HR pixels, about as at x3, where 52 LR pixels are 156: at x4, most of T91 is smaller than 52 LR pixels.
FINETUNING_fsrcnn_x4 := --patch-size 40
FINETUNING_fsrcnn_s_x2 := --steps 20000 --sampling uniform
FINETUNING_fsrcnn_s_x3 := --learning-rate 5e-3 --deconv-learning-rate 5e-3 --steps 200000 --validate-every 5000
FINETUNING_fsrcnn_s_x4 := --learning-rate 3e-3 --deconv-learning-rate 3e-3 $(FINETUNING_fsrcnn_x4)
RESTORING_fsrcnn_x3 := --steps 30000
RESTORING_fsrcnn_x4 := --steps 30000 $(FINETUNING_fsrcnn_x4)
RESTORING_fsrcnn_s_x2 := --learning-rate 3e-3 --deconv-learning-rate 3e-3
RESTORING_fsrcnn_s_x3 := $(RESTORING_fsrcnn_s_x2)
RESTORING_fsrcnn_s_x4 := $(FINETUNING_fsrcnn_s_x4)

# Trains with the exp_name $(1) and the flags $(2), then copies the results to $(3).safetensors and so on.
define train
$(VENV) train.py --exp-name $(1) --variant $(word 1,$(subst _x, ,$*)) --upscale-factor $(word 2,$(subst _x, ,$*)) $(2) \
    $(if $(wildcard results/$(1)/last.pth),--resume)
mkdir -p $(dir $(3))
cp results/$(1)/best.safetensors $(3).safetensors
cp results/$(1)/best.json $(3).json
cp results/$(1)/log.csv $(3).csv
endef

SHIPPED := results/pretrained
pretrained-%: .venv/installed
	$(call train,$*,$(FLAGS_$*),$(BEFORE)/$*)
	$(call train,$*_finetuned,--recipe default_finetune --transfer-from $(BEFORE)/$*.safetensors $(FINETUNING_$*),$(SHIPPED)/$*)
	$(call train,$*_restore,--recipe restore --transfer-from $(SHIPPED)/$*.safetensors $(RESTORING_$*),$(SHIPPED)/$*_restore)

# What is found in results/exported, made again for every shipped network.
exported: .venv/extra ## make the files for other programs in results/exported again
	for variant in fsrcnn fsrcnn_s; do \
	    for choice in "onnx --interface luma" "onnx --interface luma_full" "onnx --interface rgb" \
	        "onnx --interface pictures" ncnn mpv; do \
	        $(VENV) export.py --variant $$variant --format $$choice || exit 1; \
	    done; \
	done

report: .venv/installed ## score them on the test sets and write the tables of README.md and docs/, and the curves
	$(VENV) validate.py --exp-name pretrained --weights $(NETWORKS:%=results/pretrained/%.safetensors) --test-sets Set5 Set14 BSD100 Samples --ensemble
	$(VENV) -m benchmarks.report

.venv/installed: requirements.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 demo")'
	$(PYTHON) -m venv .venv
	$(VENV) -m pip install --quiet --disable-pip-version-check -r requirements.txt pytest pytest-timeout pytest-xdist hypothesis ruff mypy types-tqdm hatchling -c constraints.txt
	@touch $@

# The first Python 3.12 that runs, of PROGRAMS_PYTHON, the path and pyenv: VapourSynth's wheels need it.
PROGRAMS_PYTHON ?= $(firstword $(foreach python,python3.12 $(wildcard $(HOME)/.pyenv/versions/3.12*/bin/python3.12),$(shell $(python) -c "import sys; print(sys.executable)" 2>/dev/null)))

.venv/extra: .venv/installed requirements-extra.txt requirements-programs.txt
	@test -n "$(PROGRAMS_PYTHON)" || { echo "Python 3.12 is needed besides: make extra PROGRAMS_PYTHON=/path/to/python3.12" >&2; exit 1; }
	$(VENV) -m pip install --quiet --disable-pip-version-check -r requirements-extra.txt -c constraints.txt
	$(PROGRAMS_PYTHON) -m venv .venv/programs
	.venv/programs/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-programs.txt
	! command -v npm >/dev/null || npm install --prefix .venv --ignore-scripts --no-audit --no-fund --silent $(NODE_PACKAGES)
	@touch $@

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' Makefile

clean: ## remove .venv and the caches of its programs
	rm -rf .venv .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -r {} +

clean-cache: ## remove what trainings prepared from their pictures, data/.cache
	rm -rf data/.cache
