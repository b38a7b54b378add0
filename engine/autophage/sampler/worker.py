"""The part of the sampler inside vLLM's workers. It takes adapters and whole weights, and returns statistics of tokens.

vLLM appends `WorkerExtension` to its worker class (`worker_extension_cls`), and the engine calls these methods by
`collective_rpc`. Tensors do not survive that call between processes, so weights and statistics travel as safetensors
bytes. The names of vLLM's internals hold for vLLM 0.26 to 0.33.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autophage.sampler.hooks import Detach
    from autophage.sampler.recorder import Recorder


class WorkerExtension:
    """Methods that vLLM's worker gets.

    Names start with `autophage_`, because vLLM refuses names that its worker has.
    """

    model_runner: Any
    autophage_recording: tuple[Recorder, Detach] | None = None

    def autophage_settle_rank(self, device: str) -> None:
        """Set up a worker process on `device`, as `Sampler` does for a worker inside the engine's process."""
        from autophage.sampler import cpu_lora, ranks

        if device == "cpu":
            cpu_lora.install()
        ranks.unlink_shared_memory()

    def autophage_install_adapter(self, adapter_id: int, weights: bytes, config: str) -> None:
        """Register and activate an adapter under an id that was not used before.

        `weights` are safetensors bytes. `config` is PEFT's configuration as JSON.

        Raises:
            ValueError: The id was used, there is no room, or vLLM lacks a layer of the adapter.
        """
        import safetensors.torch
        from vllm.lora.lora_model import LoRAModel
        from vllm.lora.peft_helper import PEFTHelper

        lora = self.model_runner.lora_manager
        adapters = lora._adapter_manager
        helper = PEFTHelper.from_dict(json.loads(config))
        helper.validate_legal(lora.lora_config)
        # safetensors makes fresh tensors. vLLM scales B in place, which must not reach another copy.
        model = LoRAModel.from_lora_tensors(
            adapter_id,
            safetensors.torch.load(weights),
            helper,
            device="cpu",
            dtype=lora.lora_config.lora_dtype,
            weights_mapper=_weights_mapper(self.model_runner.model),
        )
        if adapter_id in adapters.list_adapters():
            raise ValueError(f"adapter id {adapter_id} was used before")
        # To evict an adapter that a request needs would kill the engine. The engine side keeps enough room.
        if len(adapters) >= adapters.capacity:
            raise ValueError(f"no room for another adapter: {len(adapters)} of {adapters.capacity} are registered")
        adapters.add_adapter(model)
        if homeless := sorted(set(model.loras) - set(adapters.modules)):
            adapters.remove_adapter(adapter_id)
            raise ValueError(f"vLLM has no place for the adapter's {', '.join(homeless[:4])} ({len(homeless)} layers)")
        adapters.activate_adapter(adapter_id)

    def autophage_remove_adapter(self, adapter_id: int) -> bool:
        return bool(self.model_runner.lora_manager._adapter_manager.remove_adapter(adapter_id))

    def autophage_adapters(self) -> list[int]:
        return sorted(self.model_runner.lora_manager._adapter_manager.list_adapters())

    def autophage_arrange(self, adapter_ids: list[int]) -> None:
        """Give the adapter slots of a batch to these adapters alone, in this order. No request may be running.

        A batch is computed slot by slot. Its last bits must not depend on earlier installations.
        """
        adapters = self.model_runner.lora_manager._adapter_manager
        if adapters.lora_index_to_id[: len(adapter_ids)] == adapter_ids:
            return
        for adapter_id in adapters.list_adapters():
            adapters.deactivate_adapter(adapter_id)
        for adapter_id in adapter_ids[: adapters.lora_slots]:
            adapters.activate_adapter(adapter_id)

    def autophage_forget_step(self) -> None:
        """Drop the state and the memory that a step left behind when it ran out of memory."""
        import torch

        self.model_runner.execute_model_state = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def autophage_load_base(self, weights: bytes | None) -> None:
        """Replace the base weights by those in `weights`: safetensors bytes with the checkpoint's names.

        None brings the original weights back. No request may be running. The engine side ensures this and empties the
        prefix cache.
        """
        import safetensors.torch

        from autophage.sampler import reload

        runner = self.model_runner
        named = reload.original_weights(runner) if weights is None else safetensors.torch.load(weights).items()
        reload.load_into(runner, named)

    def autophage_observe(self) -> None:
        """Start to record the statistics of every token. An earlier record that was not fetched is lost."""
        from autophage.sampler import hooks
        from autophage.sampler.recorder import Recorder

        self.autophage_observed()
        if hooks.records_here():
            recorder = Recorder(self.model_runner.vllm_config.scheduler_config.max_num_seqs)
            self.autophage_recording = recorder, hooks.attach(self.model_runner, recorder)

    def autophage_written(self) -> int:
        """Return the number of tokens sampled since this worker began to record. It is 0 where it does not record."""
        return 0 if self.autophage_recording is None else self.autophage_recording[0].tokens

    def autophage_observed(self, go_on: bool = False) -> bytes | None:
        """Return the recorded token statistics as bytes of a `Record`. None where this worker does not record.

        Recording stops unless `go_on`.
        """
        if self.autophage_recording is None:
            return None
        recorder, detach = self.autophage_recording
        self.autophage_recording = None
        detach()
        if go_on:
            self.autophage_observe()
        return recorder.finish().to_bytes()


def _weights_mapper(model: Any) -> Any:
    """Return the map from Hugging Face's names to vLLM's. None for a model that renames nothing."""
    mapper = getattr(model, "hf_to_vllm_mapper", None)
    for name in ("get_rename_mapper", "get_unstacked_mapper"):
        if mapper is not None and hasattr(mapper, name):
            return getattr(mapper, name)()
    return mapper
