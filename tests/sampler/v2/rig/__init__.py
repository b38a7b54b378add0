"""vLLM's V2 model runner, the one of GPUs, on CPU tensors behind `Sampler`.

`python -m rig SCENARIO` runs one scenario in this process and prints its findings as JSON. Every document is compared with a
float32 forward pass of transformers and PEFT. Not shown here: CUDA streams, pinned copies, captured graphs, compiled kernels,
the memory that sleep frees, and tensor parallelism.
"""
