"""Rows for the speed measurement, and one measurement in a process of its own (for its CPU time and memory).

python -m benchmarks.overlap_speed TRAIN.jsonl N_EXAMPLES WORKERS
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from benchmarks.overlap_language import QUESTIONS, Language
from pytest_ftgate.rows.overlap import Item, OverlapOptions, find_overlaps

PLANTED = 20  # one example in this many stands in the rows


def write_rows(path: Path, n_rows: int, items: list[Item]) -> float:
    """Write chat rows of about 75 tokens, with copies of some items. Returns tokens per row."""
    language, rng = Language(3), random.Random(3)
    bank = [language.text(1, language.topic()) for _ in range(60_000)]
    planted = iter(items[::PLANTED])
    tokens = 0
    with path.open("w", encoding="utf-8") as stream:
        for i in range(n_rows):
            item = next(planted, None) if i % 50 == 25 else None
            question = item.input if item else " ".join(rng.choices(bank, k=rng.randint(3, 5)))
            answer = item.output if item else " ".join(rng.choices(bank, k=rng.randint(1, 2)))
            tokens += len(f"{question} {answer}".split())
            turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            stream.write(json.dumps({"id": i, "messages": turns}) + "\n")
    return tokens / n_rows


def examples(n: int) -> list[Item]:
    """Examples of the same language as the rows."""
    language = Language(3)
    items = []
    for i in range(n):
        topic = language.topic()
        text = f"{language.text(4, topic)} {language.fill(QUESTIONS[2], topic)[0]}"
        items.append(Item(f"e{i}", text, language.text(1, topic)))
    return items


def measure(path: Path, n_examples: int, workers: int) -> dict[str, float]:
    """CPU seconds (all processes), wall seconds, peak MiB of the largest process, leaks found; in a new process."""
    return _run(["ours", str(path), str(n_examples), str(workers)])


def scikit_learn(path: Path, n_examples: int) -> dict[str, dict[str, float]]:
    """The same rows through two vectorizers and a sparse product, and through datasketch where it is installed."""
    return {name: _in_new_process(name, path, n_examples) for name in COMPARED if _is_there(name)}


def _is_there(name: str) -> bool:
    return name != "datasketch" or importlib.util.find_spec("datasketch") is not None


def _in_new_process(name: str, path: Path, n_examples: int) -> dict[str, float]:
    return _run([name, str(path), str(n_examples)])


def _vectorized(path: Path, n_examples: int, analyzer: str, order: int) -> int:
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(analyzer=analyzer, ngram_range=(order, order), norm="l2", alternate_sign=False)
    asked = vectorizer.transform([i.input for i in examples(n_examples)]).T.tocsr()
    pairs = 0
    for block in _blocks(path):
        similar = vectorizer.transform(block) @ asked
        pairs += int((similar.data >= 0.5).sum())
    return pairs


def _minhash(path: Path, n_examples: int) -> int:
    from datasketch import MinHash, MinHashLSH

    def sketch(text: str) -> MinHash:
        words = text.lower().split()
        found = MinHash(num_perm=128)
        found.update_batch([" ".join(words[i : i + 5]).encode() for i in range(max(len(words) - 4, 1))])
        return found

    lsh = MinHashLSH(threshold=0.5, num_perm=128)
    for item in examples(n_examples):
        lsh.insert(item.id, sketch(item.input))
    return sum(len(lsh.query(sketch(text))) for block in _blocks(path) for text in block)


def _blocks(path: Path) -> Iterator[list[str]]:
    with path.open(encoding="utf-8") as stream:
        while lines := list(islice(stream, 1000)):
            yield [json.loads(line)["messages"][0]["content"] for line in lines]


COMPARED: dict[str, Callable[[Path, int], int]] = {
    "scikit-learn, word 3-grams": lambda path, n: _vectorized(path, n, "word", 3),
    "scikit-learn, char 4-grams": lambda path, n: _vectorized(path, n, "char", 4),
    "datasketch": _minhash,
}


def _ours(path: Path, n_examples: int, workers: int) -> int:
    report = find_overlaps(examples(n_examples), [path], options=OverlapOptions(workers=workers))
    return len(report.leaks)


def _run(arguments: list[str]) -> dict[str, float]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.overlap_speed", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """One measurement, as JSON on standard output."""
    name, path, n_examples = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    before, began = _cpu(), time.monotonic()
    found = _ours(path, n_examples, int(sys.argv[4])) if name == "ours" else COMPARED[name](path, n_examples)
    peak = max(_peak(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    print(json.dumps({"cpu": _cpu() - before, "wall": time.monotonic() - began, "mib": peak / 1024, "found": found}))


def _peak() -> int:
    """KiB at most resident since this program began (ru_maxrss would include the process that started it)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _cpu() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


if __name__ == "__main__":
    main()
