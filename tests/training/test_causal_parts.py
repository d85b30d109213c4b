"""The parts of causal training, each against an independent way to the same numbers."""

import math
import random
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from concertino.config import SkillCard
from concertino.datasets.folder import Row
from concertino.errors import DiskFull, TrainingRefused
from concertino.recipe import Metric
from tests.training import tiny

pytest.importorskip("torch")
pytestmark = pytest.mark.train

SKILL = SkillCard("kind", "Which pet it is", "Name the pet.", ("cat", "dog", "donkey", "do"), max_tokens=8)


def format_of(base: Any, skill: SkillCard = SKILL) -> Any:
    from concertino.training.causal_data import PromptFormat

    return PromptFormat(base.tokenizer, base.chat_template, base.eos_token, base.bos_token, skill)


@pytest.fixture
def base(tmp_path: Path) -> Any:
    from concertino.training.gguf_base import load_base

    return load_base(tiny.write_base(tmp_path / "base.gguf"))


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_a_dequantised_base_speaks_as_llama_cpp_does(tmp_path: Path, architecture: str) -> None:
    from concertino.training.causal_check import equal_share, served_answers
    from concertino.training.causal_generate import greedy
    from concertino.training.gguf_base import load_base

    loaded = load_base(tiny.write_base(tmp_path / "base.gguf", architecture))
    free = SkillCard("say", "", "Say something.", max_tokens=6)
    asked = format_of(loaded, free)
    texts = [row.text for row in tiny.pets(12)]
    said = greedy(_forward(loaded.model), [asked.encode(text) for text in texts], asked.end, 6)
    served = served_answers(tmp_path / "base.gguf", None, free, texts, 256, 1)
    assert equal_share([asked.decode(ids) for ids in said], served) > 0.9


def _forward(model: Any) -> Any:
    return lambda ids, **options: model(input_ids=ids, **options)


def test_logits_at_supervised_places_give_the_loss_of_all_logits(base: Any) -> None:
    import torch

    from concertino.training.causal_step import Trainee, supervision, tensors

    asked = format_of(base)
    examples = [asked.example(row, row.labels[0]) for row in tiny.pets(6)]
    batch = tensors(examples, asked.end, "cpu")
    mine = Trainee(base.model)(**batch) / supervision(examples)
    longest = batch["ids"].shape[1]
    labels = torch.full((6, longest), -100)
    mask = torch.zeros((6, longest), dtype=torch.long)
    for row, example in enumerate(examples):
        labels[row, example.prompt : len(example.ids)] = torch.tensor(example.ids[example.prompt :])
        mask[row, : len(example.ids)] = 1
    theirs = base.model(input_ids=batch["ids"], attention_mask=mask, labels=labels).loss
    assert float(mine.detach()) == pytest.approx(float(theirs.detach()), rel=1e-5)


def test_what_all_rows_begin_with_is_read_once_and_never_a_place_that_predicts(base: Any) -> None:
    from concertino.training.causal_data import Example
    from concertino.training.causal_step import shared_prefix, tensors

    def example(ids: str, prompt: int) -> Example:
        return Example(tuple(map(ord, ids)), prompt, 1.0, Row("r", ids))

    assert shared_prefix([example("aabcX", 4), example("aabdY", 4), example("aaccZ", 4)]) == 2
    assert shared_prefix([example("aaaX", 3), example("aaaaaX", 5)]) == 2  # the third a of the first predicts X
    assert shared_prefix([example("abX", 2), example("cbX", 2)]) == 0
    assert shared_prefix([example("aabX", 3)]) == 0
    asked = format_of(base)
    batch = tensors([asked.example(row, row.labels[0]) for row in tiny.pets(6)], asked.end, "cpu")
    assert batch["shared"] > len(SKILL.instruction) / 4  # the instruction is most of it


