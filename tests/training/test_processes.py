"""Training on several processes over gloo: each with the whole model, or with a shard of it by FSDP."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.training import tiny

pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytestmark = [pytest.mark.train, pytest.mark.timeout(1200)]  # whole processes, on a machine that may be busy

SHARDED = (
    """
# accelerate shards on GPUs alone. On CPUs, its own FSDP2 preparation and collectives run once it is told that it may.
import accelerate
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from concertino.training import causal_step

class Sharding(accelerate.Accelerator):
    def __init__(self, **options):
        how = FullyShardedDataParallelPlugin(
            fsdp_version=2, auto_wrap_policy="transformer_based_wrap", reshard_after_forward=True
        )
        super().__init__(**options)
        self.state._shared_state["distributed_type"] = DistributedType.FSDP
        self.state.fsdp_plugin = how

accelerate.Accelerator = Sharding
place = causal_step.Machine.place

def placed(self, *wanted):
    trainee, optimizer = place(self, *wanted)
    kinds = {type(p).__name__ for p in trainee.parameters() if p.requires_grad}
    print("trained are", *kinds, "in blocks of their own:", sum("FSDP" in type(m).__name__ for m in trainee.modules()))
    return trainee, optimizer

causal_step.Machine.place = placed
"""
    + tiny.WORKER
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a base, a dataset of pets, and the workers."""
    tiny.write_base(tmp_path / "base.gguf")
    tiny.dataset(tmp_path / "data", tiny.pets(40), tiny.pets(12, start=100))
    (tmp_path / "worker.py").write_text(tiny.WORKER, "utf-8")
    (tmp_path / "sharded.py").write_text(SHARDED, "utf-8")
    return tmp_path


def start(folder: Path, script: str, run: str, *settings: str, processes: int) -> subprocess.Popen[str]:
    """A training in a session of its own, by torch's launcher where there are several processes."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    return subprocess.Popen(
        [sys.executable, *(launcher if processes > 1 else []), str(folder / script), str(folder), run, *settings],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={
            **os.environ,
            "ACCELERATE_USE_CPU": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": f"{Path(__file__).parents[2]}{os.pathsep}{Path(__file__).parents[2] / 'src'}",
        },
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    try:
        told = process.communicate(timeout=800)[0]
    finally:
        end(process)
    assert process.returncode == 0, told
    return told


def end(process: subprocess.Popen[str]) -> None:
    """Kill a launcher and its workers, which have groups of their own in its session."""
    listed = subprocess.run(
        ["ps", "-o", "pid=", "-s", str(process.pid)], capture_output=True, text=True, check=False
    ).stdout.split()
    for pid in map(int, listed):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def apart(folder: Path, one: str, two: str) -> float:
    """The largest difference between the matrices of two runs' adapters."""
    from safetensors.numpy import load_file

    first, second = (load_file(folder / run / "peft" / "adapter_model.safetensors") for run in (one, two))
    return max(float(abs(first[name] - second[name]).max()) for name in first)


@pytest.mark.parametrize("script", ["worker.py", "sharded.py"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_two_processes_make_the_steps_of_one(folder: Path, script: str, precision: str) -> None:
    settings = ("epochs=2", "learning_rate=0.002", f"precision={precision}")
    finish(start(folder, "worker.py", "one", *settings, "accumulate=2", processes=1))
    told = finish(start(folder, script, "two", *settings, processes=2))
    if script == "sharded.py":
        assert "trained are DTensor in blocks of their own: 3" in told  # two blocks of the model, and the rest
    # Products in bf16 differ with the order they are summed in, and three decimals are all that it has.
    assert apart(folder, "one", "two") < (1e-4 if precision == "fp32" else 2e-2)


@pytest.mark.parametrize("script", ["worker.py", "sharded.py"])
def test_processes_that_were_killed_go_on_as_if_they_were_not(folder: Path, script: str) -> None:
    settings = ("dropout=0.1", "epochs=6", "evaluate_steps=4")
    finish(start(folder, script, "whole", *settings, processes=2))
    process = start(folder, script, "killed", *settings, processes=2)
    curves = folder / "killed" / "curves.jsonl"
    while not (curves.is_file() and curves.read_text().count('"loss"') >= 13):
        assert process.poll() is None
        time.sleep(0.01)
    end(process)
    assert not (folder / "killed" / "adapter").exists()
    told = finish(start(folder, script, "killed", *settings, processes=2))
    assert "going on from the checkpoint of step " in told
    assert apart(folder, "killed", "whole") == 0.0


def test_a_base_in_four_bits_is_trained_in_shards(folder: Path) -> None:
    pytest.importorskip("bitsandbytes")
    told = finish(start(folder, "sharded.py", "run", "epochs=10", "method=qlora", processes=2))
    reached = [float(line.split("dev accuracy ")[1][:5]) for line in told.splitlines() if "dev accuracy" in line]
    assert max(reached) > 0.65  # by chance 0.33
    assert "DTensor" in told
