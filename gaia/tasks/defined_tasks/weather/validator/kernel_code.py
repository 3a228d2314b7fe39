"""Generates the machine code of the kernel: 16-wide vectors, which every processor executes with its own width."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from gaia.tasks.defined_tasks.weather.validator.sums import LANES, ForecastSums, PersistenceSums, TruthSums

_FLOAT, _DOUBLE, _INDEX = ir.FloatType(), ir.DoubleType(), ir.IntType(32)


class Program(NamedTuple):
    """A function, and the types of its arguments."""

    function: Callable[..., None]
    signature: Any


def programs() -> Mapping[str, Program]:
    """Return every function of the kernel by name; a pass over fields has one per type, such as "truth_f"."""
    rows = types.Array(types.float64, 2, "C", readonly=True)
    weights = types.Array(types.float64, 1, "C", readonly=True)
    made = {"weigh": Program(_weigh_rows, types.void(rows, weights, types.float64[::1]))}
    table = types.float64[:, ::1]
    for kind in "fd":
        field = types.Array(numba.from_dtype(np.dtype(kind)), 2, "C", readonly=True)
        made |= {
            f"truth_{kind}": Program(_sum_truth, types.void(field, field, field, table)),
            f"persistence_{kind}": Program(_sum_persistence, types.void(field, field, field, field, table)),
            f"forecast_{kind}": Program(_sum_forecast, types.void(field, field, field, field, table)),
            f"both_{kind}": Program(_sum_both, types.void(field, field, field, field, table, table)),
        }
    return made


def _sum_truth(truth: Any, climatology: Any, gfs: Any, table: Any) -> None:
    middle = np.float64(truth[truth.shape[0] // 2, truth.shape[1] // 2])
    for row in range(truth.shape[0]):
        _truth_row(truth[row], climatology[row], gfs[row], middle, table[row])


def _sum_persistence(truth: Any, climatology: Any, gfs: Any, persistence: Any, table: Any) -> None:
    middle = 0.0
    for row in range(truth.shape[0]):
        _persistence_row(truth[row], climatology[row], gfs[row], persistence[row], middle, table[row])


def _sum_forecast(forecast: Any, truth: Any, climatology: Any, gfs: Any, table: Any) -> None:
    middle = np.float64(truth[truth.shape[0] // 2, truth.shape[1] // 2])
    for row in range(truth.shape[0]):
        _forecast_row(forecast[row], truth[row], climatology[row], gfs[row], middle, table[row])


def _sum_both(forecast: Any, truth: Any, climatology: Any, gfs: Any, of_forecast: Any, of_truth: Any) -> None:
    middle = np.float64(truth[truth.shape[0] // 2, truth.shape[1] // 2])
    for row in range(truth.shape[0]):
        _both_row(
            forecast[row], truth[row], climatology[row], gfs[row], middle, of_forecast[row], of_truth[row]
        )


def _weigh_rows(table: Any, weights: Any, total: Any) -> None:
    for row in range(table.shape[0]):
        for column in range(table.shape[1]):
            total[column] += weights[row] * table[row, column]


# From here on: code generation for the sums of a row.


class _Row:
    """Emits the code that sums one row; `terms` returns the terms of 16 columns."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> None:
        self.builder = builder
        arrays: list[Any] = [
            context.make_array(kind)(context, builder, value) if isinstance(kind, types.Array) else None
            for kind, value in zip(signature.args, arguments, strict=True)
        ]
        middle = arrays.index(None)
        self._fields = [array.data for array in arrays[:middle]]
        self._tables = [array.data for array in arrays[middle + 1 :]]
        self._columns = builder.extract_value(arrays[0].shape, 0)
        self.middle = self._in_all_lanes(arguments[middle])

    def emit(self, *groups: tuple[_Terms, int]) -> None:
        """Write the sums of each group of terms, and a forecast's extremes, to the row of its table."""
        builder, columns = self.builder, self._columns
        sums = [_Lanes(builder, _splat(_DOUBLE, 0.0)) for _, count in groups for _ in range(count)]
        kind = self._fields[0].type.pointee
        least, most = (_Lanes(builder, _splat(kind, end)) for end in (math.inf, -math.inf))

        def add(loaded: list[Any], is_there: Any = None) -> None:
            values = [self._in_double(field) for field in loaded]
            terms = [term for group, _ in groups for term in group(self, values)]
            for total, term in zip(sums, terms, strict=True):
                total.update(builder.fadd(total.value, term), is_there)
            for extreme, order in ((least, "<"), (most, ">")):
                extreme.update(self._better(order)(loaded[0], extreme.value), is_there)

        lanes = columns.type(LANES)
        whole = builder.mul(builder.sdiv(columns, lanes), lanes)
        with cgutils.for_range_slice(builder, columns.type(0), whole, lanes, intp=columns.type) as (at, _):
            add([self._load(field, at) for field in self._fields])
        rest = builder.sub(columns, whole)
        with builder.if_then(builder.icmp_signed(">", rest, columns.type(0))):
            numbers = ir.Constant(ir.VectorType(_INDEX, LANES), list(range(LANES)))
            is_there = builder.icmp_signed("<", numbers, self._in_all_lanes(builder.trunc(rest, _INDEX)))
            add([self._load_rest(field, whole, rest) for field in self._fields], is_there)
        self._write(groups, sums, [(least, "<"), (most, ">")])

    def _write(
        self, groups: Sequence[tuple[_Terms, int]], sums: list[_Lanes], extremes: list[tuple[_Lanes, str]]
    ) -> None:
        builder = self.builder
        folded = [self._fold(total.value, builder.fadd) for total in sums]
        for (terms, count), table in zip(groups, self._tables, strict=True):
            results, folded = folded[:count], folded[count:]
            if terms is _forecast_terms:
                ends = [self._fold(extreme.value, self._better(order)) for extreme, order in extremes]
                results += [end if end.type == _DOUBLE else builder.fpext(end, _DOUBLE) for end in ends]
            for number, result in enumerate(results):
                builder.store(result, builder.gep(table, [self._columns.type(number)]))

    def _load(self, field: Any, at: Any) -> Any:
        kind = ir.VectorType(field.type.pointee, LANES)
        values = self.builder.load(self.builder.bitcast(self.builder.gep(field, [at]), kind.as_pointer()))
        values.align = 4
        return values

    def _load_rest(self, field: Any, start: Any, count: Any) -> Any:
        """Load fewer columns than lanes; the other lanes hold 0."""
        builder = self.builder
        room = _Lanes(builder, _splat(field.type.pointee, 0.0))
        lane = builder.bitcast(room.place, field.type)
        with cgutils.for_range(builder, count) as loop:
            value = builder.load(builder.gep(field, [builder.add(start, loop.index)]))
            builder.store(value, builder.gep(lane, [loop.index]))
        return room.value

    def _in_double(self, values: Any) -> Any:
        kind = ir.VectorType(_DOUBLE, LANES)
        return values if values.type.element == _DOUBLE else self.builder.fpext(values, kind)

    def _in_all_lanes(self, value: Any) -> Any:
        nothing = ir.Constant(ir.VectorType(value.type, LANES), ir.Undefined)
        first = self.builder.insert_element(nothing, value, _INDEX(0))
        return self.builder.shuffle_vector(first, nothing, _splat(_INDEX, 0))

    def _fold(self, lanes: Any, join: Callable[[Any, Any], Any]) -> Any:
        """Add the upper half of the lanes to the lower half until one lane is left."""
        width = LANES
        while width > 1:
            width //= 2
            nothing, half = ir.Constant(lanes.type, ir.Undefined), ir.VectorType(_INDEX, width)
            lower, upper = (ir.Constant(half, list(range(first, first + width))) for first in (0, width))
            shuffle = self.builder.shuffle_vector
            lanes = join(shuffle(lanes, nothing, lower), shuffle(lanes, nothing, upper))
        return self.builder.extract_element(lanes, _INDEX(0))

    def _better(self, order: str) -> Callable[[Any, Any], Any]:
        """Return the smaller or larger of two values, ignoring NaN."""
        builder = self.builder
        return lambda new, old: builder.select(builder.fcmp_ordered(order, new, old), new, old)