def test_the_fused_branch_has_the_values_and_gradients_of_the_plain_sum() -> None:
    import torch

    from concertino.training.lora import LoraLinear

    torch.manual_seed(0)
    for bias in (True, False):
        branch = LoraLinear(torch.nn.Linear(24, 40, bias=bias), 4, 2.0, 0.0, torch.Generator().manual_seed(1))
        branch.base.requires_grad_(False)
        torch.nn.init.normal_(branch.B)
        hidden = torch.randn(3, 5, 24, requires_grad=True)
        plain = branch.base(hidden) + 2.0 * (hidden @ branch.A.t()) @ branch.B.t()
        leaves = (hidden, branch.A, branch.B)
        wanted = torch.autograd.grad((plain**2).sum(), leaves)
        fused = branch(hidden)
        assert torch.allclose(fused, plain, atol=1e-5)
        for mine, theirs in zip(torch.autograd.grad((fused**2).sum(), leaves), wanted, strict=True):
            assert torch.allclose(mine, theirs, rtol=1e-4, atol=1e-3)


def test_accumulated_batches_make_the_gradient_of_one_batch(base: Any) -> None:
    import torch

    from concertino.training.causal_step import Machine, Trainee, make_optimizer
    from concertino.training.lora import attach

    asked = format_of(base)
    answers = ("cat", "a very long name for a donkey indeed", "dog", "x", "do")
    examples = [asked.example(Row("r", f"pet {i}"), answer) for i, answer in enumerate(answers)]
    attach(base.model, 4, 8.0, 0.0, 1)
    trainee = Trainee(base.model)
    parameters = [p for p in trainee.parameters() if p.requires_grad]
    gradients = []
    for batches in ([examples], [examples[:2], examples[2:]], [[example] for example in examples]):
        optimizer = make_optimizer(parameters, tiny.recipe().training)
        optimizer.step = lambda: gradients.append([p.grad.clone() for p in parameters])
        Machine().step(trainee, optimizer, batches, parameters, asked.end)
    for other in gradients[1:]:
        for mine, theirs in zip(gradients[0], other, strict=True):
            assert torch.allclose(mine, theirs, atol=1e-6)


def test_an_answer_is_a_label_and_does_not_hang_on_its_batch(base: Any) -> None:
    from concertino.training.causal_generate import LabelTokens, greedy

    asked = format_of(base)
    allowed = LabelTokens(base.tokenizer, SKILL.labels, asked.end)
    prompts = [asked.encode(row.text) for row in tiny.pets(9)]
    together = greedy(_forward(base.model), prompts, asked.end, 8, allowed)
    alone = [greedy(_forward(base.model), [prompt], asked.end, 8, allowed)[0] for prompt in prompts]
    assert together == alone
    assert {asked.decode(ids) for ids in together} <= set(SKILL.labels)


def test_labels_may_be_said_in_any_tokens(base: Any) -> None:
    from concertino.training.causal_generate import LabelTokens

    end = base.tokenizer.token_to_id("<|im_end|>")
    allowed = LabelTokens(base.tokenizer, ("dog", "do", "cat"), end)
    names = {base.tokenizer.id_to_token(token) for token in allowed.after(())}
    assert names == {"d", "do", "dog", "c", "ca", "cat"}
    after_do = {base.tokenizer.id_to_token(token) for token in allowed.after(("d", "o"))}
    assert after_do == {"g", "<|im_end|>"}
    umlaut = LabelTokens(base.tokenizer, ("ü",), end)
    assert len(umlaut.after(())) == 1  # the first of its two bytes


def test_an_epoch_has_every_row_once_in_an_order_of_its_own_with_little_padding() -> None:
    from concertino.training.causal_data import epoch_batches

    draw = random.Random(1)
    lengths = [draw.randint(20, 120) for _ in range(700)]
    first, again, second = (epoch_batches(lengths, 8, 3, epoch) for epoch in (0, 0, 1))
    assert first == again != second
    assert sorted(index for batch in first for index in batch) == list(range(700))
    padded = sum(max(lengths[index] for index in batch) * len(batch) for batch in first)
    assert padded < 1.05 * sum(lengths)
    assert [max(batch) for batch in first] != sorted(max(batch) for batch in first)


