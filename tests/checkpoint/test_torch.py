"""Torch states: tensors of every kind, memory that is shared, models and optimizers."""

from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import (
    CheckpointError,
    CheckpointManager,
    CorruptDataError,
    DataHandler,
    InvalidArgumentError,
    InvalidTypeError,
)

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


def test_conjugated_and_negated_views_share_memory_again(torch, manager):
    z = torch.randn(2, 3, dtype=torch.complex64)
    views = {
        "conj": z.conj(),
        "mH": z.mH,
        "imag": z.conj().imag,
        "both": torch._neg_view(z.conj()),
        "parameter": torch.nn.Parameter(z.conj()),
    }
    found = round_trip(manager, {"z": z, **views})
    for name, view in views.items():
        assert torch.equal(found[name], view)
        assert (found[name].is_conj(), found[name].is_neg()) == (view.is_conj(), view.is_neg())
        assert found[name].untyped_storage().data_ptr() == found["z"].untyped_storage().data_ptr()
    assert found["parameter"].requires_grad
    alone = round_trip(manager, z.conj())
    assert torch.equal(alone, z.conj())


def test_a_small_view_does_not_drag_its_whole_storage_along(torch, manager):
    base = torch.zeros(1_000_000)
    manager.create_checkpoint("one", {"state": {"view": base[5000:5010]}})
    assert manager.list_checkpoints()[0]["size_bytes"] < 2000


def test_storages_of_different_length_at_one_address_come_back(torch, manager):
    frames = np.arange(60, dtype=np.float32).reshape(10, 2, 3)
    buffer = bytearray(range(64))
    head, whole = (torch.frombuffer(buffer, dtype=torch.uint8, count=count) for count in (4, -1))
    for stored in (
        {"first": torch.from_numpy(frames[:1]), "all": torch.from_numpy(frames)},
        {"first": torch.from_dlpack(frames[:1]), "all": torch.from_dlpack(frames)},
        {"column": torch.from_numpy(frames[:, 0, 0]), "all": torch.from_numpy(frames)},
        {"head": head, "whole": whole},
    ):
        path = manager.create_checkpoint("one", {"state": stored})
        found = manager.load_checkpoint(path)["state"]
        for name, tensor in stored.items():
            assert torch.equal(found[name], tensor), name


def test_a_view_without_items_may_begin_beyond_its_memory(torch, manager):
    base = torch.arange(3)
    beyond = base.as_strided((0,), (1,), 100)
    for stored in ({"base": base, "beyond": beyond}, {"beyond": beyond, "base": base}):
        found = round_trip(manager, stored)
        assert torch.equal(found["base"], base)
        assert found["beyond"].shape == (0,)


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
    with pytest.raises(InvalidArgumentError, match="device='gpu7'"):
        manager.load_checkpoint(path, device={"cpu": "gpu7"})


@pytest.mark.parametrize("pickled", [False, True])
def test_what_a_function_for_device_raises_is_its_caller_s(torch, manager, pickled):
    state = {"x": torch.eye(3).to_sparse() if pickled else torch.eye(3)}
    path = manager.create_checkpoint("one", {"state": state}, allow_pickle=pickled)
    for wrong, error in (
        (lambda storage, location: {"cuda:0": storage}[location], KeyError),
        (lambda storage, location: int("x"), ValueError),
        (lambda storage: storage, TypeError),
    ):
        with pytest.raises(error) as raised:
            manager.load_checkpoint(path, device=wrong, allow_pickle=pickled)
        assert type(raised.value) is error
    same = manager.load_checkpoint(path, device=torch.device("cpu"), allow_pickle=pickled)
    assert torch.equal(same["state"]["x"].to_dense(), torch.eye(3))


def test_a_function_for_device_that_returns_no_storage_is_named(torch, manager):
    path = manager.create_checkpoint("one", {"state": torch.eye(3)})
    with pytest.raises(InvalidArgumentError, match="returned 'cpu': expected a storage"):
        manager.load_checkpoint(path, device=lambda storage, location: "cpu")


def saved_on(manager, kind, state):
    """A checkpoint as the same call makes it on another machine: only the device's name differs."""
    path = manager.create_checkpoint("one", {"state": state})
    values = Path(path, "values")
    values.write_bytes(values.read_bytes().replace(b"\xa3cpu", b"\xa3" + kind.encode()))
    return path


@pytest.mark.parametrize("kind", ["mps", "xpu", "hpu"])
def test_tensors_of_a_kind_of_device_that_is_not_here_are_loaded_to_the_cpu(torch, manager, kind):
    state = {"x": torch.arange(6.0), "device": torch.device("cpu")}
    path = saved_on(manager, kind, state)
    found = manager.load_checkpoint(path, verify=False)["state"]
    assert found["x"].device.type == "cpu"
    assert torch.equal(found["x"], state["x"])
    assert found["device"].type == kind


