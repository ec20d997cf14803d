"""A whole simulation as a component of a checkpoint, and back.

OpenMM has two forms of a state. The binary checkpoint holds everything, random numbers included, and
only fits the same version and platform; the XML state fits any. Both are saved; the first is used
where it fits.
"""

from __future__ import annotations

import re
import warnings
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from proteinflex_optimization import _native
from proteinflex_optimization._arguments import instance
from proteinflex_optimization._log import get_logger
from proteinflex_optimization.errors import (
    CheckpointError,
    CorruptDataError,
    InvalidArgumentError,
    InvalidTypeError,
    UnsupportedFormatError,
)

from .plain_topology import topology_from_plain, topology_to_plain
from .restored import Restored, remember
from .seeds import reseed
from .trajectory import TrajectoryReporter

if TYPE_CHECKING:
    from proteinflex_optimization.checkpoint import CheckpointManager

logger = get_logger()

FORMAT = 1
PROPERTIES = ("Precision", "DeterministicForces", "UseCpuPme", "DisablePmeStream")
"""Properties of platforms that decide the numbers; the others name the devices and threads of one machine."""
COMPRESSION = 1
"""Of the XML, by zlib: a tenth of its size at a tenth of the time that OpenMM takes to write it."""
CODE = re.compile(r"""type\s*=\s*["'](?:PythonForce\b|[^"']*&)""")
"""A force whose XML holds a pickled function, which OpenMM would load and run; or a type that is written
with entities, as OpenMM never does, and may be one."""
PARTS: dict[str, type] = {
    "openmm": str,
    "platform": str,
    "properties": Mapping,
    "step": int,
    "system": bytes,
    "integrator": bytes,
    "state": bytes,
    "topology": Mapping,
    "checkpoint": bytes,
    "trajectories": Mapping,
}
"""What `load_run` needs of a saved run."""
TOLERANCE = 1e-5
"""In nm and nm/ps, between the two forms of one state; a checkpoint that was cut is off by far more."""


class PortableStateWarning(UserWarning):
    """A run goes on from its portable state: it is valid, and not the same to the last bit.

    Positions, velocities, box, parameters and the variables of the integrator are kept. Random
    numbers begin with new seeds, and barostats adapt their step size again. Turned into an error
    (``warnings.simplefilter("error", PortableStateWarning)``), `load_run` refuses such a run.
    """


def save_run(simulation: Any) -> dict[str, Any]:
    """Return a simulation as a component state, for `CheckpointManager.create_checkpoint`.

    The frames of its `TrajectoryReporter` that are due are written, and all of them made durable,
    before this returns: no checkpoint is ever ahead of its trajectory.

    Parameters
    ----------
    simulation : openmm.app.Simulation
        Any, at any step.

    Returns
    -------
    dict
        ``system``, ``integrator`` and ``state`` (XML, compressed by zlib), ``topology`` (plain
        values), ``checkpoint`` (OpenMM's binary one), ``step``, ``time`` (ps), ``platform``,
        ``properties``, ``openmm`` (the version), ``trajectories`` (frames by `data_id`), ``format``.

    Raises
    ------
    InvalidArgumentError
        Something can't be kept: a force without a portable form, a `PythonForce`, the copies of an
        `RPMDIntegrator`; or a position or velocity is NaN or infinite.
    InvalidTypeError
        It is not a simulation.
    """
    import openmm
    from openmm import app, unit

    if not isinstance(simulation, app.Simulation):
        raise InvalidTypeError(
            f"simulation={simulation!r} is of type {type(simulation).__name__}: "
            "expected an openmm.app.Simulation"
        )
    if isinstance(simulation.integrator, getattr(openmm, "RPMDIntegrator", ())):
        raise InvalidArgumentError(
            "simulation: the copies of an RPMDIntegrator are in none of OpenMM's states; save them "
            "with integrator.getState(copy, …)"
        )
    trajectories = [r for r in simulation.reporters if isinstance(r, TrajectoryReporter)]
    for reporter in trajectories:
        reporter.report_due(simulation)
        reporter.flush()
    context = simulation.context
    state = context.getState(
        positions=True, velocities=True, parameters=True, integratorParameters=True
    )
    _check_finite(simulation.currentStep, state)
    platform = context.getPlatform()
    return {
        "format": FORMAT,
        "openmm": openmm.version.full_version,
        "platform": platform.getName(),
        "properties": {
            name: platform.getPropertyValue(context, name)
            for name in platform.getPropertyNames()
            if name in PROPERTIES
        },
        "step": int(simulation.currentStep),
        "time": float(state.getTime().value_in_unit(unit.picosecond)),
        "system": _xml("system", simulation.system),
        "integrator": _xml("integrator", simulation.integrator),
        "state": _xml("state", state),
        "topology": topology_to_plain(simulation.topology),
        "checkpoint": context.createCheckpoint(),
        "trajectories": {reporter.data_id: reporter.n_frames for reporter in trajectories},
    }