def test_rare_labels_weigh_more_and_rows_weigh_one_on_average() -> None:
    from concertino.training.causal_data import class_weights

    labels = ["a"] * 90 + ["b"] * 10
    weights = class_weights(labels, 1.0)
    assert weights["b"] == pytest.approx(9 * weights["a"])
    assert np.mean([weights[label] for label in labels]) == pytest.approx(1.0)
    assert class_weights(labels, 0.0) == {"a": 1.0, "b": 1.0}


def test_a_few_long_rows_are_dropped_and_counted(base: Any) -> None:
    from concertino.training.causal_data import make_examples

    notes: list[str] = []
    rows = [*tiny.pets(39), Row("long", "x" * 500, ("cat",))]
    examples = make_examples(rows, format_of(base), 200, 0.0, notes.append)
    assert len(examples) == 39
    assert notes == ["1 of 40 rows are longer than max_tokens 200 (the longest has 542); they are dropped"]


def test_a_row_with_two_labels_teaches_both(base: Any) -> None:
    from concertino.training.causal_data import make_examples, supervised_spans

    examples = make_examples([Row("r", "x", ("cat", "dog"))], format_of(base), 200, 0.0, print)
    spans = supervised_spans(examples, format_of(base))
    assert [span.split("[[")[1] for span in spans] == ["'cat<|im_end|>']]", "'dog<|im_end|>']]"]


def test_the_gguf_order_is_undone_by_its_inverse() -> None:
    from concertino.training.gguf_base import permute, unpermute

    rows = np.arange(24 * 3).reshape(24, 3)
    assert np.array_equal(unpermute(permute(rows, 3), 3), rows)
    assert permute(np.arange(8), 1).tolist() == [0, 4, 1, 5, 2, 6, 3, 7]


def trained(base: Any) -> dict[str, Any]:
    """Branches with a strong effect."""
    import torch

    from concertino.training.lora import attach, weights_of

    branches = attach(base.model, 4, 8.0, 0.0, 1)
    draw = torch.Generator().manual_seed(5)
    for branch in branches.values():
        branch.B.data.normal_(0, 0.1, generator=draw)
    return weights_of(branches)


def test_peft_reads_what_was_exported(base: Any, tmp_path: Path) -> None:
    import torch

    peft = pytest.importorskip("peft")
    from concertino.training.gguf_base import load_base
    from concertino.training.gguf_export import export_peft

    export_peft(trained(base), "tiny", 8.0, tmp_path / "adapter")
    ids = torch.tensor([[5, 9, 40, 77]])
    fresh = load_base(tmp_path / "base.gguf").model
    theirs = peft.PeftModel.from_pretrained(fresh, tmp_path / "adapter")
    with torch.no_grad():
        assert torch.allclose(theirs(input_ids=ids).logits, base.model(input_ids=ids).logits, atol=1e-3)


def test_a_cut_adapter_is_the_nearest_of_its_rank(base: Any) -> None:
    import torch

    from concertino.training.lora import cut_to, shortened

    weights = trained(base)
    whole, small = shortened(cut_to(weights, 4), 4), shortened(cut_to(weights, 2), 2)
    for name in {name.rpartition(".")[0] for name in weights}:
        product = weights[f"{name}.B"] @ weights[f"{name}.A"]
        assert torch.allclose(whole[f"{name}.B"] @ whole[f"{name}.A"], product, atol=1e-4)
        assert small[f"{name}.A"].shape[0] == small[f"{name}.B"].shape[1] == 2
        lost = torch.linalg.norm(product - small[f"{name}.B"] @ small[f"{name}.A"])
        assert torch.allclose(lost, torch.linalg.svdvals(product)[2:].norm(), atol=1e-4)


def test_an_adapter_that_llama_cpp_serves_otherwise_is_not_exported(base: Any, tmp_path: Path) -> None:
    from concertino.models.adapters import AdapterManifest
    from concertino.training.causal_check import Asked
    from concertino.training.causal_export import export

    manifest = AdapterManifest("causal", "tiny", base.sha256, 4, 8.0)
    shape, weights = format_of(base), trained(base)
    asked = [Asked(row.text, shape.encode(row.text), [99, 98], "something else") for row in tiny.pets(10)]
    free = SkillCard("say", "", "Name the pet.", max_tokens=8)
    for skill, what in ((SKILL, "answers"), (free, "tokens")):
        with pytest.raises(TrainingRefused, match=rf"on \d+% of the {what} to 10 texts, and 90% .* 'something else'"):
            export(weights, base, manifest, skill, asked, shape.end, tmp_path / "run", print, 1)
    assert not (tmp_path / "run" / "adapter").exists()


