"""A tiny random Llama with its own tokenizer, an adapter that changes its answers, and eval sets whose references are
what the two sides really answer: so every outcome of every gate can be had honestly, in a second on one core."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_ftgate.answers.engine.hf import HFEngine
from pytest_ftgate.answers.engine.hf_load import Settings
from pytest_ftgate.answers.stage import StageResult, Work, run_stage
from pytest_ftgate.evalset.loader import load_evalset
from pytest_ftgate.files.digests import base_digests, directory_digests, file_sha256
from pytest_ftgate.model.identity import Candidate, resolve_candidate
from pytest_ftgate.model.manifest import BaseRecord, Manifest, TrainingFile, write_manifest

SPECIAL = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SENTENCE = "the a red green blue small big car house tree is on under near old new say name which what number of"
WORDS = SENTENCE.split()
CONTEXT = 256
VOUCHED = ("adapter_config.json", "config.json", "*.safetensors")
"""Files whose digests a trainer records."""
N = 60
"""Examples in each eval set: enough to certify the bounds used here, few enough for a tenth of a second."""


def questions(n: int = N, seed: int = 0) -> list[str]:
    """Different questions of different lengths."""
    return [
        " ".join(WORDS[(i * 7 + j * 5 + seed) % len(WORDS)] for j in range(3 + i % 6)) + f" {i + seed}"
        for i in range(n)
    ]


def make_tokenizer(*, extra: Sequence[str] = (), template: str | None = TEMPLATE) -> Any:
    """Byte-level BPE whose alphabet is printable ASCII, so that random output is text one can read."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = "".join(chr(code) for code in range(33, 127)) + " "
    trainer = trainers.BpeTrainer(vocab_size=160, special_tokens=[*SPECIAL, *extra], show_progress=False)
    inner.train_from_iterator([alphabet, *questions(200)], trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|end|>", pad_token="<|pad|>", additional_special_tokens=list(SPECIAL[2:])
    )
    made.chat_template = template
    return made


def make_base(directory: Path, *, seed: int = 0, tokenizer: Any = None, **changes: Any) -> Path:
    """Hidden 32, 2 layers, untrained; weights large enough that its answers depend on the question."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tokenizer or make_tokenizer()
    torch.manual_seed(seed)
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": CONTEXT,
        "initializer_range": 0.4,
        "eos_token_id": 1,
        "pad_token_id": 0,
        "bos_token_id": None,
    }
    LlamaForCausalLM(LlamaConfig(**{**shape, **changes})).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def make_adapter(base: Path, directory: Path, *, seed: int = 1, std: float = 0.5, **changes: Any) -> Path:
    """A LoRA whose B is drawn at random: its effect is real, and large. `std=0` leaves it without one."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    settings: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj"]}
    model = AutoModelForCausalLM.from_pretrained(base)
    tuned = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **{**settings, **changes}))
    for name, parameter in tuned.named_parameters():
        if parameter.requires_grad and "lora_A" not in name:
            torch.nn.init.normal_(parameter, std=std)
    tuned.save_pretrained(directory)
    return directory


def record(adapter: Path, base: Path, training: Sequence[Path] = ()) -> Path:
    """The adapter with an ftgate.json, as the trainer would have written it."""
    files = tuple(TrainingFile(_relative(p, adapter), file_sha256(p), _rows(p)) for p in training)
    local = BaseRecord(base.name, _relative(base, adapter), None, base_digests(base))
    made = Manifest(1, local, files, None, 0, "lora", {}, {}, (), directory_digests(adapter, VOUCHED))
    return write_manifest(adapter, made).parent


def vouch(adapter: Path) -> None:
    """Let its ftgate.json, where it has one, stand for the files as they are now."""
    path = adapter / "ftgate.json"
    if path.is_file():
        content = json.loads(path.read_text(encoding="utf-8"))
        content["weights"] = directory_digests(adapter, VOUCHED)
        path.write_text(json.dumps(content), encoding="utf-8")


def _relative(path: Path, start: Path) -> str:
    return Path(os.path.relpath(path, start)).as_posix()


def _rows(path: Path) -> int:
    return sum(1 for line in path.read_text(encoding="utf-8").splitlines() if line)


def write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


HEAD = """\
version: 1
examples: {name}.jsonl
prompt: {{system: "Answer.", user: "{{q}}"}}
generation: {{max_new_tokens: 4}}
scorer: exact
"""
STOPPED = HEAD.replace("max_new_tokens: 4", "max_new_tokens: 24, stop: [e, a, i, o, u, n, s, t, r, A, E, B, C]")
"""As HEAD, with stop strings that even a random model soon writes: an answer that is cut off has no good format."""
BASELINES = """\
baselines:
  zero_shot: {system: "Answer now."}
  few_shot: {system: "Answer.", shots: {from: shots.jsonl, n: 2}}
"""
SHOTS = ({"q": "say the shot 900", "target": "tree"}, {"q": "name a shot 901", "target": "car"})


