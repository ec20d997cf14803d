"""A real Lightning trainer saves, is resumed, and goes on as if it had never stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
from proteinflex_optimization import CheckpointError, CheckpointManager

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]


def fit(directory: Path, epochs: int, resume: str | None = None):
    lightning = pytest.importorskip("lightning")
    import torch
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.demos.boring_classes import BoringModel
    from proteinflex_optimization.integrations.lightning import FlexCheckpointIO

    torch.manual_seed(3)
    keeper = ModelCheckpoint(directory, save_top_k=2, monitor="epoch", mode="max", save_last=False)
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
        plugins=[FlexCheckpointIO()],
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
