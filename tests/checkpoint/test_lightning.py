"""A real Lightning trainer saves, is resumed, and goes on as if it had never stopped."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from pickle import UnpicklingError

import pytest
from proteinflex_optimization import CheckpointError, CheckpointManager

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]


def fit(directory: Path, epochs: int, resume: str | None = None, plugins=None, **options):
    lightning = pytest.importorskip("lightning")
    import torch
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.demos.boring_classes import BoringModel
    from proteinflex_optimization.integrations.lightning import FlexCheckpointIO

    torch.manual_seed(3)
    keeper = ModelCheckpoint(directory, save_top_k=2, monitor="epoch", mode="max", **options)
    trainer = lightning.Trainer(
        max_epochs=epochs,
        limit_train_batches=4,
        limit_val_batches=0,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=directory,
        callbacks=[keeper],
        plugins=[FlexCheckpointIO()] if plugins is None else plugins,
    )
    model = BoringModel()
    trainer.fit(model, ckpt_path=resume)
    return trainer, model, keeper


def test_a_trainer_saves_and_resumes_through_the_plugin(tmp_path: Path):
    trainer, _, keeper = fit(tmp_path, 3)
    manager = CheckpointManager(tmp_path, auto_cleanup=False)
    rows = manager.list_checkpoints()
    # Lightning's own retention holds.
    assert len(rows) == 2
    assert rows[-1]["path"] == keeper.best_model_path
    assert "state_dict" in rows[-1]["components"]
    assert all(manager.verify(row["path"])["ok"] for row in rows)
    resumed, model, _ = fit(tmp_path, 5, resume=keeper.best_model_path)
    assert trainer.global_step == 12
    assert resumed.global_step == 20
    assert resumed.current_epoch == 5
    _, never_stopped, _ = fit(tmp_path / "whole", 5)
    assert model.layer.weight.equal(never_stopped.layer.weight)


def test_a_missing_checkpoint_is_named(tmp_path: Path):
    pytest.importorskip("lightning")
    from proteinflex_optimization.integrations.lightning import FlexCheckpointIO

    with pytest.raises(CheckpointError, match="nothing"):
        FlexCheckpointIO().load_checkpoint(tmp_path / "nothing")


def test_a_trained_model_loads_by_its_class(tmp_path: Path):
    """`Module.load_from_checkpoint`, with hyperparameters, as from Lightning's own file."""
    lightning = pytest.importorskip("lightning")
    import torch
    from lightning.pytorch.core import saving
    from proteinflex_optimization.integrations.lightning import FlexCheckpointIO

    class Model(lightning.LightningModule):
        def __init__(self, width=4, shape=(1,)):
            super().__init__()
            self.save_hyperparameters()
            self.layer = torch.nn.Linear(width, shape[0])

    model = Model(width=3)
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, plugins=[FlexCheckpointIO()]
    )
    trainer.strategy.connect(model)
    path = tmp_path / "best.ckpt"
    trainer.save_checkpoint(path)
    for place in (path, str(path)):
        loaded = Model.load_from_checkpoint(place, map_location="cpu")
        assert loaded.hparams.width == 3
        assert torch.equal(loaded.layer.weight, model.layer.weight)
        assert loaded.state_dict()._metadata == model.state_dict()._metadata
    loaded = saving.pl_load(path, map_location="meta")
    assert loaded["state_dict"]["layer.weight"].is_meta
    moved = Model.load_from_checkpoint(path, map_location=lambda storage, place: storage)
    assert moved.layer.weight.device.type == "cpu"


