"""The widget that shows a trajectory in a notebook."""

import MDAnalysis
import numpy as np
import pytest
from MDAnalysisTests.datafiles import DCD, PSF
from proteinflex_optimization import open_trajectory

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("view") / "run.fxt"
    from proteinflex_optimization.integrations import mdanalysis  # noqa: F401, registers the writer

    MDAnalysis.Universe(PSF, DCD).atoms.write(path, frames=slice(0, 5))
    return path


def test_view_is_a_widget_of_all_frames(path):
    nglview = pytest.importorskip("nglview")
    trajectory = open_trajectory(path)
    widget = trajectory.view()
    assert isinstance(widget, nglview.NGLWidget)
    assert widget.max_frame == trajectory.n_frames - 1
    widget.frame = 3
    component = widget._trajlist[0]
    np.testing.assert_array_equal(component.get_coordinates(3), trajectory[3])
    assert component.get_structure_string().count("ATOM") == trajectory.n_atoms
    trajectory.view(PSF)