@pytest.mark.parametrize("is_tensor", [True, False])
def test_a_damaged_name_of_a_device_is_damage(torch, manager, is_tensor):
    path = saved_on(manager, "bad", torch.ones(3) if is_tensor else torch.device("cpu"))
    with pytest.raises(CorruptDataError, match="the device 'bad'"):
        manager.load_checkpoint(path, verify=False)


def test_writing_into_a_mapped_tensor_never_changes_the_file(torch, manager):
    path = manager.create_checkpoint("one", {"x": torch.zeros(10_000)})
    manager.load_checkpoint(path)["x"].fill_(3)
    assert manager.verify(path)["ok"]
    assert manager.load_checkpoint(path)["x"].sum() == 0


def test_tensors_that_are_not_dense_are_named(torch, manager):
    for tensor in (torch.eye(3).to_sparse(), torch.empty(2, device="meta")):
        with pytest.raises(InvalidTypeError, match=r"component_states\['state'\]\['x'\]"):
            manager.create_checkpoint("one", {"state": {"x": tensor}})


def test_a_distributed_tensor_is_refused_with_the_way_out(torch, manager):
    class DTensor(torch.Tensor):
        def full_tensor(self):
            return self

    with pytest.raises(InvalidTypeError, match=r"\['w'\] is a DTensor.*full_tensor\(\)"):
        manager.create_checkpoint("one", {"state": {"w": DTensor([1.0])}})


def test_the_versions_of_modules_come_back_as_from_torch_save(torch, manager):
    """`state_dict()._metadata`, by which modules migrate old states, wherever the state is."""

    class Scaled(torch.nn.Module):
        _version = 2

        def __init__(self):
            super().__init__()
            self.length = torch.nn.Parameter(torch.tensor(15.0))

        def _load_from_state_dict(self, state, prefix, local, *rest):
            if local.get("version", 1) < 2:
                state[prefix + "length"] = state[prefix + "length"] * 10
            super()._load_from_state_dict(state, prefix, local, *rest)

    model = torch.nn.Sequential(Scaled(), torch.nn.BatchNorm1d(2))
    stored = {"epoch": 1, "parts": [model.state_dict()]}
    path = manager.create_checkpoint("one", {"nested": stored, "model": model.state_dict()})
    found = manager.load_checkpoint(path)
    for state in (found["model"], found["nested"]["parts"][0]):
        assert type(state) is type(model.state_dict())
        assert state._metadata == model.state_dict()._metadata
        fresh = torch.nn.Sequential(Scaled(), torch.nn.BatchNorm1d(2))
        fresh.load_state_dict(state)
        assert fresh[0].length.item() == 15.0
    # The names that other readers of the file see are those of the tensors.
    from safetensors.numpy import load_file

    assert "0.length" in load_file(f"{path}/model.safetensors")


def test_a_state_dict_in_the_place_of_the_components_is_refused(torch, manager):
    with pytest.raises(InvalidArgumentError, match=r"_metadata.*'model': model.state_dict"):
        manager.create_checkpoint("one", torch.nn.Linear(2, 2).state_dict())
    assert manager.list_checkpoints() == []
    manager.create_checkpoint("one", dict(torch.nn.Linear(2, 2).state_dict()))


def test_attributes_of_tensors_come_back(torch, manager):
    tensor = torch.zeros(3)
    tensor.unit = "nm"
    parameter = torch.nn.Parameter(torch.zeros(3))
    parameter.mask = torch.ones(3)
    stored = {"tensor": tensor, "parameter": parameter}
    if hasattr(torch.nn, "Buffer"):
        stored["buffer"] = torch.nn.Buffer(torch.ones(2), persistent=False)
    found = round_trip(manager, stored)
    assert found["tensor"].unit == "nm"
    assert found["parameter"].mask.equal(torch.ones(3))
    if "buffer" in stored:
        assert isinstance(found["buffer"], torch.nn.Buffer)
        assert found["buffer"].persistent is False


def test_a_tensor_whose_memory_was_freed_is_named(torch, manager):
    freed = torch.zeros(1000)
    freed.untyped_storage().resize_(0)
    for allow_pickle in (False, True):
        with pytest.raises(InvalidArgumentError, match=r"\['state'\]\['x'\].*only 0 bytes"):
            manager.create_checkpoint("one", {"state": {"x": freed}}, allow_pickle=allow_pickle)
    assert manager.list_checkpoints() == []


