"""Eight float64 side by side in one register: a type for numba's compiled code, with the few operations it needs.

Compilers vectorise plain loops, but not ones that read and write many places of one array, as they can't know that
those don't overlap. LLVM splits a vector where the processor's registers are shorter.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

WIDTH = 8
LINE = 8  # numbers of 64 bits in a line of the cache

_IR = ir.VectorType(ir.DoubleType(), WIDTH)
_LANE = ir.IntType(32)


class VectorType(types.Type):
    """Numba's type of a vector."""

    def __init__(self) -> None:
        super().__init__(name="Float64x8")


vector = VectorType()
_EIGHT = types.UniTuple(vector, WIDTH)


@register_model(VectorType)
class VectorModel(models.PrimitiveModel):
    """How LLVM holds it."""

    def __init__(self, manager: Any, numba_type: Any) -> None:
        super().__init__(manager, numba_type, _IR)


def _place(context: Any, builder: ir.IRBuilder, array_type: Any, array: Any, index: Any) -> Any:
    data = cgutils.create_struct_proxy(array_type)(context, builder, value=array).data
    return builder.bitcast(builder.gep(data, [index]), _IR.as_pointer())


@intrinsic
def prefetch(typing_context: Any, array: Any, index: Any) -> Any:
    """Have the processor fetch the line of array[index], contiguous and 1-d, into its nearest cache, and go on."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        number, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        place = builder.bitcast(_place(context, builder, signature.args[0], *arguments), byte)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        read, nearest, of_data = ir.Constant(number, 0), ir.Constant(number, 3), ir.Constant(number, 1)
        builder.call(function, [place, read, nearest, of_data])
        return context.get_dummy_value()

    return types.void(array, index), generate


@intrinsic
def load(typing_context: Any, array: Any, index: Any) -> Any:
    """array[index : index + 8] of a contiguous 1-d float64 array, unchecked."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        value = builder.load(_place(context, builder, signature.args[0], *arguments))
        value.align = 8
        return value

    return vector(array, types.int64), generate


@intrinsic
def store(typing_context: Any, array: Any, index: Any, value: Any) -> Any:
    """array[index : index + 8] = value, unchecked."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        *place, value = arguments
        builder.store(value, _place(context, builder, signature.args[0], *place)).align = 8
        return context.get_dummy_value()

    return types.void(array, types.int64, vector), generate


@intrinsic
def spread(typing_context: Any, value: Any) -> Any:
    """A number in all eight places."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        first = builder.insert_element(ir.Constant(_IR, ir.Undefined), arguments[0], ir.Constant(_LANE, 0))
        return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(_LANE, WIDTH), None))

    return vector(types.float64), generate


@intrinsic
def fma(typing_context: Any, x: Any, y: Any, z: Any) -> Any:
    """x*y + z rounded once, of numbers or vectors."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        if signature.return_type == types.float64:
            return builder.fma(*arguments)
        function = ir.FunctionType(_IR, [_IR, _IR, _IR])
        return builder.call(cgutils.get_or_insert_function(builder.module, function, "llvm.fma.v8f64"), arguments)

    kind = vector if isinstance(x, VectorType) else types.float64
    return kind(kind, kind, kind), generate


@intrinsic
def transpose(typing_context: Any, rows: Any) -> Any:
    """Eight vectors as the rows of a square: its columns."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        square = cgutils.unpack_tuple(builder, arguments[0], WIDTH)
        for step in (1, 2, 4):  # swap the off-diagonal blocks of ever larger squares
            low = [i if not i & step else i - step + WIDTH for i in range(WIDTH)]
            high = [i + step if not i & step else i + WIDTH for i in range(WIDTH)]
            masks = [ir.Constant(ir.VectorType(_LANE, WIDTH), mask) for mask in (low, high)]
            for i in range(WIDTH):
                if not i & step:
                    pair = square[i], square[i + step]
                    square[i], square[i + step] = (builder.shuffle_vector(*pair, mask) for mask in masks)
        return context.make_tuple(builder, signature.return_type, square)

    return _EIGHT(_EIGHT), generate


def _operation(name: str) -> Any:
    @intrinsic
    def apply(typing_context: Any, x: Any, y: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            return getattr(builder, name)(*arguments)

        return vector(vector, vector), generate

    return apply


def _overload(function: Callable[[Any, Any], Any], operation: Any) -> None:
    @overload(function)
    def typed(x, y):  # type: ignore[no-untyped-def]
        if isinstance(x, VectorType) and isinstance(y, VectorType):
            return lambda x, y: operation(x, y)
        return None


for _function, _name in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul")):
    _overload(_function, _operation(_name))