def load_run(
    state: Mapping[str, Any],
    *,
    platform: Any = None,
    properties: Mapping[str, str] | None = None,
) -> Any:
    """Return the simulation that `save_run` was given, ready to step.

    Its reporters have to be appended again. A `TrajectoryReporter` of the same `data_id` then drops
    frames that were stored later, and raises `ResumeError` where frames are missing.

    Parameters
    ----------
    state : dict
        What `save_run` returned.
    platform : str or openmm.Platform, optional
        By default the one that it was saved on; where that is not there, what OpenMM takes.
    properties : dict, optional
        Properties of the platform (`DeviceIndex`, `Threads`), beside those that decide the numbers
        (`Precision`), which are as they were unless given here.

    Returns
    -------
    openmm.app.Simulation
        At the step and time at which it was saved, without reporters.

    Warns
    -----
    PortableStateWarning
        Another version or platform, or a binary checkpoint that OpenMM refuses: the run goes on from
        the portable state.

    Raises
    ------
    InvalidArgumentError
        It is nothing that `save_run` returned, the platform is not there or has no such `properties`,
        or the system holds Python code.
    UnsupportedFormatError
        It was saved by a newer version of this package.
    CorruptDataError
        A part of it is damaged.
    """
    import openmm

    _check_format(state)
    chosen = _platform(platform, state["platform"])
    _check_properties(properties or {}, chosen)
    reason = _misfit(state, chosen)
    if reason is None:
        simulation = _build(state, chosen, properties)
        try:
            simulation.context.loadCheckpoint(state["checkpoint"])
        except openmm.OpenMMException as error:
            reason = f"OpenMM refuses the binary checkpoint: {error}"
        else:
            # OpenMM takes one that was cut short, with what is missing left as it was.
            if not _is_at(simulation, _parsed(state, "state")):
                reason = "the binary checkpoint does not give the state that was saved with it"
    if reason is not None:
        # Whatever a refused checkpoint left is in the old context.
        simulation = _build(state, chosen, properties, seeds_of_step=state["step"])
        simulation.context.setState(_parsed(state, "state"))
        simulation.currentStep = state["step"]
        warnings.warn(
            f"the run goes on from its portable state at step {state['step']}, not to the last bit "
            f"as it would have: {reason}",
            PortableStateWarning,
            stacklevel=2,
        )
    remember(simulation, Restored(state["step"], dict(state["trajectories"])))
    return simulation


def load_latest(
    manager: CheckpointManager,
    *,
    name: str = "md",
    platform: Any = None,
    properties: Mapping[str, str] | None = None,
) -> Any:
    """Return the simulation of the newest checkpoint that can be loaded, or None if there is none.

    Parameters
    ----------
    manager : CheckpointManager
        Where a `CheckpointReporter` saves.
    name : str, optional
        The component that holds the simulation.
    platform, properties
        As for `load_run`.

    Returns
    -------
    openmm.app.Simulation or None
        A damaged checkpoint is passed over with a warning in the log.

    Raises
    ------
    CorruptDataError
        All of the checkpoints are damaged.
    CheckpointError
        There are checkpoints, and none has a component of this name.
    InvalidArgumentError, UnsupportedFormatError
        As for `load_run`.
    """
    instance("manager", manager, _native.CheckpointManager, "a CheckpointManager")
    damaged: CorruptDataError | None = None
    others: set[str] = set()
    for row in reversed(manager.list_checkpoints()):
        if row["valid"] and name not in row["components"]:
            others.update(row["components"])
            continue
        try:
            states = manager.load_checkpoint(row["path"], components=[name])
            return load_run(states[name], platform=platform, properties=properties)
        except CorruptDataError as error:
            logger.warning("left out a damaged checkpoint: %s", error)
            damaged = error
    if damaged is not None:
        raise damaged
    if others:
        raise CheckpointError(
            f"name={name!r}: no checkpoint in {manager.base_dir} has this component; "
            f"expected one of {sorted(others)}"
        )
    return None


def _xml(name: str, item: Any) -> bytes:
    """Return OpenMM's portable form of something, compressed."""
    import openmm

    try:
        text = openmm.XmlSerializer.serialize(item)
    except openmm.OpenMMException as error:
        raise InvalidArgumentError(
            f"simulation: its {name} has a part that OpenMM has no portable form for: {error}"
        ) from error
    _refuse_code(name, text)
    return zlib.compress(text.encode(), COMPRESSION)


def _parsed(state: Mapping[str, Any], name: str) -> Any:
    """Return what `_xml` was given."""
    import openmm

    try:
        text = zlib.decompress(state[name]).decode()
    except (zlib.error, UnicodeDecodeError) as error:
        raise CorruptDataError(f"the {name} of the saved run is damaged: {error}") from error
    _refuse_code(name, text)
    try:
        return openmm.XmlSerializer.deserialize(text)
    except openmm.OpenMMException as error:
        raise CheckpointError(
            f"OpenMM {openmm.version.full_version} can't read the {name} that version "
            f"{state['openmm']} has saved: {error}. Forces of plugins need their module imported"
        ) from error