def test_pickled_hyperparameters_load_where_they_are_asked_for(tmp_path: Path):
    pytest.importorskip("lightning")
    from lightning.pytorch.core import saving
    from proteinflex_optimization.integrations.lightning import FlexCheckpointIO

    path = tmp_path / "one.ckpt"
    state = {"hyper_parameters": {"slice": slice(3)}}
    FlexCheckpointIO(allow_pickle=True).save_checkpoint(state, path)
    assert FlexCheckpointIO(allow_pickle=True).load_checkpoint(path) == state
    assert FlexCheckpointIO().load_checkpoint(path, weights_only=False) == state
    assert saving.pl_load(path, weights_only=False) == state
    for load in (
        lambda: saving.pl_load(path),
        lambda: FlexCheckpointIO().load_checkpoint(path),
        lambda: FlexCheckpointIO(allow_pickle=True).load_checkpoint(path, weights_only=True),
    ):
        with pytest.raises(CheckpointError, match="weights_only=False"):
            load()


def test_a_run_goes_on_from_a_file_of_lightning_s_own(tmp_path: Path):
    """Old checkpoints load, their names can be saved to, and Lightning's retention removes them."""
    before, _, _ = fit(tmp_path, 3, plugins=[], save_last=True)
    last = tmp_path / "last.ckpt"
    assert last.is_file()
    old = set(tmp_path.glob("epoch*.ckpt"))
    after, model, _ = fit(tmp_path, 5, resume=str(last), save_last=True)
    assert before.global_step == 12
    assert after.global_step == 20
    _, never_stopped, _ = fit(tmp_path / "whole", 5)
    assert model.layer.weight.equal(never_stopped.layer.weight)
    assert last.is_dir()
    assert not any(path.exists() for path in old)
    assert sorted(path.name for path in tmp_path.glob("*.replaced")) == []
    assert CheckpointManager(tmp_path, auto_cleanup=False).verify(last)["ok"]


def test_an_old_file_stays_where_its_replacement_can_t_be_saved(tmp_path: Path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("lightning")
    from proteinflex_optimization.integrations.lightning import FlexCheckpointIO

    path = tmp_path / "last.ckpt"
    torch.save({"epoch": 3}, path)
    with pytest.raises(TypeError, match="function"):
        FlexCheckpointIO().save_checkpoint({"epoch": lambda: 4}, path)
    assert FlexCheckpointIO().load_checkpoint(path) == {"epoch": 3}


def test_a_link_to_the_last_checkpoint_is_followed(tmp_path: Path):
    pytest.importorskip("lightning")
    from proteinflex_optimization.integrations.lightning import FlexCheckpointIO

    plugin = FlexCheckpointIO()
    plugin.save_checkpoint({"epoch": 3}, tmp_path / "epoch=3.ckpt")
    link = tmp_path / "last.ckpt"
    link.symlink_to("epoch=3.ckpt")
    assert plugin.load_checkpoint(link) == {"epoch": 3}
    plugin.remove_checkpoint(link)
    assert not link.is_symlink()
    assert plugin.load_checkpoint(tmp_path / "epoch=3.ckpt") == {"epoch": 3}


NAMES = ["run 1", "model (best) [é]", "a,b#3", "蛋白质", "x" * 187]


def test_names_that_people_give_their_models_are_saved_and_removed(tmp_path: Path):
    pytest.importorskip("lightning")
    from proteinflex_optimization import InvalidArgumentError
    from proteinflex_optimization.integrations.lightning import FlexCheckpointIO

    plugin = FlexCheckpointIO()
    for number, name in enumerate(NAMES):
        plugin.save_checkpoint({"epoch": number}, tmp_path / f"{name}.ckpt")
    manager = CheckpointManager(tmp_path, auto_cleanup=False)
    rows = manager.list_checkpoints()
    assert [row["checkpoint_id"] for row in rows] == [f"{name}.ckpt" for name in NAMES]
    for number, name in enumerate(NAMES):
        assert plugin.load_checkpoint(tmp_path / f"{name}.ckpt") == {"epoch": number}
        plugin.remove_checkpoint(tmp_path / f"{name}.ckpt")
    assert manager.list_checkpoints() == []
    for name in ("-rf", "two\nlines", "x" * 193):
        with pytest.raises(InvalidArgumentError, match="visible characters"):
            plugin.save_checkpoint({"epoch": 1}, tmp_path / name)


def test_the_tuner_saves_and_restores_through_the_plugin(tmp_path: Path):
    lightning = pytest.importorskip("lightning")
    from lightning.pytorch.demos.boring_classes import BoringModel
    from lightning.pytorch.tuner import Tuner
    from proteinflex_optimization.integrations.lightning import FlexCheckpointIO

    class Model(BoringModel):
        lr = 0.1

    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        default_root_dir=tmp_path,
        plugins=[FlexCheckpointIO()],
    )
    model = Model()
    before = model.layer.weight.clone()
    assert Tuner(trainer).lr_find(model, num_training=5, update_attr=False) is not None
    # Its own checkpoint, whose name begins with a dot, was read and removed.
    assert model.layer.weight.equal(before)
    assert not list(tmp_path.iterdir())


