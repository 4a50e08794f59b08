"""`python -m training CONFIG.yaml` = `pytest-ftgate train CONFIG.yaml`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_ftgate.files.problems import Problem, TrainingDataError, told_once
from pytest_ftgate.files.wording import brief, shown
from training.config import TrainingConfig, load_config
from training.failed import TrainingFailed
from training.methods import names_where
from training.output import last_checkpoint, partial_dir, planned_warnings, require_free
from training.plot import PLOT_NAME

if TYPE_CHECKING:
    from training.preflight import Checked
    from training.prompt_first import Ladder

INPUT_ERROR, FAILED, NOT_NEEDED, INTERRUPTED = 4, 1, 3, 130

_NEEDED = ("torch", "transformers", "peft", "trl", "datasets", "accelerate", "safetensors")

_EXAMPLE = """\
A training file (keys as in TRL's SFTConfig and peft's LoraConfig; paths are relative to it):

  version: 1
  method: lora                    # or qlora: the base in 4 bits; or full: all weights
  base: {id: ../base}             # a directory; a hub id needs `revision:` with its 40-digit commit
  data:
    train: [train.jsonl]          # rows: messages, or prompt and completion
    replay: {files: [general.jsonl], share: 0.2}   # general rows against forgetting
  output_dir: runs/good
  lora: {r: 16, lora_alpha: 32}
  sft: {learning_rate: 2e-4, num_train_epochs: 3, max_length: 1024, seed: 0}

The loss is taken on the answer only (the last assistant turn). `--dry-run` checks the file and the rows, and shows
one row with what is trained of it. Then: pytest --ft-model=runs/good evals/

