"""Columns of a topology: as the compiled module takes them, and as other libraries' objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._arguments import iterable
from .errors import InvalidArgumentError

if TYPE_CHECKING:
    from .topology import Topology
    from .types import AtomSelection

ELEMENTS = (
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br"
    " Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho"
    " Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es"
    " Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og D T"
)

SYMBOLS = ("", *ELEMENTS.split())
"""Of elements by their number in a file: none, then by atomic number, then the isotopes of hydrogen."""

NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS)}
DEUTERIUM = NUMBERS["D"]

ORDER_STEP = 4
"""Bond orders are stored in quarters: 1.25 is an amide, 1.5 aromatic."""


def texts(
    column: str, values: Iterable[str] | None, default: Any = None
) -> tuple[list[str], NDArray[np.uint32]]:
    """Return the texts that occur, and which of them each value is."""
    if values is None and default is not None:
        found: tuple[list[str], NDArray[np.uint32]] = default
        return found
    known: dict[str, int] = {}
    given = (
        values.tolist()
        if isinstance(values, np.ndarray)
        else list(iterable(column, values, "a sequence of texts"))
    )
    index = np.array([known.setdefault(text, len(known)) for text in given], np.uint32)
    for text in known:
        try:
            if not isinstance(text, str):
                raise TypeError
            text.encode()
        except (TypeError, UnicodeEncodeError):
            raise InvalidArgumentError(
                f"{column} has {text!r}: expected texts that UTF-8 can hold"
            ) from None
    return list(known), index


def integers(column: str, values: ArrayLike, dtype: Any) -> NDArray[Any]:
    given = np.asarray(values)
    if given.size == 0:
        return np.empty(0, dtype)
    limits = np.iinfo(dtype)
    if given.ndim != 1 or given.dtype.kind not in "iu":
        raise InvalidArgumentError(
            f"{column} has shape {given.shape} and dtype {given.dtype}: expected one list of integers"
        )
    if given.min() < limits.min or given.max() > limits.max:
        found = given.min() if given.min() < limits.min else given.max()
        raise InvalidArgumentError(f"{column} has {found}: expected {limits.min} to {limits.max}")
    return np.ascontiguousarray(given, dtype)


def elements_of(values: Iterable[str]) -> NDArray[np.uint8]:
    distinct, index = texts("elements", values)
    numbers = []
    for symbol in distinct:
        number = NUMBERS.get(symbol.strip().capitalize())
        if number is None:
            raise InvalidArgumentError(
                f"elements has {symbol!r}: expected symbols of elements, or '' for none"
            )
        numbers.append(number)
    return np.array(numbers, np.uint8)[index] if numbers else np.empty(0, np.uint8)


def bonds_of(
    bonds: ArrayLike | None, orders: ArrayLike | None
) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """Return each bond once, with the lower atom first and in ascending order, and its order."""
    given = np.asarray([] if bonds is None else bonds)
    if given.size == 0:
        return np.empty((0, 2), np.uint32), np.empty(0, np.uint8)
    if given.ndim != 2 or given.shape[1] != 2:
        raise InvalidArgumentError(
            f"bonds has shape {given.shape}: expected (n_bonds, 2), pairs of atoms"
        )
    pairs = integers("bonds", given.ravel(), np.uint32).reshape(-1, 2)
    quarters = np.zeros(len(pairs)) if orders is None else ORDER_STEP * np.asarray(orders, float)
    if quarters.shape != (len(pairs),):
        raise InvalidArgumentError(
            f"bond_orders has shape {quarters.shape}: expected ({len(pairs)},), one for each bond"
        )
    wrong = ~((quarters >= 0) & (quarters <= 255) & (quarters == np.round(quarters)))
    if wrong.any():
        raise InvalidArgumentError(
            f"bond_orders has {quarters[wrong][0] / ORDER_STEP:g}: expected multiples of "
            f"{1 / ORDER_STEP} from 0 to {255 // ORDER_STEP}"
        )
    pairs = np.sort(pairs, axis=1)
    # Of one bond that is given twice, the higher order: 0 is an unknown one.
    order = np.lexsort((-quarters, pairs[:, 1], pairs[:, 0]))
    pairs, quarters = pairs[order], quarters[order]
    first = np.ones(len(pairs), bool)
    first[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
    return np.ascontiguousarray(pairs[first]), quarters[first].astype(np.uint8)


def chosen_atoms(atoms: AtomSelection, n_atoms: int) -> NDArray[np.intp]:
    picked = atoms if isinstance(atoms, slice) else np.atleast_1d(np.asarray(atoms))
    if not isinstance(picked, slice) and picked.size == 0:
        return np.empty(0, np.intp)
    try:
        chosen: NDArray[np.intp] = np.arange(n_atoms)[picked]
    except IndexError as error:
        raise InvalidArgumentError(
            f"atoms is not valid: expected indices or a mask of {n_atoms} atoms ({error})"
        ) from error
    if chosen.ndim != 1 or len(np.unique(chosen)) < len(chosen):
        raise InvalidArgumentError("atoms is not valid: expected each atom once")
    return chosen


def build(
    topology: Topology,
    library: str,
    element: Callable[[str], Any],
    add_chain: Callable[[str], Any],
    add_residue: Callable[[int, Any], Any],
    add_atom: Callable[[str, Any, Any], Any],
    add_bond: Callable[[Any, Any, float, int | None], Any],
) -> None:
    """Make another library's objects of the rows, each of the object that it belongs to.

    Residues are passed by their row, bonds with their order, also as a whole number where it is one.
    """
    residues: list[Any] = []
    chain, last = None, None
    for row, index in enumerate(topology.chain_index.tolist()):
        if index != last:
            # One that goes on after another is a chain again: they have residues in their order.
            chain, last = add_chain(str(topology.chain_ids[index])), index
        residues.append(add_residue(row, chain))
    elements = {}
    for symbol in np.unique(topology.elements).tolist():
        try:
            elements[symbol] = element(symbol)
        except KeyError:
            raise InvalidArgumentError(
                f"the topology has the element {symbol!r}, which {library} does not know"
            ) from None
    columns = (topology.names, topology.elements, topology.residue_index)
    atoms = [
        add_atom(name, elements[symbol], residues[index])
        for name, symbol, index in zip(*(column.tolist() for column in columns), strict=True)
    ]
    orders = topology.bond_orders.tolist()
    for (first, second), order in zip(topology.bonds.tolist(), orders, strict=True):
        whole = int(order) if order in (1, 2, 3) else None
        add_bond(atoms[first], atoms[second], order, whole)