_Terms = Callable[[_Row, list[Any]], list[Any]]


class _Lanes:
    """One value per lane, kept from block to block."""

    def __init__(self, builder: Any, start: Any) -> None:
        self._builder = builder
        self.place: Any = cgutils.alloca_once_value(builder, start)  # type: ignore[no-untyped-call]
        builder.store(start, self.place)

    @property
    def value(self) -> Any:
        return self._builder.load(self.place)

    def update(self, value: Any, is_there: Any) -> None:
        """Store the new value; with `is_there`, only in the lanes that it selects."""
        kept = value if is_there is None else self._builder.select(is_there, value, self.value)
        self._builder.store(kept, self.place)


def _splat(kind: Any, value: float) -> Any:
    return ir.Constant(ir.VectorType(kind, LANES), [value] * LANES)


def _truth_terms(row: _Row, values: list[Any]) -> list[Any]:
    builder, (truth, climatology, gfs) = row.builder, values[-3:]
    of_climatology, of_gfs = builder.fsub(climatology, truth), builder.fsub(gfs, truth)
    gfs_centred = builder.fsub(gfs, row.middle)
    return [
        builder.fsub(truth, row.middle),
        of_climatology,
        of_gfs,
        builder.fmul(of_climatology, of_climatology),
        builder.fmul(of_gfs, of_gfs),
        builder.fmul(of_climatology, of_gfs),
        builder.fmul(gfs_centred, gfs_centred),
    ]


