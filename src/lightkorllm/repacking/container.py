"""A GGUF file written tensor by tensor: under another name first, then moved into place."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

from lightkorllm.errors import ModelBroken
from lightkorllm.repacking.weights import Bytes


@dataclass(frozen=True)
class GgufTensor:
    """A tensor to be written. `blocks` makes its bytes, row after row, when its turn comes."""

    name: str
    shape: tuple[int, ...]
    kind: gguf.GGMLQuantizationType
    blocks: Callable[[], Iterable[Bytes]]

    @property
    def size(self) -> int:
        """Bytes in the file."""
        per_block, block_bytes = gguf.GGML_QUANT_SIZES[self.kind]
        return int(np.prod(self.shape, dtype=np.int64)) // per_block * block_bytes


def write(
    target: Path,
    architecture: str,
    *,
    describe: Callable[[gguf.GGUFWriter], None],
    tensors: Sequence[GgufTensor],
) -> None:
    """Write `target` whole or not at all. Raises `ModelBroken` where the disk says no."""
    with draft(target) as path:
        writer = gguf.GGUFWriter(path, architecture)
        describe(writer)
        for tensor in tensors:
            writer.add_tensor_info(
                tensor.name, tensor.shape, np.dtype(np.float32), tensor.size, tensor.kind
            )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        _write_tensors(writer, tensors)
        writer.close()


def _write_tensors(writer: gguf.GGUFWriter, tensors: Sequence[GgufTensor]) -> None:
    assert writer.fout is not None
    (file,) = writer.fout
    writer.write_padding(file, file.tell())
    for tensor in tensors:
        start = file.tell()
        for block in tensor.blocks():
            file.write(np.ascontiguousarray(block).view(np.uint8).data)
        written = file.tell() - start
        assert written == tensor.size, (tensor.name, written, tensor.size)
        writer.write_padding(file, written)


@contextmanager
def draft(target: Path) -> Iterator[Path]:
    """A file beside `target` that takes its place when the block ends well, and goes otherwise."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".part")
        os.close(handle)
    except OSError as error:
        raise ModelBroken(f"{target.parent} 폴더에 쓸 수 없습니다 ({error.strerror}).") from None
    path = Path(name)
    try:
        yield path
        path.chmod(0o666 & ~_umask())
        path.replace(target)
    except OSError as error:
        raise ModelBroken(f"{target} 파일을 쓰지 못했습니다 ({error.strerror}).") from None
    finally:
        path.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
