"""The trainers that methods of the table have: TRL's, given the rows and masks of the pre-flight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from training.arguments import refused
from training.base import load_model
from training.config import TrainingConfig
from training.data import to_dataset, to_pairs
from training.preflight import Checked
from training.progress import ProgressLine, progress_callback


def sft(checked: Checked, args: Any, line: ProgressLine) -> Any:
    """TRL's SFTTrainer, on the loaded base. Raises TrainingDataError where it refuses it."""
    from trl import SFTTrainer

    return _made(SFTTrainer, _answers, checked, args, line)


def dpo(checked: Checked, args: Any, line: ProgressLine) -> Any:
    """TRL's DPOTrainer, on the loaded base. Raises TrainingDataError where it refuses it.

    With an adapter, its reference is the same model with the adapter switched off.
    """
    from trl import DPOTrainer

    return _made(DPOTrainer, _pairs, checked, args, line)


def _made(
    kind: Any, rows: Callable[[Checked], tuple[Any, Any]], checked: Checked, args: Any, line: ProgressLine
) -> Any:
    from datasets.utils.logging import disable_progress_bar
    from peft import LoraConfig
    from transformers import PrinterCallback

    config = checked.config
    model = load_model(config, checked.base, bf16=args.bf16, device=args.device)
    disable_progress_bar()  # one for each step of TRL's preparation: noise beside our own line
    train, dev = rows(checked)
    try:
        trainer = kind(
            model=model,
            args=args,
            train_dataset=train,
            eval_dataset=dev,
            processing_class=checked.tokenizer,
            peft_config=None if config.lora is None else LoraConfig(task_type="CAUSAL_LM", **config.lora),
            callbacks=[progress_callback(line), *_stopping(config)],
        )
    except (ValueError, NotImplementedError) as error:
        raise refused(config, "", error) from None
    trainer.remove_callback(PrinterCallback)
    return trainer


def _answers(checked: Checked) -> tuple[Any, Any]:
    """(train, dev or None), tokenized and masked."""
    return to_dataset(checked.encoded), to_dataset(checked.dev) if checked.dev else None


def _pairs(checked: Checked) -> tuple[Any, Any]:
    """(train, dev or None), as pairs that TRL tokenizes."""
    return to_pairs(checked.mix.rows), to_pairs(checked.mix.dev) if checked.dev else None


def _stopping(config: TrainingConfig) -> list[Any]:
    from transformers import EarlyStoppingCallback

    return [] if config.early_stopping is None else [EarlyStoppingCallback(**config.early_stopping)]