def test_a_trainer_saves_under_any_name_and_over_a_link(tmp_path: Path):
    name = "run 1 (best) [é] {epoch}"
    _, _, keeper = fit(tmp_path, 2, save_last="link", filename=name)
    last = tmp_path / "last.ckpt"
    assert last.is_symlink()
    linked = last.resolve()
    assert linked.name == Path(keeper.best_model_path).name == "run 1 (best) [é] epoch=1.ckpt"
    before = CheckpointManager(tmp_path).load_checkpoint(linked)
    _, _, keeper = fit(tmp_path, 3, resume=str(last), save_last=True, filename=name)
    assert last.is_dir()
    assert not last.is_symlink()
    assert CheckpointManager(tmp_path).load_checkpoint(last)["epoch"] == 2
    # What the link led to is what it was.
    assert CheckpointManager(tmp_path).load_checkpoint(linked)["epoch"] == before["epoch"] == 1
    assert not list(tmp_path.glob("*.replaced"))
    fit(tmp_path, 4, resume=str(last), save_last="link", filename=name)
    assert last.is_symlink()


@pytest.mark.parametrize("weights_only", [None, True, False])
def test_a_damaged_file_of_lightning_s_own_is_named(tmp_path: Path, weights_only):
    torch = pytest.importorskip("torch")
    pytest.importorskip("lightning")
    from proteinflex_optimization import CorruptDataError
    from proteinflex_optimization.integrations.lightning import FlexCheckpointIO

    path = tmp_path / "one.ckpt"
    torch.save({"weights": torch.zeros(1000)}, path)
    whole = path.read_bytes()
    for content in (b"", b"hello", whole[:-50], whole[:1000], bytes(1000)):
        path.write_bytes(content)
        with pytest.raises(
            CorruptDataError, match=r"one\.ckpt: it is damaged, or no file of torch"
        ):
            FlexCheckpointIO().load_checkpoint(path, weights_only=weights_only)
    # What is whole and can't be loaded is not damaged.
    torch.save({"fraction": Fraction(1)}, path)
    if weights_only is not False:
        with pytest.raises(UnpicklingError, match="Weights only load failed"):
            FlexCheckpointIO().load_checkpoint(path, weights_only=weights_only)
    with pytest.raises(CheckpointError, match="absent/one.ckpt holds no checkpoint"):
        FlexCheckpointIO().load_checkpoint(tmp_path / "absent" / "one.ckpt")
    assert not (tmp_path / "absent").exists()


def test_a_remote_path_is_refused_before_anything_is_written(tmp_path: Path, monkeypatch):
    pytest.importorskip("lightning")
    from proteinflex_optimization import InvalidArgumentError
    from proteinflex_optimization.integrations.lightning import FlexCheckpointIO

    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidArgumentError, match="s3://"):
        FlexCheckpointIO().save_checkpoint({"epoch": 3}, "s3://bucket/last.ckpt")
    assert list(tmp_path.iterdir()) == []