exit codes: 0 written (or checked) · 1 the run failed · 3 a prompt is enough · 4 an input cannot be used ·
130 interrupted
"""


def parser(prog: str) -> argparse.ArgumentParser:
    """The command line, under the name that the user typed."""
    made = argparse.ArgumentParser(
        prog=prog,
        description="Train a LoRA adapter (or a whole model), and record in ftgate.json what it was made from.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("config", type=Path, metavar="CONFIG.yaml", help="the training file")
    made.add_argument("--output-dir", type=Path, metavar="DIR", help="write here instead of the file's output_dir")
    made.add_argument("--seed", type=_seed, metavar="N", help="use this instead of the file's sft.seed")
    made.add_argument("--dry-run", action="store_true", help="check file and rows; load no model, write nothing")
    made.add_argument(
        "--teacher-only", action="store_true", help="method distill: write the teacher's answers, and stop"
    )
    made.add_argument("--overwrite", action="store_true", help="replace output_dir when the run has finished")
    made.add_argument("--no-ladder", action="store_true", help="train also where a prompt may do; this is recorded")
    made.add_argument("--resume", action="store_true", help="continue an interrupted run from its last checkpoint")
    return made


def _seed(text: str) -> int:
    if not text.isdigit() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to {2**32 - 1}, found {text[:20]!r}")
    return int(text)


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m training") -> int:
    """Run one training file; returns the exit code."""
    try:
        options = parser(prog).parse_args(argv)
    except SystemExit as done:  # argparse exits with 2 on misuse; misuse is 4 everywhere in this project
        return INPUT_ERROR if done.code else 0
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        print(f'{prog}: needs {", ".join(missing)}: pip install "pytest-ftgate[train]"', file=sys.stderr)
        return INPUT_ERROR
    try:
        return _train(options)
    except TrainingDataError as error:
        for problem in told_once(error.problems):
            print(f"error: {problem}", file=sys.stderr)
        return INPUT_ERROR
    except TrainingFailed as error:
        print(f"failed: {error}", file=sys.stderr)
        return FAILED
    except OSError as error:
        where = f": {brief(str(error.filename))}" if error.filename else ""
        print(f"failed: {error.strerror or brief(str(error))}{where}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("\ninterrupted: nothing was written", file=sys.stderr)
        return INTERRUPTED


def _train(options: argparse.Namespace) -> int:
    config = load_config(options.config, output_dir=options.output_dir, seed=options.seed)
    if config.quantization is not None and find_spec("bitsandbytes") is None:
        print('error: a base in 4 bits needs bitsandbytes: pip install "pytest-ftgate[train]"', file=sys.stderr)
        return INPUT_ERROR
    _quiet()
    from training.device import find_device, require_memory
    from training.preflight import check, describe
    from training.train import train

    first = os.environ.get("RANK", "0") == "0"  # set by `accelerate launch` for each process
    if not options.dry_run:
        require_free(config, overwrite=options.overwrite, resume=options.resume)
    if options.teacher_only or config.row.has_teacher:
        answered = _answered(config, options)
        if answered is None:
            return 0
        config = answered
    checked = check(config)
    if first:
        print(_heading(config), describe(checked), sep="\n", flush=True)
    if options.dry_run:
        device = find_device()
        print(f"device   {device}")
        require_memory(checked, device, bf16=device.bf16)
        print("dry run: nothing was trained or written")
        return 0
    ladder = _climbed(checked, options)
    if ladder.enough:
        print(f"not trained: a prompt is enough. To train all the same: --no-ladder ({shown(config.path)})")
        return NOT_NEEDED
    checked = replace(checked, warnings=(*checked.warnings, *ladder.notes))
    if first and not ladder.said:
        print(*(f"warning  {text}" for text in ladder.notes), sep="\n", end="\n" if ladder.notes else "", flush=True)
    try:
        finished = train(checked, overwrite=options.overwrite, resume=options.resume)
    except KeyboardInterrupt:
        checkpoint = last_checkpoint(config)
        then = f"; --resume continues from {checkpoint.name}" if checkpoint else ""
        print(f"\ninterrupted: no adapter was written{then}", file=sys.stderr)
        if first and (partial_dir(config) / PLOT_NAME).is_file():
            print(f"the loss so far: {shown(partial_dir(config) / PLOT_NAME)}", file=sys.stderr)
        return INTERRUPTED
    if first:
        for text in finished.warnings[len(checked.warnings) :]:
            print(f"warning  {text}")
        where, what = shown(finished.output_dir), "model" if config.lora is None else "adapter"
        print(f"loss     {finished.first_loss:.4f} -> {finished.last_loss:.4f} in {finished.steps} steps")
        if kept := finished.kept:
            early = f", stopped early (of {kept['max_steps']})" if kept["stopped_early"] else ""
            print(f"kept     step {kept['step']}: dev loss {kept['eval_loss']:.4f}, the lowest{early}")
        print(f"wrote    {where} ({what}, tokenizer, training_log.json, {PLOT_NAME}, ftgate.json)")
        print(f"next     pytest --ft-model={where} evals/")
    return 0


def _climbed(checked: Checked, options: argparse.Namespace) -> Ladder:
    """The ladder of the eval sets; not asked on request, nor again of a run that goes on: its record stands."""
    from training.leaks import load_evalsets
    from training.prompt_first import Ladder, climb

    if options.resume:
        before = planned_warnings(checked.config)
        return Ladder(False, tuple(text for text in before if text.startswith("ladder: ")), said=True)
    if options.no_ladder:
        return Ladder(False, ("ladder: not climbed (--no-ladder)",))
    return climb(load_evalsets(checked.config), checked.base)


def _answered(config: TrainingConfig, options: argparse.Namespace) -> TrainingConfig | None:
    """The run with its teacher's answers as rows; None where there is nothing more to do."""
    from training.teacher import distilled

    if not config.row.has_teacher:
        having = names_where(lambda row: row.has_teacher)
        what = f"expected --teacher-only only with method {having}, found it with method {config.method}"
        raise TrainingDataError([Problem(shown(config.path), None, "method", what, "leave the option out")])

    def tell(done: int, of: int) -> None:
        print(f"teacher  {done}/{of} prompts answered", file=sys.stderr, flush=True)

    found = distilled(config, generate=not options.dry_run, tell=tell)
    if found is None:
        print("dry run: the teacher has not answered yet, so there are no rows to check (--teacher-only asks it)")
        return None
    if os.environ.get("RANK", "0") == "0":
        print(f"teacher  {found.said}")
    return None if options.teacher_only else found.config


def _heading(config: TrainingConfig) -> str:
    revision = f" at {config.base.revision}" if config.base.revision else ""
    return f"train    {config.method} on {config.base.id}{revision}, seed {config.seed}, to {shown(config.output_dir)}"


def _quiet() -> None:
    """No telemetry, and no library chatter: what matters is checked and said here."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.simplefilter("ignore", FutureWarning)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    from transformers.utils.logging import disable_progress_bar

    if not sys.stderr.isatty():
        disable_progress_bar()


if __name__ == "__main__":
    sys.exit(main())