def _refuse_code(name: str, text: str) -> None:
    if CODE.search(text):
        raise InvalidArgumentError(
            f"the {name} has a PythonForce, which is Python code, or hides a type: expected forces "
            "that are data. "
            "Build such a simulation in the script, and save its state with OpenMM's own "
            "createCheckpoint()"
        )


def _check_finite(step: int, state: Any) -> None:
    for what, values in _arrays(state):
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            atom = int(np.argmin(finite))
            raise InvalidArgumentError(
                f"the {what} of atom {atom} at step {step} is {values[atom].tolist()}: the "
                "simulation has become unstable, and is not saved"
            )


def _arrays(state: Any) -> list[tuple[str, Any]]:
    """Positions (nm) and velocities (nm/ps) of a state."""
    return [
        ("position", state.getPositions(asNumpy=True)._value),
        ("velocity", state.getVelocities(asNumpy=True)._value),
    ]


def _check_format(state: Any) -> None:
    if not isinstance(state, Mapping) or not isinstance(state.get("format"), int):
        shown = sorted(map(str, state)) if isinstance(state, Mapping) else type(state).__name__
        raise InvalidArgumentError(
            f"state={shown} is not valid: expected what save_run returned, "
            'such as manager.load_checkpoint(path)["md"]'
        )
    if state["format"] > FORMAT:
        raise UnsupportedFormatError(
            f"the saved run has format {state['format']}, newer than {FORMAT}: "
            "upgrade proteinflex-optimization"
        )
    for name, kind in PARTS.items():
        if not isinstance(state.get(name), kind):
            found = f"is of type {type(state[name]).__name__}" if name in state else "is not there"
            raise InvalidArgumentError(
                f"state: {name!r} {found}; expected what save_run returned, with all of its parts"
            )


def _platform(wanted: Any, saved: str) -> Any:
    """Return the platform to use, or None to let OpenMM choose."""
    import openmm

    name = saved if wanted is None else wanted
    if not isinstance(name, str):
        return name
    installed = [
        openmm.Platform.getPlatform(index).getName()
        for index in range(openmm.Platform.getNumPlatforms())
    ]
    if name in installed:
        return openmm.Platform.getPlatformByName(name)
    if wanted is None:
        return None
    raise InvalidArgumentError(f"platform={wanted!r} is not there: expected one of {installed}")


def _check_properties(properties: Any, platform: Any) -> None:
    """Refuse what a platform has not, where it is known which one that is."""
    if not isinstance(properties, Mapping):
        raise InvalidTypeError(f"properties={properties!r}: expected a dict of str to str")
    for name, value in properties.items():
        if platform is not None and name not in platform.getPropertyNames():
            raise InvalidArgumentError(
                f"properties: {name!r} is no property of the platform {platform.getName()}: "
                f"expected one of {list(platform.getPropertyNames())}"
            )
        if not isinstance(value, str):
            raise InvalidTypeError(
                f"properties[{name!r}]={value!r}: expected a str, as OpenMM does"
            )


def _misfit(state: Mapping[str, Any], platform: Any) -> str | None:
    """Say why the binary checkpoint does not fit, if that is known beforehand."""
    import openmm

    version = openmm.version.full_version
    if state["openmm"] != version:
        return f"it was saved by OpenMM {state['openmm']}, and this is {version}"
    found = "another" if platform is None else platform.getName()
    if state["platform"] != found:
        return f"it was saved on the platform {state['platform']}, and this is {found}"
    return None


def _build(
    state: Mapping[str, Any],
    platform: Any,
    properties: Mapping[str, str] | None,
    *,
    seeds_of_step: int | None = None,
) -> Any:
    """Make the simulation, without its state."""
    from openmm import app

    system, integrator = _parsed(state, "system"), _parsed(state, "integrator")
    if seeds_of_step is not None:
        reseed(system, integrator, seeds_of_step)
    topology = topology_from_plain(state["topology"])
    if platform is None:
        return app.Simulation(topology, system, integrator)
    known = platform.getPropertyNames()
    kept = {name: value for name, value in state["properties"].items() if name in known}
    return app.Simulation(
        topology, system, integrator, platform, {**kept, **dict(properties or {})}
    )


def _is_at(simulation: Any, saved: Any) -> bool:
    """Whether a simulation is in a state, as far as the state tells."""
    found = simulation.context.getState(positions=True, velocities=True, parameters=True)
    return (
        found.getStepCount() == saved.getStepCount()
        and found.getTime() == saved.getTime()
        and found.getPeriodicBoxVectors() == saved.getPeriodicBoxVectors()
        and dict(found.getParameters()) == dict(saved.getParameters())
        and all(
            np.allclose(one, other, rtol=0, atol=TOLERANCE)
            for (_, one), (_, other) in zip(_arrays(found), _arrays(saved), strict=True)
        )
    )