@pytest.mark.parametrize("scale", [float("nan"), 1e7, 300.0])
def test_an_adapter_whose_weights_ran_away_is_refused_in_words(base: Any, tmp_path: Path, scale: float) -> None:
    from concertino.models.adapters import AdapterManifest
    from concertino.training.causal_check import Asked
    from concertino.training.causal_export import export

    shape, weights = format_of(base), {name: value * scale for name, value in trained(base).items()}
    asked = [Asked(row.text, shape.encode(row.text), [99, 98], "cat") for row in tiny.pets(4)]
    manifest = AdapterManifest("causal", "tiny", base.sha256, 4, 8.0)
    with pytest.raises(TrainingRefused, match=r"learning_rate.* not exported"):
        export(weights, base, manifest, SKILL, asked, shape.end, tmp_path / "run", print, 1)
    assert not (tmp_path / "run" / "adapter").exists()


def test_an_adapter_in_the_wrong_row_order_is_caught(
    base: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from concertino.training import gguf_export
    from concertino.training.causal_check import Asked, agreement
    from concertino.training.causal_generate import greedy

    free = SkillCard("say", "", "Say something.", max_tokens=8)
    shape, weights = format_of(base, free), trained(base)
    texts = [row.text for row in tiny.pets(12)]
    prompts = [shape.encode(text) for text in texts]
    said = greedy(_forward(base.model), prompts, shape.end, 8)
    asked = [Asked(*row, shape.decode(row[2])) for row in zip(texts, prompts, said, strict=True)]
    assert base.gguf is not None
    right = gguf_export.export_gguf(weights, base, 8.0, tmp_path / "right.gguf")
    found = agreement(base.gguf, right, free, asked, shape.end, 1)
    assert found.tokens is not None and found.tokens > 0.95
    monkeypatch.setattr(gguf_export, "PERMUTED", frozenset())
    wrong = gguf_export.export_gguf(weights, base, 8.0, tmp_path / "wrong.gguf")
    with pytest.raises(TrainingRefused, match="The adapter was not exported"):
        agreement(base.gguf, wrong, free, asked, shape.end, 1)


def test_an_adapter_for_another_base_is_refused(base: Any, tmp_path: Path) -> None:
    from concertino.training.gguf_base import load_base
    from concertino.training.lora import attach, put_weights

    weights = trained(base)
    other = load_base(tmp_path / "base.gguf")
    with pytest.raises(TrainingRefused, match=r"for another base: 28 of its 28 matrices do not fit"):
        put_weights(attach(other.model, 2, 4.0, 0.0, 1), weights)


def test_a_disk_that_fills_up_at_export_is_told_and_leaves_no_half_adapter(base: Any, tmp_path: Path) -> None:
    from concertino.training.gguf_export import export_gguf, export_peft

    weights = trained(base)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, hard))
    try:
        with pytest.raises(DiskFull, match="No space left"):
            export_gguf(weights, base, 8.0, tmp_path / "adapter" / "adapter.gguf")
        with pytest.raises(DiskFull, match="No space left"):
            export_peft(weights, "tiny", 8.0, tmp_path / "adapter")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "adapter").iterdir()) == []


def test_prompts_that_llama_cpp_would_word_otherwise_are_refused(base: Any) -> None:
    from concertino.training.causal_check import check_prompts
    from concertino.training.causal_data import PromptFormat

    assert base.gguf is not None
    check_prompts(base.gguf, format_of(base), ["it's  12 cats\n", "<|im_end|> naïve"], 1)
    changed = base.chat_template.replace("\\n", " ")
    other = PromptFormat(base.tokenizer, changed, base.eos_token, base.bos_token, SKILL)
    with pytest.raises(TrainingRefused, match="in other words than it would be trained on"):
        check_prompts(base.gguf, other, ["it purrs"], 1)


