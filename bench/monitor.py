"""Cost of recording statistics while sampling, token identity, and exactness. JSON on stdout.

    python bench/monitor.py --recipe demo --repeats 9
    python bench/monitor.py --random --hidden 2048 --layers 16 --vocabulary 128256 --sequences 256 --tokens 512

One engine samples the same requests with recording on and off, in alternation. Disturbances of the machine then fall on both.
The cost is the median over pairs of time on / time off, with quartiles. It is given by the wall clock and by the processor time
of the process. Other processes disturb processor time less, but it says nothing on a GPU. Every pair is checked for token
identity. At the end the recorded statistics are compared with a separate teacher-forced pass in float32.

`--recipe` samples the documents of generation 0 of the recipe's first arm. `--random` makes a Llama with random weights and a
random adapter. It is bfloat16 on a GPU, where the difference to the float32 pass is that of the element type. Exactness then is
the difference to the sampler's own log-probs, which the canary compares.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import harness  # noqa: F401  (takes this folder off the import path: `kernels` is another package's name)
from autophage.host import environment
from autophage.progress import Meter

if TYPE_CHECKING:
    from autophage.metrics.scored import Scored
    from autophage.sampler.engine import Sampler
    from autophage.sampler.protocol import Completion, Decoding, EngineSettings, Request, Served
    from autophage.store.weights import Weights

Score = Callable[[Sequence[Sequence[int]], Sequence[int]], "list[Scored]"]


@dataclass
class Subject:
    """Subject of sampling: a model with its adapter, the requests, and the float32 pass for comparison."""

    name: str
    settings: EngineSettings
    adapter: Weights
    requests: list[Request]
    decoding: Decoding
    canaries: list[list[int]]
    score: Callable[[], Score]


@dataclass
class Turn:
    seconds: float
    processor_seconds: float
    answers: list[Completion]


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    environment.apply()
    environment.one_visible_gpu()
    out = _only_json_on_stdout()
    with tempfile.TemporaryDirectory() as folder:
        subject = _random(arguments, Path(folder)) if arguments.random else _recipe(arguments.recipe)
        result = measure(subject, arguments.repeats, arguments.compare)
    text = json.dumps(result, indent=1)
    print(text, file=out)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    return 0 if result["identical"] else 1


def measure(subject: Subject, repeats: int, compare: int) -> dict[str, Any]:
    from autophage.host.versions import machine_facts
    from autophage.sampler.engine import Sampler

    sampler = Sampler(subject.settings)
    served = sampler.install("bench@0", subject.adapter)
    sampler.canary(served, subject.canaries)
    off, on = [], []
    for number in range(-1, repeats):
        turns = {}
        for observe in (False, True)[:: 1 if number % 2 == 0 else -1]:
            turns[observe] = _turn(sampler, served, subject, observe=observe)
        if number >= 0:  # the first pair warms up
            off.append(turns[False])
            on.append(turns[True])
        print(f"pair {number}: " + _ratio_line(turns[True], turns[False]), file=sys.stderr, flush=True)
    expected = [one.token_ids for one in off[0].answers]
    identical = all([one.token_ids for one in turn.answers] == expected for turn in (*off, *on))
    sampler.remove(served)
    return {
        "subject": subject.name,
        "sequences": len(subject.requests),
        "tokens": sum(map(len, expected)),
        "dtype": subject.settings.dtype,
        "concurrency": subject.settings.concurrency,
        "repeats": repeats,
        "ratio": _quartiles([a.seconds / b.seconds for a, b in zip(on, off, strict=True)]),
        "processor_ratio": _quartiles(
            [a.processor_seconds / b.processor_seconds for a, b in zip(on, off, strict=True)]
        ),
        "seconds_off": _quartiles([turn.seconds for turn in off]),
        "seconds_on": _quartiles([turn.seconds for turn in on]),
        "identical": identical,
        "float32_pass": _differences(subject, on[0].answers, compare),
        "device": _device(),
        "omp_threads": os.environ.get("OMP_NUM_THREADS"),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "load_average": os.getloadavg(),
        "machine": machine_facts(),
    }


def _turn(sampler: Sampler, served: Served, subject: Subject, *, observe: bool) -> Turn:
    from autophage.sampler.protocol import Job

    began, processor = time.perf_counter(), time.process_time()
    job = Job(served, subject.requests, subject.decoding)
    [answers] = sampler.sample([job], lambda *_: None, observe=observe)
    return Turn(time.perf_counter() - began, time.process_time() - processor, answers)


def _differences(subject: Subject, answers: Sequence[Completion], compare: int) -> dict[str, Any]:
    """Largest difference of each statistic to the float32 pass, over the first `compare` tokens."""
    import numpy as np

    chosen, tokens = 0, 0
    while chosen < len(answers) and tokens < compare:
        tokens += len(answers[chosen].token_ids)
        chosen += 1
    pairs = list(zip(subject.requests[:chosen], answers[:chosen], strict=True))
    scored = subject.score()(
        [[*request.prompt_ids, *answer.token_ids] for request, answer in pairs],
        [len(request.prompt_ids) for request, _ in pairs],
    )
    worst = {
        name: max(
            (
                float(np.abs(getattr(answer.statistics, name) - getattr(own, name)).max(initial=0))
                for (_, answer), own in zip(pairs, scored, strict=True)
            ),
            default=0.0,
        )
        for name in ("logprob", "entropy", "varentropy", "max_prob", "rank")
    }
    return {"tokens": tokens, "largest_difference": worst}


def _recipe(name: str) -> Subject:
    from autophage.data.build import read_source
    from autophage.recipe import load_recipe
    from autophage.stages.facts import model_path
    from autophage.stages.workbench import Workbench
    from autophage.trainer.resident import ResidentModel

    loaded = load_recipe(name)
    source = read_source(loaded.recipe)
    bench = Workbench(loaded.recipe, source, model_path(loaded.recipe, source, Meter()))
    arm, adapter = loaded.arms[0], bench.base_weights(loaded.arms[0])

    def score() -> Score:
        exact = loaded.recipe.model_copy(update={"model": loaded.recipe.model.model_copy(update={"dtype": "float32"})})
        resident = ResidentModel(bench.resident.path, exact)
        resident.load(adapter)
        return resident.score

    return Subject(
        f"{name}, {arm.name}, generation 0",
        bench.engine_settings(loaded.arms),
        adapter,
        bench.requests(arm, 0),
        bench.decoding(arm),
        bench.canary_prompts,
        score,
    )


def _random(arguments: argparse.Namespace, folder: Path) -> Subject:
    import torch
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    from autophage.sampler.protocol import Decoding, EngineSettings, Request
    from autophage.trainer.head import find_head
    from autophage.trainer.scoring import score

    gpu = torch.cuda.is_available()
    device, dtype = ("cuda", torch.bfloat16) if gpu else ("cpu", torch.float32)
    kv_heads = max(1, arguments.hidden // 256)
    config = LlamaConfig(
        vocab_size=arguments.vocabulary,
        hidden_size=arguments.hidden,
        intermediate_size=4 * arguments.hidden,
        num_hidden_layers=arguments.layers,
        num_attention_heads=arguments.hidden // 64,
        num_key_value_heads=kv_heads,
        max_position_embeddings=max(2048, 2 * arguments.tokens),
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    model: Any = LlamaForCausalLM(config)
    model.to(dtype)
    model.model.norm.weight.data *= 3  # random weights give nearly flat distributions otherwise
    model.save_pretrained(folder)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    lora = LoraConfig(r=16, lora_alpha=16, target_modules=targets, task_type="CAUSAL_LM")
    adapter = _random_adapter(get_peft_model(model, lora), get_peft_model_state_dict)
    del model

    def exact() -> Score:
        from peft import set_peft_model_state_dict
        from safetensors.torch import load

        whole: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        peft = get_peft_model(whole.to(device).eval(), lora)
        set_peft_model_state_dict(peft, load(adapter.tensors))
        head = find_head(peft)
        return lambda sequences, contexts: score(head, sequences, contexts, Meter())

    generator = torch.Generator().manual_seed(1)
    prompts = torch.randint(3, arguments.vocabulary, (arguments.sequences, 16), generator=generator).tolist()
    return Subject(
        f"random Llama, hidden {arguments.hidden}, {arguments.layers} layers, vocabulary {arguments.vocabulary}",
        EngineSettings(
            model_path=str(folder),
            seed=0,
            rank=16,
            target_modules=tuple(targets),
            longest=16 + max(arguments.tokens, 16),
            concurrency=arguments.sequences,
            mixed=1,
            adapters=4,
            dtype=str(dtype).removeprefix("torch."),
            device=device,
            memory=0.6 if gpu else None,  # of the GPU: the float32 pass needs room beside it
            kv_bytes_per_token=2 * arguments.layers * kv_heads * 64 * dtype.itemsize,
            shares_device=True,
        ),
        adapter,
        [Request(prompt, 100 + index) for index, prompt in enumerate(prompts)],
        Decoding(arguments.tokens, 1.0, 1.0, 0, ()),
        prompts[:4],
        exact,
    )


def _random_adapter(peft: Any, state: Callable[[Any], dict[str, Any]]) -> Weights:
    import safetensors.torch
    import torch

    from autophage.store.weights import Weights

    tensors = {name: tensor.detach().float().contiguous() for name, tensor in sorted(state(peft).items())}
    for name, tensor in tensors.items():
        if "lora_B" in name:
            tensors[name] = torch.randn_like(tensor) * 0.02
    config = peft.peft_config["default"].to_dict()
    config = {**config, "target_modules": sorted(config["target_modules"]), "inference_mode": True}
    return Weights(safetensors.torch.save(tensors), json.loads(json.dumps(config, default=str)))


def _quartiles(values: Sequence[float]) -> dict[str, float]:
    import numpy as np

    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return {"median": round(float(middle), 4), "q1": round(float(low), 4), "q3": round(float(high), 4)}


def _ratio_line(on: Turn, off: Turn) -> str:
    return f"{off.seconds:.2f} s off, {on.seconds:.2f} s on, {on.seconds / off.seconds:.3f}"


def _only_json_on_stdout() -> TextIO:
    """Reserve the real stdout for JSON. Other output, such as vLLM's log, goes to stderr."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return out


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="demo", help="name or file of the recipe to sample (default: demo)")
    parser.add_argument("--random", action="store_true", help="a Llama with random weights instead of a recipe")
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--vocabulary", type=int, default=128256)
    parser.add_argument("--sequences", type=int, default=256, help="sequences that run at once")
    parser.add_argument("--tokens", type=int, default=256, help="tokens of each sequence")
    parser.add_argument("--repeats", type=int, default=7, help="pairs of runs, after a warm-up pair")
    parser.add_argument("--compare", type=int, default=10_000, help="tokens to compare with the float32 pass")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    arguments = parser.parse_args(argv)
    if arguments.repeats < 1:
        parser.error("--repeats must be at least 1")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
