"""Causal training: tokens a second against a plain transformers + peft loop, step by step in turn.

    python bench/training.py --data-dir data --set nl2bash

Both train the same base (SmolLM2-135M-Instruct) on the same rows with the same precision, batch size, rank and
prompts, in one process. The plain loop takes random batches, pads them to their longest row, and computes the logits
of every token. Counted are real tokens, padding aside. Needs peft beside the train extra: pip install peft

    python bench/training.py --data-dir data --against qlora --base qwen2.5-coder-0.5b-instruct --precision bf16

holds the factory's base in 4 bits in place of the plain loop. Needs the qlora extra.
"""

import argparse
import copy
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from concertino import config
from concertino.config import SkillCard
from concertino.datasets.folder import Row
from concertino.models.store import Store
from concertino.recipe import Training

SETS = {
    "nl2bash": ("code/nl2bash.jsonl", "command", "Write one bash command that does what is asked."),
    "banking77": ("finance/banking77_train.jsonl", "label", "Name the intent of the customer's message."),
}
BASE = "smollm2-135m-instruct"


def main() -> None:
    arguments = read_arguments()
    import torch

    from concertino.training.gguf_base import load_base

    torch.set_num_threads(arguments.threads or len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    base = load_base(Store(config.load().home_path).resolve(arguments.base))
    examples, end = read_examples(arguments, base)
    rival = arguments.against
    make = plain_loop if rival == "plain" else four_bit_loop
    loops = {
        rival: make(copy.deepcopy(base.model), examples, end, arguments),
        "factory": factory_loop(base.model, examples, end, arguments),
    }
    for loop in loops.values():
        loop(0)  # warm-up, not counted
    spent = dict.fromkeys(loops, 0.0)
    read = dict.fromkeys(loops, 0)
    ratios = []
    for step in range(arguments.steps or -(-len(examples) // arguments.batch)):
        speeds = {}
        for name, loop in loops.items():
            begun = time.perf_counter()
            tokens, loss = loop(step)
            seconds = time.perf_counter() - begun
            spent[name] += seconds
            read[name] += tokens
            speeds[name] = tokens / seconds
            print(f"step {step} {name:<8} {tokens:>5} tokens {seconds:6.2f} s  loss {loss:.3f}", file=sys.stderr)
        ratios.append(speeds["factory"] / speeds[rival])
    speed = {name: read[name] / spent[name] for name in spent}
    print(
        f"{arguments.set}, {len(examples)} rows, batch {arguments.batch}, rank {arguments.rank}, "
        f"{torch.get_num_threads()} threads: {rival} {speed[rival]:.0f} tokens/s, factory {speed['factory']:.0f} "
        f"tokens/s, {speed['factory'] / speed[rival]:.2f} times (median of the steps {statistics.median(ratios):.2f})"
    )


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=os.environ.get("CONCERTINO_DATA_DIR"),
        help="folder with the public sets; default: $CONCERTINO_DATA_DIR",
    )
    parser.add_argument("--set", choices=sorted(SETS), default="nl2bash", help="rows of which public set")
    parser.add_argument("--base", default=BASE, help="model of the store")
    parser.add_argument("--against", choices=("plain", "qlora"), default="plain", help="the other loop")
    parser.add_argument("--rows", type=int, default=192, help="rows that are trained on")
    parser.add_argument("--batch", type=int, default=16, help="rows of a step")
    parser.add_argument("--rank", type=int, default=16, help="rank of the adapter")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of both loops")
    parser.add_argument("--steps", type=int, default=0, help="0 means one epoch")
    parser.add_argument("--threads", type=int, default=0, help="0 means the cores that this process may use")
    arguments = parser.parse_args()
    if arguments.data_dir is None:
        parser.error("give --data-dir or set CONCERTINO_DATA_DIR")
    return arguments


def read_examples(arguments: argparse.Namespace, base: Any) -> tuple[list[Any], int]:
    """Some rows of a set, drawn from all over it, as prompts and completions; and the token that ends a turn."""
    from concertino.training.causal_data import PromptFormat

    path, field, instruction = SETS[arguments.set]
    with (Path(arguments.data_dir) / path).open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    skill = SkillCard("bench", "", instruction)
    shape = PromptFormat(base.tokenizer, base.chat_template, base.eos_token, base.bos_token, skill)
    drawn = random.Random(7).sample(rows, arguments.rows)
    examples = [shape.example(Row(str(place), row["text"]), row[field]) for place, row in enumerate(drawn)]
    return [example for example in examples if len(example.ids) <= 256], shape.end


def plain_loop(model: Any, examples: list[Any], end: int, arguments: argparse.Namespace) -> Callable[[int], Any]:
    """What the documentation of transformers and peft leads to."""
    import torch
    from peft import LoraConfig, get_peft_model

    from concertino.training.lora import MODULES, put_in_bf16

    if arguments.precision == "bf16":
        put_in_bf16(model)  # peft makes its own matrices fp32 by itself
    wrapped = get_peft_model(
        model,
        LoraConfig(
            r=arguments.rank,
            lora_alpha=2 * arguments.rank,
            lora_dropout=0.0,
            target_modules=list(MODULES),
            task_type="CAUSAL_LM",
        ),
    )
    wrapped.train()
    parameters = [parameter for parameter in wrapped.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    order = list(range(len(examples)))
    random.Random(0).shuffle(order)

    def step(number: int) -> tuple[int, float]:
        start = number * arguments.batch % len(order)
        chosen = [examples[index] for index in order[start : start + arguments.batch]]
        longest = max(len(example.ids) for example in chosen)
        ids = torch.full((len(chosen), longest), end)
        mask = torch.zeros((len(chosen), longest), dtype=torch.long)
        labels = torch.full((len(chosen), longest), -100)
        for row, example in enumerate(chosen):
            size = len(example.ids)
            ids[row, :size] = torch.tensor(example.ids)
            mask[row, :size] = 1
            labels[row, example.prompt : size] = torch.tensor(example.ids[example.prompt :])
        loss = wrapped(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return int(mask.sum()), float(loss.detach())

    return step


def four_bit_loop(model: Any, examples: list[Any], end: int, arguments: argparse.Namespace) -> Callable[[int], Any]:
    """The steps of `concertino train` with `training.method: qlora`."""
    import torch

    from concertino.training.lora import in_four_bits

    in_four_bits(model, torch.device("cpu"))
    return factory_loop(model, examples, end, arguments)


def factory_loop(model: Any, examples: list[Any], end: int, arguments: argparse.Namespace) -> Callable[[int], Any]:
    """The steps of `concertino train`."""
    from concertino.training.causal_data import epoch_batches
    from concertino.training.causal_step import Machine, Trainee, make_optimizer
    from concertino.training.lora import attach, put_in_bf16

    if arguments.precision == "bf16":
        put_in_bf16(model)
    frozen = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    print(f"frozen weights: {frozen / 1e6:.0f} MB", file=sys.stderr)
    attach(model, arguments.rank, 2.0 * arguments.rank, 0.0, 0)
    trainee, machine = Trainee(model), Machine()
    trainee.train()
    parameters = [parameter for parameter in trainee.parameters() if parameter.requires_grad]
    optimizer = make_optimizer(parameters, Training(learning_rate=1e-3))
    batches = epoch_batches([len(example.ids) for example in examples], arguments.batch, 0, 0)

    def step(number: int) -> tuple[int, float]:
        batch = [examples[index] for index in batches[number % len(batches)]]
        loss = machine.step(trainee, optimizer, [batch], parameters, end)
        return sum(len(example.ids) for example in batch), loss

    return step


if __name__ == "__main__":
    main()
