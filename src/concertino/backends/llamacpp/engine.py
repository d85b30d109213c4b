"""The child process that runs one base model: `python -m concertino.backends.llamacpp.engine`.

It reads an EngineSpec as one line of JSON from stdin, loads the model, prints `{"listening": address}` and serves
llama.cpp's own HTTP protocol on a Unix socket. Stdin stays open as a lifeline: when it closes, because the parent
ended it or died, the process ends at once.
"""

import json
import os
import sys
from typing import Any


def parameters(spec: dict[str, Any]) -> Any:
    """llama.cpp's parameters for an EngineSpec."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = spec["model_path"]
    params.hostnames = [spec["socket_path"]]
    params.n_ctx = spec["context_tokens"] * spec["parallel"]
    params.n_parallel = spec["parallel"]
    params.cpuparams.n_threads = spec["threads"]
    params.cpuparams_batch.n_threads = spec["threads"]
    params.n_batch = spec["batch_tokens"]
    params.n_ubatch = min(spec["batch_tokens"], 512)
    params.cache_ram_mib = spec["prompt_cache_mib"]
    params.endpoint_metrics = False
    params.endpoint_slots = False
    params.ui = False
    params.verbosity = 1
    if spec["embed"]:
        params.embedding = True
        # BERT reads a text in one piece, so a micro-batch must hold all of it.
        params.n_batch = params.n_ubatch = spec["context_tokens"]
    if spec["adapters"]:
        params.lora_adapters = [_adapter(path) for path in spec["adapters"]]
        params.lora_init_without_apply = True
    return params


def _adapter(path: str) -> Any:
    import xllamacpp

    return xllamacpp.CommonAdapterLoraInfo(path, 0.0)


def main() -> None:
    spec = json.loads(sys.stdin.readline())
    import xllamacpp

    server = xllamacpp.Server(parameters(spec))
    print(json.dumps({"listening": server.listening_address}), flush=True)
    sys.stdin.read()
    # The engine's threads may be in the middle of a batch; nothing here needs an orderly end.
    os._exit(0)


if __name__ == "__main__":
    main()
