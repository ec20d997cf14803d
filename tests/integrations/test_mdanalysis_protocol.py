"""MDAnalysis's own tests for readers and writers, run on those of `.fxt` files: all of them.

Two skip themselves, for they need ten frames and the references have five.
"""

import errno

import MDAnalysis
import numpy as np
import pytest
from MDAnalysis.transformations import translate
from MDAnalysisTests import make_Universe
from MDAnalysisTests.coordinates.base import (
    BaseReference,
    BaseWriterTest,
    MultiframeReaderTest,
)
from MDAnalysisTests.coordinates.test_xdr import TRRReference
from MDAnalysisTests.datafiles import COORDINATES_TOPOLOGY, COORDINATES_TRR
from proteinflex_optimization import CorruptDataError, DataHandler, create_trajectory
from proteinflex_optimization.integrations.mdanalysis import (
    FXTReader,
    FXTWriter,
    TrajectoryReadError,
    to_universe,
)
from proteinflex_optimization.integrations.mdanalysis import reader as mdanalysis_reader

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


class FromTRR(TRRReference):
    """Their reference trajectory with velocities and forces, imported into a cache."""

    def __init__(self, directory, **options):
        super().__init__()
        handler = DataHandler(directory, **options)
        key = handler.import_trajectory(COORDINATES_TOPOLOGY, COORDINATES_TRR, "reference")
        self.trajectory = str(handler.open(key).path)
        self.reader, self.writer, self.ext = FXTReader, FXTWriter, "fxt"


class OfVectors(BaseReference):
    """Positions alone, and a box as three vectors, in a file outside of any cache."""

    def __init__(self, directory):
        super().__init__()
        ts = self.first_frame
        ts.dimensions = self.dimensions
        self.trajectory = str(directory / "vectors.fxt")
        self.topology = COORDINATES_TOPOLOGY
        with create_trajectory(self.trajectory) as writer:
            writer.append(
                np.array([2**i * ts.positions for i in range(self.n_frames)], np.float32),
                box=np.array([ts.triclinic_dimensions] * self.n_frames, np.float64),
                time=np.arange(self.n_frames, dtype=np.float64),
            )
        self.reader, self.writer, self.ext = FXTReader, FXTWriter, "fxt"
        ts.dimensions = None


class ReaderProtocol(MultiframeReaderTest):
    # Their two fixtures again, for newer versions of pytest refuse the way they are written.

    @pytest.fixture
    def reader(self, ref):
        reader = ref.reader(ref.trajectory)
        for name in ("lowf", "highf"):
            source, dt = getattr(ref, f"aux_{name}"), getattr(ref, f"aux_{name}_dt")
            reader.add_auxiliary(name, source, dt=dt, initial_time=0, time_selector=None)
        return reader

    @pytest.fixture
    def transformed(self, ref):
        transformed = ref.reader(ref.trajectory)
        transformed.add_transformations(translate([1, 1, 1]), translate([0, 0, 0.33]))
        return transformed


class WriterProtocol(BaseWriterTest):
    # Likewise.

    @pytest.fixture
    def reader(self, ref):
        return ref.reader(ref.trajectory)

    @pytest.fixture
    def universe(self, ref):
        return MDAnalysis.Universe(ref.topology, ref.trajectory)

    @pytest.fixture
    def u_no_resnames(self):
        return make_Universe(["names", "resids"], trajectory=True)

    @pytest.fixture
    def u_no_resids(self):
        return make_Universe(["names", "resnames"], trajectory=True)

    @pytest.fixture
    def u_no_names(self):
        return make_Universe(["resids", "resnames"], trajectory=True)


class TestWriter(WriterProtocol):
    @pytest.fixture
    def ref(self, tmp_path):
        return FromTRR(tmp_path)


class TestWriterOfVectors(WriterProtocol):
    @pytest.fixture
    def ref(self, tmp_path):
        return OfVectors(tmp_path)


class TestCompressed(ReaderProtocol):
    @pytest.fixture
    def ref(self, tmp_path):
        return FromTRR(tmp_path)


class TestPlain(ReaderProtocol):
    @pytest.fixture
    def ref(self, tmp_path):
        return FromTRR(tmp_path, enable_compression=False)


class TestVectors(ReaderProtocol):
    @pytest.fixture
    def ref(self, tmp_path):
        return OfVectors(tmp_path)


@pytest.fixture
def damaged(tmp_path, monkeypatch):
    """Give a universe of 200 frames, of which some in the middle are damaged."""
    monkeypatch.setattr(mdanalysis_reader, "BLOCK_BYTES", 1)
    handler = DataHandler(tmp_path)
    rng = np.random.default_rng(1)
    with handler.trajectory_writer("md") as writer:
        for _ in range(10):
            writer.append(rng.normal(0, 10, (200, 1000, 3)).astype(np.float32))
    trajectory = handler.open(writer.key)
    assert trajectory.n_frames >= 5 * trajectory.chunk_frames
    path = trajectory.path
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 64)
    return to_universe(trajectory, MDAnalysis.Universe.empty(1000, trajectory=False)._topology)


def test_a_damaged_chunk_is_an_error_and_never_the_end(damaged):
    """MDAnalysis takes `OSError` and `EOFError` for the end of a trajectory, and no more."""
    read = []
    with pytest.raises(CorruptDataError) as raised:
        read.extend(ts.frame for ts in damaged.trajectory)
    assert 0 < len(read) < damaged.trajectory.n_frames
    assert not isinstance(raised.value, (OSError, EOFError, TypeError, StopIteration))
    for use in (
        lambda reader: reader[len(read)],
        lambda reader: [ts.frame for ts in reader[::100]][-1] and reader[len(read)],
        lambda reader: list(reader[len(read) - 1 : len(read) + 2]),
        lambda reader: reader.timeseries(order="fac"),
    ):
        with pytest.raises(CorruptDataError):
            use(damaged.trajectory)
    # What is whole can still be read.
    damaged.trajectory[0]
    damaged.trajectory[-1]


@pytest.mark.parametrize("error", [OSError(errno.EIO, "the disk is gone"), EOFError("cut")])
def test_an_error_of_the_disk_is_none_that_mdanalysis_takes_for_the_end(tmp_path, error):
    handler = DataHandler(tmp_path)
    key = handler.store_trajectory({"frames": np.zeros((20, 3, 3), np.float32)}, "md")
    universe = handler.open(key).to_universe(
        MDAnalysis.Universe.empty(3, trajectory=False)._topology
    )
    reader = universe.trajectory

    class Failing:
        """The trajectory behind the reader, on a disk that goes away at frame 7."""

        def __init__(self, trajectory):
            self._trajectory = trajectory

        def read(self, start, *arguments, **options):
            if start >= 7:
                raise error
            return self._trajectory.read(start, start + 1, *arguments[1:], **options)

        def __getattr__(self, name):
            return getattr(self._trajectory, name)

    reader._trajectory = Failing(reader._trajectory)
    frames = []
    with pytest.raises(TrajectoryReadError, match=str(error.args[-1])):
        frames.extend(ts.frame for ts in reader)
    assert frames == list(range(7))
    assert not issubclass(TrajectoryReadError, (OSError, EOFError, TypeError))
