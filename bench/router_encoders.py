"""Which encoder should the router's linear head stand on? One run, the same splits for all.

    python bench/router_encoders.py --data-dir DIR --base-model DIR [--out DIR]

Contenders: the majority class; a static embedding distilled from MiniLM and tuned (numpy alone at serving time);
frozen MiniLM in llama.cpp, and through ONNX Runtime in float32 and int8, each under a logistic head; k nearest
neighbours on the frozen embedding; and the shipped router (MiniLM tuned end to end, int8). Each contender is timed in
a process of its own. Writes `router_encoders.json` and prints a Markdown table. Needs the `train` extra.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from concertino.router.encoder import clip, window
from concertino.router.linear import SHIPPED, LinearRouter
from concertino.training.routing.data import CLASSES, Row, load_splits
from concertino.training.routing.export import Precision, write_encoder
from concertino.training.routing.figures import figures, fit_temperature, fit_threshold
from concertino.training.routing.tune import draw_epoch

CONTENDERS = ("static", "llamacpp", "onnx_float32", "onnx_int8", "knn", "tuned_int8")
TITLES = {
    "majority": "majority class",
    "static": "static embedding, distilled and tuned (numpy)",
    "llamacpp": "MiniLM frozen, llama.cpp f16, logistic head",
    "onnx_float32": "MiniLM frozen, ONNX Runtime float32, logistic head",
    "onnx_int8": "MiniLM frozen, ONNX Runtime int8, logistic head",
    "knn": "MiniLM frozen, ONNX Runtime int8, 20 nearest neighbours",
    "tuned_int8": "MiniLM tuned end to end, ONNX Runtime int8 (shipped)",
}
SHORT = "How do I reverse a linked list without recursion?"
NEIGHBOURS = 20
GENERAL = CLASSES.index("general")

Embed = Callable[[list[str]], np.ndarray]


def tokenizer_of(folder: Path) -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def open_static(work: Path, base: Path) -> Embed:
    tokenizer, table = tokenizer_of(base), np.load(work / "static.npy", mmap_mode="r")

    def embed(texts: list[str]) -> np.ndarray:
        rows = []
        for text in texts:
            ids = tokenizer.encode(clip(text), add_special_tokens=False).ids or [100]
            mean = np.asarray(table[ids], dtype=np.float32).mean(axis=0)
            rows.append(mean / (np.linalg.norm(mean) + 1e-9))
        return np.stack(rows)

    return embed


def open_llamacpp(work: Path, base: Path) -> Embed:
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(work / "minilm.gguf")
    parameters.embedding = True
    parameters.n_ctx = 2048
    parameters.n_batch = parameters.n_ubatch = 2048
    parameters.n_parallel = 4
    parameters.cpuparams.n_threads = 2
    parameters.cpuparams_batch.n_threads = 2
    parameters.warmup = False
    server = xllamacpp.Server(parameters)
    tokenizer = tokenizer_of(base)

    def embed(texts: list[str]) -> np.ndarray:
        rows = []
        for start in range(0, len(texts), 16):
            group = [
                tokenizer.decode(window(tokenizer.encode(clip(text)).ids)[1:-1]) or "."
                for text in texts[start : start + 16]
            ]
            answer = server.handle_embeddings({"input": group, "model": "minilm"})
            answer = json.loads(answer) if isinstance(answer, str | bytes) else answer
            rows += [item["embedding"] for item in sorted(answer["data"], key=lambda item: item["index"])]
        vectors = np.array(rows, dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    return embed


def open_onnx(work: Path, base: Path, precision: Precision) -> Embed:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    session = ort.InferenceSession(str(work / f"minilm_{precision}.onnx"), options)
    tokenizer, table = tokenizer_of(base), np.load(work / "tokens.npy", mmap_mode="r")
    positions = np.load(work / "positions.npy")

    def one(text: str) -> np.ndarray:
        ids = window(tokenizer.encode(clip(text)).ids)
        return session.run(["vector"], {"summed": (table[ids] + positions[: len(ids)])[None]})[0][0]

    def embed(texts: list[str]) -> np.ndarray:
        if len(texts) == 1:
            return one(texts[0])[None]
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(2) as pool:
            return np.stack(list(pool.map(one, texts)))

    return embed


def open_scores(name: str, work: Path, base: Path) -> Callable[[list[str]], np.ndarray]:
    """Texts -> logits, `[texts, classes]`, of a contender built before."""
    if name == "tuned_int8":
        router = LinearRouter()
        return lambda texts: np.log(np.maximum(router.probabilities(texts), 1e-30))
    embed = open_embed(name, work, base)
    head = np.load(work / f"{name}_head.npz")
    if name == "knn":

        def nearest(texts: list[str]) -> np.ndarray:
            likeness = embed(texts) @ head["vectors"].T
            top = np.argpartition(-likeness, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
            votes = np.stack(
                [(np.take_along_axis(likeness, top, 1) * (head["labels"][top] == c)).sum(1) for c in range(5)], 1
            )
            return np.log(votes / votes.sum(axis=1, keepdims=True) + 1e-3)

        return nearest
    return lambda texts: embed(texts) @ head["weight"] + head["bias"]


def open_embed(name: str, work: Path, base: Path) -> Embed:
    if name == "static":
        return open_static(work, base)
    if name == "llamacpp":
        return open_llamacpp(work, base)
    return open_onnx(work, base, Precision.FLOAT if name == "onnx_float32" else Precision.INT8)


def files_of(name: str, work: Path, base: Path) -> list[Path]:
    tokenizer, graph = (
        base / "tokenizer.json",
        f"minilm_{Precision.FLOAT if name == 'onnx_float32' else Precision.INT8}.onnx",
    )
    return {
        "static": [work / "static.npy", tokenizer],
        "llamacpp": [work / "minilm.gguf"],
        "tuned_int8": [path for path in SHIPPED.iterdir() if path.is_file()],
    }.get(name, [work / graph, work / "tokens.npy", tokenizer])


def build_shared(work: Path, base: Path) -> None:
    """MiniLM's graph in both precisions, its token table, and its GGUF."""
    from safetensors.numpy import load_file

    arrays = {name.removeprefix("bert."): value for name, value in load_file(base / "model.safetensors").items()}
    for precision in Precision:
        write_encoder(arrays, (np.zeros((384, 5)), np.zeros(5)), work / f"minilm_{precision}.onnx", precision)
    np.save(work / "tokens.npy", arrays["embeddings.word_embeddings.weight"])
    positions = arrays["embeddings.position_embeddings.weight"] + arrays["embeddings.token_type_embeddings.weight"][0]
    np.save(work / "positions.npy", positions)
    write_gguf(arrays, base, work / "minilm.gguf")