def _persistence_terms(row: _Row, values: list[Any]) -> list[Any]:
    builder, (truth, climatology, gfs, persistence) = row.builder, values
    of_persistence = builder.fsub(persistence, truth)
    return [
        builder.fmul(of_persistence, of_persistence),
        builder.fmul(builder.fsub(climatology, truth), of_persistence),
        builder.fmul(builder.fsub(gfs, truth), of_persistence),
    ]


def _forecast_terms(row: _Row, values: list[Any]) -> list[Any]:
    builder, (forecast, truth, climatology, gfs) = row.builder, values
    error, anomaly, distance = (builder.fsub(forecast, field) for field in (truth, climatology, gfs))
    centred = builder.fsub(forecast, row.middle)
    bits = ir.VectorType(ir.IntType(64), LANES)
    without_sign = builder.and_(builder.bitcast(error, bits), _splat(ir.IntType(64), 2**63 - 1))
    return [
        error,
        builder.bitcast(without_sign, error.type),
        builder.fmul(error, error),
        builder.fmul(anomaly, anomaly),
        builder.fmul(distance, distance),
        builder.fmul(centred, centred),
    ]


def _generated(*groups: tuple[_Terms, int]) -> Callable[[Any, Any, Any, Any], Any]:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _Row(context, builder, signature, arguments).emit(*groups)
        return context.get_dummy_value()

    return generate


_TRUTH = (_truth_terms, len(TruthSums._fields))
_PERSISTENCE = (_persistence_terms, len(PersistenceSums._fields))
_FORECAST = (_forecast_terms, len(ForecastSums._fields))


def _truth_row_of(_typing: Any, o: Any, c: Any, g: Any, s: Any, out: Any) -> Any:
    return types.void(o, c, g, s, out), _generated(_TRUTH)


def _persistence_row_of(_typing: Any, o: Any, c: Any, g: Any, p: Any, s: Any, out: Any) -> Any:
    return types.void(o, c, g, p, s, out), _generated(_PERSISTENCE)


def _forecast_row_of(_typing: Any, f: Any, o: Any, c: Any, g: Any, s: Any, out: Any) -> Any:
    return types.void(f, o, c, g, s, out), _generated(_FORECAST)


def _both_row_of(  # noqa: PLR0917 - numba passes them by position
    _typing: Any, f: Any, o: Any, c: Any, g: Any, s: Any, out: Any, other: Any
) -> Any:
    return types.void(f, o, c, g, s, out, other), _generated(_FORECAST, _TRUTH)


_truth_row: Any = intrinsic(_truth_row_of)
_persistence_row: Any = intrinsic(_persistence_row_of)
_forecast_row: Any = intrinsic(_forecast_row_of)
_both_row: Any = intrinsic(_both_row_of)
