"""Documents a second of each builder, and tokens a second of the tokenizer; prints JSON.

Run: python -m tests.benchmarks.documents
"""

import json
import statistics
import time

import numpy as np

from data_tools.builders import make_builders
from data_tools.document_config import DocumentConfig
from data_tools.documents import texts_of
from tests.data_tools.recordings import drive
from worldmodel.tokenizer import TextTokenizer

NUM_REPEATS = 5
NUM_DOCUMENTS = 500


def main() -> None:
    """Time 500 documents of each kind, five times, on one core."""
    trajectories = [drive(500, seed=seed) for seed in range(20)]
    words = "The robot turns left and goes through the door to the other room. " * 200
    tokenizer = TextTokenizer.train([words], 1024)
    rng = np.random.default_rng(0)
    rates = {}
    for kind, builder in make_builders(trajectories, [words], DocumentConfig()).items():
        times_s, tokens_per_s = [], []
        for _ in range(NUM_REPEATS):
            start = time.perf_counter()
            documents = [builder.build(rng=rng) for _ in range(NUM_DOCUMENTS)]
            built = time.perf_counter()
            texts = [text.text for document in documents for text in texts_of(document)]
            num_tokens = sum(len(tokens) for tokens in tokenizer.encode_many(texts))
            times_s.append(built - start)
            tokens_per_s.append(num_tokens / (time.perf_counter() - built))
        rates[kind.value] = {
            "documents_per_s": NUM_DOCUMENTS / statistics.median(times_s),
            "text_tokens_per_s": statistics.median(tokens_per_s),
        }
    print(json.dumps(rates, indent=2))


if __name__ == "__main__":
    main()
