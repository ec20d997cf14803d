"""Torch states: tensors of every kind, memory that is shared, models and optimizers."""

import numpy as np
import pytest
from proteinflex_optimization import CheckpointManager, InvalidArgumentError, InvalidTypeError

pytestmark = pytest.mark.torch


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture
def manager(tmp_path):
    return CheckpointManager(tmp_path / "checkpoints")


def round_trip(manager, state, **options):
    path = manager.create_checkpoint("one", {"state": state})
    return manager.load_checkpoint(path, **options)["state"]


def bits(torch, tensor):
    flat = tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def dtypes(torch):
    names = [
        "float32",
        "float64",
        "float16",
        "bfloat16",
        "complex64",
        "complex128",
        "complex32",
        "int8",
        "uint8",
        "int16",
        "int32",
        "int64",
        "bool",
        "float8_e4m3fn",
        "float8_e5m2",
        "uint16",
        "uint32",
        "uint64",
    ]
    return [getattr(torch, name) for name in names if hasattr(torch, name)]


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
@pytest.mark.parametrize("mmap", [True, False])
def test_tensors_of_every_dtype(torch, manager, mmap):
    generator = np.random.default_rng(1)
    stored = {}
    for dtype in dtypes(torch):
        raw = torch.from_numpy(generator.integers(0, 256, 24 * dtype.itemsize, np.uint8))
        if dtype == torch.bool:
            raw = raw % 2
        stored[str(dtype)] = raw.view(dtype).reshape(2, 3, 4)
    found = round_trip(manager, stored, mmap=mmap)
    for name, tensor in stored.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert bits(torch, found[name]) == bits(torch, tensor), name


def test_shapes_strides_and_flags(torch, manager):
    base = torch.arange(60.0).reshape(3, 4, 5)
    stored = {
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 3),
        "transposed": base.permute(2, 0, 1),
        "strided": base[:, ::2, 1:4],
        "expanded": torch.ones(1, 3).expand(4, 3),
        "grad": torch.ones(2, requires_grad=True),
        "parameter": torch.nn.Parameter(torch.zeros(2), requires_grad=False),
        "conjugate": torch.tensor([1 + 2j]).conj(),
        "negative": torch.tensor([1 + 2j]).conj().imag,
        "dtype": torch.bfloat16,
        "size": torch.Size([1, 2]),
        "device": torch.device("cuda:1"),
    }
    found = round_trip(manager, stored)
    for name, tensor in stored.items():
        assert type(found[name]) is type(tensor), name
        if isinstance(tensor, torch.Tensor):
            assert torch.equal(found[name], tensor), name
            assert found[name].requires_grad == tensor.requires_grad
        else:
            assert found[name] == tensor
    assert found["transposed"].stride() == stored["transposed"].stride()


def test_shared_memory_is_stored_once_and_shared_again(torch, manager):
    base = torch.zeros(1000, 100)
    stored = {"view": base[10:20], "base": base, "again": base.reshape(-1)}
    path = manager.create_checkpoint("one", {"state": stored})
    size = manager.list_checkpoints()[0]["size_bytes"]
    assert size < 1.1 * base.nbytes
    found = manager.load_checkpoint(path)["state"]
    found["base"][10, 0] = 7
    assert found["view"][0, 0] == 7
    assert found["again"][1000] == 7


def test_a_small_view_does_not_drag_its_whole_storage_along(torch, manager):
    base = torch.zeros(1_000_000)
    manager.create_checkpoint("one", {"state": {"view": base[5000:5010]}})
    assert manager.list_checkpoints()[0]["size_bytes"] < 2000


def test_tied_weights_stay_tied(torch, manager):
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Embedding(50, 8)
            self.head = torch.nn.Linear(8, 50, bias=False)
            self.head.weight = self.embed.weight

    found = round_trip(manager, Tied().state_dict())
    assert list(found) == ["embed.weight", "head.weight"]
    assert found["embed.weight"].data_ptr() == found["head.weight"].data_ptr()


def test_training_resumes_exactly(torch, manager):
    def parts():
        torch.manual_seed(3)
        model = torch.nn.Sequential(
            torch.nn.Linear(6, 8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1)
        )
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, amsgrad=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
        return model, optimizer, schedule

    def train(model, optimizer, schedule, steps):
        for _ in range(steps):
            loss = model(torch.randn(16, 6)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()

    first = parts()
    train(*first, 5)
    path = manager.create_checkpoint(
        "step5",
        {
            "model": first[0].state_dict(),
            "optimizer": first[1].state_dict(),
            "schedule": first[2].state_dict(),
            "rng": torch.get_rng_state(),
        },
    )
    train(*first, 5)

    second = parts()
    loaded = manager.load_checkpoint(path)
    second[0].load_state_dict(loaded["model"])
    second[1].load_state_dict(loaded["optimizer"])
    second[2].load_state_dict(loaded["schedule"])
    torch.set_rng_state(loaded["rng"])
    train(*second, 5)
    for one, other in zip(first[0].parameters(), second[0].parameters(), strict=True):
        assert torch.equal(one, other)


def test_device_moves_tensors(torch, manager):
    found = round_trip(manager, {"x": torch.arange(3.0)}, device="meta")
    assert found["x"].device.type == "meta"


def test_an_unknown_device_is_not_reported_as_damage(torch, manager):
    path = manager.create_checkpoint("one", {"state": {"x": torch.arange(3.0)}})
    with pytest.raises(InvalidArgumentError, match="device='gpu7'"):
        manager.load_checkpoint(path, device="gpu7")


def test_writing_into_a_mapped_tensor_never_changes_the_file(torch, manager):
    path = manager.create_checkpoint("one", {"x": torch.zeros(10_000)})
    manager.load_checkpoint(path)["x"].fill_(3)
    assert manager.verify(path)["ok"]
    assert manager.load_checkpoint(path)["x"].sum() == 0


def test_tensors_that_are_not_dense_are_named(torch, manager):
    for tensor in (torch.eye(3).to_sparse(), torch.empty(2, device="meta")):
        with pytest.raises(InvalidTypeError, match=r"component_states\['state'\]\['x'\]"):
            manager.create_checkpoint("one", {"state": {"x": tensor}})
