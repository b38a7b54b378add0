"""Compile a launch for an absent GPU and read its machine code.

Reported are registers, spills, widths of loads, and loops. Only Triton's own compiler and disassembler are needed.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from autophage_kernels.triton_kernels.launch import Launch

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
TYPES = {
    torch.float32: "*fp32",
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.int64: "*i64",
}
DIVISIBLE = [["tt.divisibility", 16]]


JUMP = re.compile(r"\bBRA\S*\s.*`\(\.?(L_x_\d+)\)")


@dataclass(frozen=True)
class Loop:
    """Instructions of one loop, and those of its hot path.

    The hot path leaves out what a conditional forward jump skips. In these kernels that is the re-basing of the moments. A row
    needs it a few times in a hundred blocks.
    """

    instructions: tuple[str, ...]
    hot: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.instructions)

    @property
    def opcodes(self) -> Counter[str]:
        return Counter(_opcode(line) for line in self.instructions)

    @property
    def local(self) -> tuple[str, ...]:
        """Instructions of the hot path that move registers to memory or back."""
        return tuple(line for line in self.hot if _opcode(line).startswith(("LDL", "STL")))

    @property
    def is_pipelined(self) -> bool:
        """True if the loop copies blocks to shared memory ahead of their use. The loop over the edge never does."""
        return any(opcode.startswith("LDGSTS") for opcode in self.opcodes)


class MachineCode:
    """Machine code of one launch for one architecture (80, 90, 100 or 120)."""

    def __init__(self, launch: Launch, capability: int) -> None:
        signature, constants, attributes = _specialised(launch)
        source = ASTSource(fn=launch.kernel, signature=signature, constexprs=constants, attrs=attributes)
        compiled = triton.compile(
            source,
            target=GPUTarget("cuda", capability, 32),
            options={"num_warps": launch.warps, "enable_fp_fusion": True},
        )
        self.shared = int(compiled.metadata.shared)
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            Path(file.name).write_bytes(compiled.asm["cubin"])
            self._usage = _tool("cuobjdump", "-res-usage", file.name)
            self._listing = _tool("nvdisasm", "-c", file.name)

    @property
    def registers(self) -> int:
        return self._used("REG")

    @property
    def spilled(self) -> int:
        """Bytes of a thread's registers that live in memory."""
        return self._used("STACK") + self._used("LOCAL")

    def _used(self, what: str) -> int:
        (found,) = re.findall(rf"\b{what}:(\d+)", self._usage)
        return int(found)

    @cached_property
    def instructions(self) -> tuple[str, ...]:
        return tuple(line for label, line in self._lines if line)

    @property
    def opcodes(self) -> Counter[str]:
        return Counter(_opcode(line) for line in self.instructions)

    @cached_property
    def _lines(self) -> list[tuple[str, str]]:
        """Pairs (label, "") or ("", instruction), in order."""
        lines: list[tuple[str, str]] = []
        for text in self._listing.splitlines():
            if label := re.match(r"\s*\.?(L_x_\d+):", text):
                lines.append((label[1], ""))
            elif instruction := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(.*?);", text):
                lines.append(("", instruction[1].strip()))
        return lines

    @cached_property
    def loops(self) -> list[Loop]:
        """Every backward jump's body, longest first."""
        position: dict[str, int] = {}
        found = []
        for end, (label, instruction) in enumerate(self._lines):
            if label:
                position[label] = end
            elif (jump := JUMP.search(instruction)) and jump[1] in position and position[jump[1]] < end - 1:
                found.append(_loop(self._lines[position[jump[1]] : end + 1]))
        return sorted(found, key=len, reverse=True)

    @property
    def stream(self) -> Loop:
        """Return the loop over whole blocks. Jumps to rare blocks behind the kernel make longer loops."""
        return min((loop for loop in self.loops if loop.is_pipelined), key=len)


def _loop(lines: list[tuple[str, str]]) -> Loop:
    """Instructions of the body. The hot path lacks those between a conditional jump and its later label."""
    labels = {label for label, _ in lines if label}
    hot: list[str] = []
    skipping = ""
    for label, instruction in lines:
        if label == skipping:
            skipping = ""
        if instruction and not skipping:
            hot.append(instruction)
            jump = JUMP.search(instruction)
            if jump and instruction.startswith("@") and jump[1] in labels and jump[1] != lines[0][0]:
                skipping = jump[1]
    return Loop(tuple(instruction for _, instruction in lines if instruction), tuple(hot))


def _opcode(instruction: str) -> str:
    return re.sub(r"^@!?U?P[\dT]+\s+", "", instruction).split()[0]


def _specialised(launch: Launch) -> tuple[dict[str, str], dict[str, Any], dict[tuple[int], Any]]:
    """Signature, constants and attributes that Triton would give to this call."""
    kernel = launch.kernel
    never = set(kernel.do_not_specialize or ())
    signature: dict[str, str] = {}
    constants: dict[str, Any] = dict(launch.constants)
    attributes: dict[tuple[int], Any] = {}
    for index, name in enumerate(kernel.arg_names):
        if name in launch.constants:
            signature[name] = "constexpr"
            continue
        value = launch.arguments[name]
        specialise = name not in never
        if value is None or (specialise and isinstance(value, int) and value == 1):
            signature[name] = "constexpr"
            constants[name] = value
        elif isinstance(value, torch.Tensor):
            signature[name] = TYPES[value.dtype]
            if value.data_ptr() % 16 == 0:
                attributes[(index,)] = DIVISIBLE
        elif isinstance(value, float):
            signature[name] = "fp32"
        else:
            signature[name] = "i32" if -(1 << 31) <= value < 1 << 31 else "i64"
            if specialise and value % 16 == 0:
                attributes[(index,)] = DIVISIBLE
    return signature, constants, attributes


def _tool(name: str, *arguments: str) -> str:
    return subprocess.run([str(TOOLS / name), *arguments], capture_output=True, text=True, check=True).stdout