def write_gguf(arrays: dict[str, np.ndarray], base: Path, path: Path) -> None:
    """MiniLM as llama.cpp reads it: matrices in f16, vectors in f32, WordPiece tokens in llama.cpp's spelling."""
    import gguf

    names = {
        "attention.self.query": "attn_q", "attention.self.key": "attn_k", "attention.self.value": "attn_v",
        "attention.output.dense": "attn_output", "attention.output.LayerNorm": "attn_output_norm",
        "intermediate.dense": "ffn_up", "output.dense": "ffn_down", "output.LayerNorm": "layer_output_norm",
    }  # fmt: skip
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_name("all-MiniLM-L6-v2")
    writer.add_context_length(512)
    writer.add_embedding_length(384)
    writer.add_feed_forward_length(1536)
    writer.add_block_count(6)
    writer.add_head_count(12)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    tokens = (base / "vocab.txt").read_text(encoding="utf-8").splitlines()
    special = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    writer.add_tokenizer_model("bert")
    writer.add_token_list(
        [
            t if t in special or t.startswith("[unused") else t[2:] if t.startswith("##") else "\u2581" + t
            for t in tokens
        ]
    )
    writer.add_token_types([3 if t in special else 1 for t in tokens])
    writer.add_token_type_count(2)
    writer.add_bos_token_id(101)
    writer.add_eos_token_id(102)
    writer.add_unk_token_id(100)
    writer.add_sep_token_id(102)
    writer.add_pad_token_id(0)
    for source, target in (
        ("embeddings.word_embeddings.weight", "token_embd.weight"),
        ("embeddings.position_embeddings.weight", "position_embd.weight"),
        ("embeddings.token_type_embeddings.weight", "token_types.weight"),
        ("embeddings.LayerNorm.weight", "token_embd_norm.weight"),
        ("embeddings.LayerNorm.bias", "token_embd_norm.bias"),
    ):
        half = source.endswith("word_embeddings.weight")
        writer.add_tensor(target, arrays[source].astype(np.float16 if half else np.float32))
    for layer in range(6):
        for source, target in names.items():
            weight, bias = (arrays[f"encoder.layer.{layer}.{source}.{kind}"] for kind in ("weight", "bias"))
            writer.add_tensor(f"blk.{layer}.{target}.weight", weight.astype(np.float16) if weight.ndim == 2 else weight)
            writer.add_tensor(f"blk.{layer}.{target}.bias", bias)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def build_static(work: Path, base: Path, texts: list[str], labels: np.ndarray) -> None:
    """What MiniLM says of each token alone, reduced to 128 dimensions, then tuned as a bag of tokens with a head."""
    import torch
    from sklearn.decomposition import PCA

    torch.manual_seed(7)
    torch.set_num_threads(2)
    tokenizer, table = tokenizer_of(base), np.load(work / "tokens.npy")
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(work / f"minilm_{Precision.INT8}.onnx"), options)
    positions = np.load(work / "positions.npy")[:3]
    alone = np.stack(
        [
            session.run(["vector"], {"summed": (table[[101, token, 102]] + positions)[None]})[0][0]
            for token in range(len(table))
        ]
    )
    reduced = PCA(128, random_state=7).fit_transform(alone).astype(np.float32)
    ids = [tokenizer.encode(clip(text), add_special_tokens=False).ids or [100] for text in texts]
    bag = torch.nn.EmbeddingBag.from_pretrained(torch.tensor(reduced), freeze=False, mode="mean")
    head = torch.nn.Linear(128, len(CLASSES))
    optimizer = torch.optim.Adam([{"params": bag.parameters(), "lr": 1e-3}, {"params": head.parameters(), "lr": 1e-2}])
    truth, order = torch.tensor(labels), list(range(len(ids)))
    for epoch in range(4):
        random.Random(epoch).shuffle(order)
        for start in range(0, len(order), 128):
            part = order[start : start + 128]
            flat = torch.tensor([token for place in part for token in ids[place]])
            offsets = torch.tensor(np.cumsum([0, *(len(ids[place]) for place in part)])[:-1])
            logits = 16 * head(torch.nn.functional.normalize(bag(flat, offsets)))
            loss = torch.nn.functional.cross_entropy(logits, truth[part], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    np.save(work / "static.npy", bag.weight.detach().numpy().astype(np.float16))
    weight, bias = 16 * head.weight.detach().numpy().T, 16 * head.bias.detach().numpy()
    np.savez(work / "static_head.npz", weight=weight, bias=bias)


def fit_head(name: str, work: Path, vectors: np.ndarray, labels: np.ndarray) -> None:
    from sklearn.linear_model import LogisticRegression

    if name == "knn":
        np.savez(work / "knn_head.npz", vectors=vectors, labels=labels)
        return
    model = LogisticRegression(C=10.0, max_iter=500).fit(vectors, labels)
    np.savez(
        work / f"{name}_head.npz", weight=model.coef_.T.astype(np.float32), bias=model.intercept_.astype(np.float32)
    )


def probe(name: str, work: Path, base: Path) -> None:
    """In a fresh process: time one text and a batch, and read the resident memory. Prints JSON."""
    start = time.perf_counter()
    scores = open_scores(name, work, base)
    scores([SHORT])
    loaded = time.perf_counter() - start
    for _ in range(20):
        scores([SHORT])
    taken = []
    for _ in range(300):
        start = time.perf_counter()
        scores([SHORT])
        taken.append(time.perf_counter() - start)
    texts = json.loads((work / "batch.json").read_text())
    start = time.perf_counter()
    scores(texts)
    rate = len(texts) / (time.perf_counter() - start)
    status = Path("/proc/self/status").read_text()
    resident = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024
    p50, p99 = (float(np.percentile(taken, q)) * 1e3 for q in (50, 99))
    print(
        json.dumps({"p50_ms": p50, "p99_ms": p99, "texts_per_second": rate, "load_s": loaded, "resident_mb": resident})
    )


def sample(rows: tuple[Row, ...], per_source: int) -> list[Row]:
    rng = random.Random(11)
    by_source: dict[str, list[Row]] = {}
    for row in rows:
        by_source.setdefault(row.source, []).append(row)
    return [row for _, group in sorted(by_source.items()) for row in rng.sample(group, min(per_source, len(group)))]


def measure(
    name: str, work: Path, base: Path, parts: dict[str, list[Row]], drawn: list[tuple[str, int]]
) -> dict[str, Any]:
    scores = open_scores(name, work, base)
    logits, truth = scores([text for text, _ in drawn]), np.array([label for _, label in drawn])
    temperature = fit_temperature(logits, truth)

    def probabilities(values: np.ndarray) -> np.ndarray:
        powers = np.exp((values - values.max(axis=1, keepdims=True)) / temperature)
        return powers / powers.sum(axis=1, keepdims=True)

    threshold = fit_threshold(probabilities(logits), truth, GENERAL)
    result: dict[str, Any] = {"temperature": temperature, "threshold": threshold}
    for part, rows in parts.items():
        judged = figures(
            probabilities(scores([row.text for row in rows])), [row.label for row in rows], CLASSES, threshold,
            [row.source for row in rows],
        )  # fmt: skip
        result[part] = {
            key: getattr(judged, key)
            for key in ("accuracy", "balanced_accuracy", "macro_f1", "ece", "auroc", "abstained")
        }
    return result


def table(results: dict[str, dict[str, Any]]) -> str:
    lines = [
        "| encoder | test | exam | exam ECE | exam AUROC | one text p50 / p99 ms | texts/s | disk MB | resident MB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, r in results.items():
        line = f"| {TITLES[name]} | {r['test']['accuracy']:.3f} | {r['exam']['accuracy']:.3f} |"
        if name == "majority":
            lines.append(line + " | | | | | |")
            continue
        lines.append(
            f"{line} {r['exam']['ece']:.3f} | {r['exam']['auroc']:.3f} | {r['p50_ms']:.2f} / {r['p99_ms']:.2f} |"
            f" {r['texts_per_second']:.0f} | {r['disk_mb']:.1f} | {r['resident_mb']:.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=os.environ.get("CONCERTINO_DATA_DIR"),
        help="folder with the public sets; default: $CONCERTINO_DATA_DIR",
    )
    parser.add_argument("--base-model", type=Path, required=True, help="Hugging Face folder of all-MiniLM-L6-v2")
    parser.add_argument("--out", type=Path, default=Path("router-encoders"), help="folder for what is made")
    parser.add_argument("--exam", type=int, default=1200, help="how many exam questions, drawn with a seed")
    parser.add_argument("--per-class", type=int, default=900, help="texts a domain that the frozen heads are fitted on")
    parser.add_argument("--probe", choices=CONTENDERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    work, base = arguments.out, arguments.base_model
    if arguments.probe:
        probe(arguments.probe, work, base)
        return
    work.mkdir(parents=True, exist_ok=True)
    splits = load_splits(Path(arguments.data_dir), lambda message: print(message, file=sys.stderr))
    rng = random.Random(7)
    train, calibration = draw_epoch(splits.train, arguments.per_class, rng), draw_epoch(splits.calibration, 150, rng)
    texts, labels = [text for text, _ in train], np.array([label for _, label in train])
    parts = {"test": sample(splits.test, 60), "exam": random.Random(5).sample(list(splits.exam), arguments.exam)}
    short = [row.text for row in parts["test"] if len(row.text) < 200]
    (work / "batch.json").write_text(json.dumps(short[:1000]))
    build_shared(work, base)
    guesses = {part: sum(row.label == "general" for row in rows) / len(rows) for part, rows in parts.items()}
    results: dict[str, dict[str, Any]] = {"majority": {part: {"accuracy": share} for part, share in guesses.items()}}
    vectors = np.empty(0)
    for name in CONTENDERS:
        print(f"{name} ...", file=sys.stderr)
        if name == "static":
            build_static(work, base, texts, labels)
        elif name != "tuned_int8":
            if name != "knn":  # which stands on the same vectors as the contender before it
                vectors = open_embed(name, work, base)(texts)
            fit_head(name, work, vectors, labels)
        results[name] = measure(name, work, base, parts, calibration)
        command = [sys.executable, __file__, "--probe", name, "--base-model", str(base), "--out", str(work)]
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        results[name] |= json.loads(answer.strip().splitlines()[-1])
        results[name]["disk_mb"] = sum(path.stat().st_size for path in files_of(name, work, base)) / 1e6
        (work / "router_encoders.json").write_text(json.dumps(results, indent=2))
    print(table(results))
    # llama.cpp's threads may outlive its server object; everything is written, so leave without waiting for them.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