class Frees:
    """Runs code while it is saved: it frees a tensor's memory."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __reduce__(self):
        self.tensor.untyped_storage().resize_(0)
        return (dict, ())


def test_a_tensor_whose_memory_is_freed_while_it_is_saved_is_named(torch, manager):
    whole = torch.zeros(1000)
    state = {"x": whole, "part": whole[10:20], "frees": Frees(whole)}
    with pytest.raises(InvalidArgumentError, match=r"\['state'\]\['x'\].*only 0 bytes"):
        manager.create_checkpoint("one", {"state": state}, allow_pickle=True)
    assert manager.list_checkpoints() == []


def test_a_tensor_without_memory_is_named(torch, manager, tmp_path):
    handler = DataHandler(tmp_path / "cache")
    state = {"x": torch._efficientzerotensor(3)}
    with pytest.raises(InvalidTypeError, match=r"\['x'\] is a tensor without memory"):
        manager.create_checkpoint("one", {"state": state})
    with pytest.raises(InvalidTypeError, match=r"\['x'\] is a tensor without memory"):
        handler.store_structure(state, "s")


def test_a_stored_tensor_that_reaches_outside_its_memory_is_named_with_its_file(torch):
    from proteinflex_optimization._states import Restorer

    view = [0, "float32", [5], [1], 0, False, "Tensor", "cpu"]
    restorer = Restorer([(np.zeros(4, np.float32), 0)], None, False, "model.tree")
    with pytest.raises(CorruptDataError, match=r"model\.tree.*reaches outside its memory"):
        restorer.restore("torch.Tensor", view)


def test_pickle_stores_what_else_torch_has(torch, manager):
    torch.manual_seed(1)
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    module.train(False)
    generator = torch.Generator().manual_seed(5)
    stored = {
        "module": module,
        "generator": generator,
        "sparse": torch.eye(2).to_sparse(),
        "meta": torch.empty(2, device="meta"),
        "optimizer": torch.optim.Adam(module.parameters()),
        "function": torch.nn.functional.relu,
        "plain": torch.arange(3),
    }
    with pytest.raises(InvalidTypeError, match=r"\['module'\]"):
        manager.create_checkpoint("one", {"state": stored})
    path = manager.create_checkpoint("one", {"state": stored}, allow_pickle=True)
    found = manager.load_checkpoint(path, allow_pickle=True)["state"]
    inputs = torch.ones(1, 2)
    assert torch.equal(found["module"](inputs), module(inputs))
    assert torch.equal(
        torch.rand(3, generator=found["generator"]), torch.rand(3, generator=generator)
    )
    assert found["sparse"].to_dense().equal(torch.eye(2))
    assert found["meta"].is_meta
    assert found["optimizer"].state_dict()["param_groups"][0]["lr"] == 1e-3
    assert found["function"] is torch.nn.functional.relu
    assert found["plain"].equal(torch.arange(3))
    # Tensors inside of pickles go where the others go; a generator's state can't.
    with pytest.raises(CheckpointError, match="pickled value"):
        manager.load_checkpoint(path, allow_pickle=True, device="meta")
    del stored["generator"]
    path = manager.create_checkpoint("one", {"state": stored}, allow_pickle=True)
    moved = manager.load_checkpoint(path, allow_pickle=True, device="meta")["state"]
    assert moved["module"][0].weight.is_meta
    assert moved["plain"].is_meta


def test_pickled_objects_still_share_what_they_shared(torch, manager):
    model, tied = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    tied.weight = model.weight
    stored = {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "tied": tied,
        "plain": model.weight.detach()[:, 1:],
        "storage": model.bias.detach().untyped_storage(),
    }
    path = manager.create_checkpoint("one", {"state": stored}, allow_pickle=True)
    found = manager.load_checkpoint(path, allow_pickle=True)["state"]
    found["model"](torch.ones(1, 2)).sum().backward()
    found["optimizer"].step()
    assert torch.equal(found["model"].weight, model.weight - 0.1)
    assert found["tied"].weight is found["model"].weight
    assert torch.equal(found["plain"], found["model"].weight[:, 1:])
    assert found["storage"].data_ptr() == found["model"].bias.data_ptr()


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "bfloat16", "uint16", "complex64"])
def test_tensors_of_any_item_type_come_back_from_pickles(torch, manager, dtype):
    if not hasattr(torch, dtype):
        pytest.skip(f"torch {torch.__version__} has no {dtype}")
    module = torch.nn.Module()
    module.register_buffer("x", torch.arange(6, dtype=torch.uint8).to(getattr(torch, dtype)))
    path = manager.create_checkpoint("one", {"state": {"module": module}}, allow_pickle=True)
    found = manager.load_checkpoint(path, allow_pickle=True)["state"]["module"].x
    assert found.dtype is module.x.dtype
    assert found.tolist() == module.x.tolist()


def test_the_memory_of_pickled_tensors_is_stored_once_and_as_that_of_others(torch, manager):
    model = torch.nn.Linear(300, 300)
    stored = {"model": model, "weights": model.state_dict(), "again": [model]}
    path = manager.create_checkpoint("one", {"state": stored}, allow_pickle=True)
    assert sum(file.stat().st_size for file in Path(path).iterdir()) < 1.1 * 4 * 300 * 301
    rows = {row["path"]: row for row in manager.outline(path)["state"]}
    assert rows["model"]["bytes"] > 4 * 300 * 301
    found = manager.load_checkpoint(path, allow_pickle=True)["state"]
    assert found["again"][0] is found["model"]
    assert found["model"].weight.data_ptr() == found["weights"]["weight"].data_ptr()