def write_evalset(
    folder: Path,
    name: str,
    gates: str,
    targets: Sequence[Any],
    *,
    head: str = HEAD,
    baselines: str = "",
    asked: Sequence[str] | None = None,
) -> Path:
    """`folder/name.eval.yaml`, its examples and shots. `gates` is the mapping in YAML flow style without its braces."""
    asked = questions(len(targets)) if asked is None else asked
    rows = [{"id": f"e{i}", "q": q, "target": t} for i, (q, t) in enumerate(zip(asked, targets, strict=True))]
    write_jsonl(folder / f"{name}.jsonl", rows)
    write_jsonl(folder / "shots.jsonl", [{"id": f"s{i}", **shot} for i, shot in enumerate(SHOTS)])
    path = folder / f"{name}.eval.yaml"
    lines = "".join(f"  {gate}\n" for gate in gates.split("; "))
    path.write_text(head.format(name=name) + baselines + "gates:\n" + lines, encoding="utf-8")
    return path


def settings(**changes: Any) -> Settings:
    return Settings(**{"device": "cpu", "dtype": "float32", "quantize": "none", "batch_size": 64, **changes})


def answer(path: Path, engine: HFEngine) -> StageResult:
    """Everything that the gates of one eval set need, generated."""
    evalset = load_evalset(path)
    kinds = tuple(gate.kind for gate in evalset.gates)
    return run_stage(
        [Work(evalset, kinds, ())], engine, store_root=None, store_key=None, cache="off", report=lambda _: None
    )


@dataclass(frozen=True)
class World:
    """A project folder: base/, runs/good/ with its ftgate.json, train.jsonl, evals/ whose gates all pass."""

    root: Path
    texts: Mapping[str, tuple[str, ...]]
    """What each system really answers to `questions()`, by system name."""

    @property
    def base(self) -> Path:
        return self.root / "base"

    @property
    def good(self) -> Path:
        return self.root / "runs" / "good"

    def candidate(self) -> Candidate:
        return resolve_candidate("runs/good", None, self.root)

    def copy(self, directory: Path) -> World:
        """The same project elsewhere, to be broken."""
        shutil.copytree(self.root, directory, dirs_exist_ok=True)
        return World(directory, self.texts)

    def targets(self, of: Callable[[int], Any], n: int = N) -> list[Any]:
        return [of(i) for i in range(n)]

    def bad_sets(self, folder: Path) -> None:
        """One eval set per way not to pass, named after it."""
        candidate, base, zero = (self.texts[name] for name in ("candidate", "base", "baseline:zero_shot"))
        wrong = ["never said"] * N
        half = [text if i % 2 else "never said" for i, text in enumerate(candidate)]
        write_evalset(folder, "format_fail", 'format: {regex: "[0-9]", min_rate: 0.9}', candidate)
        write_evalset(folder, "accuracy_fail", "accuracy: {min: 0.5}", wrong)
        write_evalset(folder, "accuracy_unsure", "accuracy: {min: 0.5}", half)
        write_evalset(folder, "beats_fail", "beats_baseline: {min_gain: 0.05}", zero, baselines=BASELINES)
        write_evalset(folder, "forgetting_fail", "forgetting: {max_drop: 0.1}", base)
        write_evalset(folder, "nothing_known", "forgetting: {max_drop: 0.1}", wrong)
        long = [*questions(N - 1), "tree " * CONTEXT]
        write_evalset(folder, "too_long", "accuracy: {min: 0.5}", candidate, asked=long)


def make_world(root: Path) -> World:
    """Build everything; references are generated once by the engine itself."""
    base = make_base(root / "base")
    train = write_jsonl(root / "train.jsonl", [{"prompt": f"train on {i}", "completion": "yes"} for i in range(20)])
    record(make_adapter(base, root / "runs" / "good"), base, [train])
    (root / "pyproject.toml").write_text("[tool.pytest.ini_options]\n", encoding="utf-8")
    gates = "accuracy: {min: 0.5}; beats_baseline: {min_gain: 0.05}; forgetting: {max_drop: 0.1}"
    draft = write_evalset(root / "draft", "draft", gates, ["x"] * N, baselines=BASELINES)
    engine = HFEngine(resolve_candidate("runs/good", None, root), settings())
    generations = answer(draft, engine).generations["draft"]
    shutil.rmtree(root / "draft")
    texts = {name: tuple(g.text.strip() for g in answers.values()) for name, answers in generations.items()}
    world = World(root, texts)
    evals = root / "evals"
    gates = "accuracy: {min: 0.5}; beats_baseline: {min_gain: 0.05}"
    write_evalset(evals, "target", gates, texts["candidate"], baselines=BASELINES)
    write_evalset(evals, "shape", 'format: {regex: "[ -~]*", min_rate: 0.9}', texts["candidate"], head=STOPPED)
    both = [[a, b] for a, b in zip(texts["candidate"], texts["base"], strict=True)]
    write_evalset(evals, "general", "forgetting: {max_drop: 0.1}", both)
    world.bad_sets(root / "bad")
    return world
