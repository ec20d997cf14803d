"""The memory model on the curve of a real network's block, not on one of its own kind.

A pair stack's triangle attention, as structure predictors have it, is run on tensors without memory
(torch's ``FakeTensorMode``), and the bytes of all tensors that are alive are counted.
"""

import weakref

import pytest
from proteinflex_optimization import GPUManager

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.soak]

CHANNELS, HEADS = 64, 4
MIB = 1 << 20
WEIGHTS = 1500


def peak_mb(batch, length, chunk):
    """The most MiB of tensors that are alive at once, and of weights."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils._python_dispatch import TorchDispatchMode

    alive, seen = {"now": 0, "peak": 0}, set()

    def freed(key, size):
        alive["now"] -= size
        seen.discard(key)

    class Meter(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            for tensor in result if isinstance(result, (tuple, list)) else [result]:
                if not isinstance(tensor, torch.Tensor):
                    continue
                storage = tensor.untyped_storage()
                key = storage._cdata
                if key not in seen:
                    seen.add(key)
                    size = storage.nbytes()
                    alive["now"] += size
                    alive["peak"] = max(alive["peak"], alive["now"])
                    weakref.finalize(storage, freed, key, size)
            return result

    with FakeTensorMode(), Meter(), torch.inference_mode():
        pair = torch.empty(batch, length, length, CHANNELS)
        project = [torch.empty(CHANNELS, CHANNELS) for _ in range(3)]
        query, key, value = (
            (pair @ weight).view(batch, length, length, HEADS, -1) for weight in project
        )
        rows = []
        for first in range(0, length, chunk or length):
            part = query[:, first : first + (chunk or length)]
            scores = torch.einsum(
                "brihc,brjhc->brhij", part, key[:, first : first + (chunk or length)]
            )
            weights = scores.softmax(-1)
            del scores
            rows.append(
                torch.einsum(
                    "brhij,brjhc->brihc", weights, value[:, first : first + (chunk or length)]
                )
            )
            del weights
        torch.cat(rows, 1)
    return WEIGHTS + alive["peak"] / MIB


@pytest.mark.parametrize("chunk", [None, 32])
def test_long_proteins_are_not_underestimated_by_what_short_ones_needed(machine, chunk):
    machine.write(machine.gpu(0, total=80000))
    manager = GPUManager({"fold": 10000})
    for batch, length in [(1, 64), (2, 64), (1, 128), (2, 128), (1, 192), (2, 192), (1, 256)]:
        peak = peak_mb(batch, length, chunk)
        manager.observe("fold", batch, peak, length, chunk=chunk, gpu_indices=[0])
    for length in (384, 512, 768):
        batch = manager.get_optimal_batch_size("fold", [0], length=length, chunk=chunk)
        assert peak_mb(batch, length, chunk) <= 80000
        # Nor are they much overestimated, where what was observed does not bound the batch.
        assert batch == 32 or peak_mb(2 * batch, length, chunk) > 80000