def test_metrics_of_answers() -> None:
    from concertino.training.metric import score

    rows = [Row("1", "", ("a", "b")), Row("2", "", ("b",)), Row("3", "", ("c",))]
    assert score(Metric.ACCURACY, ["b", "b", "a"], rows) == pytest.approx(2 / 3)
    assert score(Metric.MACRO_F1, ["b", "b", "a"], rows) == pytest.approx(1 / 2)
    commands = [Row("1", "", answer="ls -la /tmp"), Row("2", "", answer="rm x")]
    assert score(Metric.COMMAND_TEMPLATE, ["ls -a -l /var", "rm -r x"], commands) == 0.5
    values = [Row("e", "t", answer="= 5-3 million"), Row("f", "t", answer="2019; 2018")]
    assert score(Metric.VALUES, ["2 million", "2019"], values) == 0.5
    assert score(Metric.EXACT, ["ls  -la /tmp\n", "rm y"], commands) == 0.5
    prose = [Row("1", "", answer="Call us today."), Row("2", "", answer="Write to us."), Row("3", "", answer="No.")]
    assert score(Metric.TOKEN_F1, ["call us", "write", ""], prose) == pytest.approx((0.8 + 0.5 + 0) / 3)
    assert 0 < score(Metric.CHRF, ["call us", "write", ""], prose) < score(Metric.CHRF, ["Call us", "Write", ""], prose)
    assert score(Metric.ROUGE_L, ["us call"], prose[:1]) == pytest.approx(0.4)
    tested = [Row(str(n), "", tests="from program import f\nassert f() == 1") for n in range(3)]
    answers = ["```python\ndef f(): return 1\n```", "def f(): return 2", "no idea"]
    assert score(Metric.TESTS, answers, tested) == pytest.approx(1 / 3)


@pytest.mark.models
def test_tokens_are_those_of_llama_cpp(smol: Path) -> None:
    from concertino.training.causal_check import check_prompts
    from concertino.training.gguf_base import load_base

    texts = [
        "Hello  world\n\n 123 don't Don'T ",
        "find . -name '*.txt'\t| wc -l",
        "naïve — 北京 ½ é\u0301 \u2028",
        "x\r\n\xa0y",
    ]
    check_prompts(smol, format_of(load_base(smol)), texts, 1)


def test_a_metric_on_few_rows_is_believed_within_its_error_only() -> None:
    from concertino.training.metric import is_better

    assert is_better(0.1, 2.0, None, 9.0, 48)
    assert is_better(8 / 48, 0.796, 9 / 48, 0.813, 48)  # one row of 48 less, and surer of its words
    assert not is_better(8 / 48, 0.83, 9 / 48, 0.813, 48)
    assert not is_better(3 / 48, 0.7, 9 / 48, 0.813, 48)
    assert is_better(18 / 48, 0.9, 9 / 48, 0.813, 48)
    assert not is_better(0.80, 0.3, 0.86, 0.4, 200)


def test_a_mean_of_scores_is_believed_by_how_far_they_spread() -> None:
    """A gain of 3 points of a mean score of 48 rows is one, where the same gain of a share would be chance."""
    from concertino.training.metric import is_better, score_and_error

    rows = [Row(str(n), "", answer="one two three four") for n in range(48)]
    answers = ["one" if n % 2 else "one two" for n in range(48)]
    reached, error = score_and_error(Metric.TOKEN_F1, answers, rows)
    assert reached == pytest.approx((0.4 + 2 / 3) / 2)
    spread = math.sqrt(48 / 47) * (2 / 3 - 0.4) / 2
    assert error == pytest.approx(spread / math.sqrt(48))
    assert is_better(reached, 0.9, reached - 0.03, 0.8, 48, error)
    assert not is_better(reached, 0.9, reached - 0.03, 0.8, 48)
    assert score_and_error(Metric.EXACT, answers, rows) == (0.0, None)
