"""How the solver's functions are compiled, and the LLVM instructions that Numba has no name for.

Imported, like `tvl1/row.py` and `tvl1/band.py`, only once a solver is made: Numba loads slowly.
"""

import platform
import sys

import numba
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

COMPILE_OPTIONS = {"fastmath": True, "error_model": "numpy", "nogil": True}
KERNEL_OPTIONS = {**COMPILE_OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
FLOAT, INT32, INT64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)


def kernel(function):
    """Marks a function for compiling that only other compiled functions call."""
    return numba.njit(**KERNEL_OPTIONS)(function)


def inline_kernel(function):
    """The same for one that becomes part of its caller."""
    return numba.njit(**KERNEL_OPTIONS, forceinline=True)(function)


@intrinsic
def arguments_do_not_overlap(typing_context):
    """Declares the arrays given to the calling function disjoint, as C's `restrict` does."""

    def generate(context, builder, signature, arguments):
        float_pointer = FLOAT.as_pointer()
        for argument in builder.function.args:
            if argument.type == float_pointer:
                argument.add_attribute("noalias")
        return context.get_dummy_value()

    return types.none(), generate


@intrinsic
def pointer(typing_context, array, indices):
    """Address of `array[indices]`, an element of a contiguous array.

    Unlike a slice it costs no reference count, and an index below zero means what comes before.
    """

    def generate(context, builder, signature, arguments):
        struct = context.make_array(signature.args[0])(context, builder, arguments[0])
        lengths = cgutils.unpack_tuple(builder, struct.shape)
        position = INT64(0)
        for axis, length in enumerate(lengths):
            index = builder.extract_value(arguments[1], axis)
            position = builder.add(builder.mul(position, length), index)
        return builder.gep(struct.data, [position])

    indices_type = types.UniTuple(types.int64, array.ndim)
    return types.CPointer(array.dtype)(array, indices_type), generate


@intrinsic
def add_one(typing_context, counter):
    """Adds 1 to `counter[0]` in one step that no other thread can interrupt."""

    def generate(context, builder, signature, arguments):
        pointer = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        builder.atomic_rmw("add", pointer, ir.Constant(INT64, 1), "seq_cst")
        return context.get_dummy_value()

    return types.none(counter), generate


@intrinsic
def read(typing_context, counter):
    """`counter[0]` as other threads last wrote it, and everything they wrote before that."""

    def generate(context, builder, signature, arguments):
        pointer = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.load_atomic(pointer, "acquire", 8)

    return types.int64(counter), generate


@intrinsic
def pause(typing_context):
    """Waits for an instant, and leaves the core to the thread that it shares its units with."""
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")

    def generate(context, builder, signature, arguments):
        if is_x86:
            function_type, name = ir.FunctionType(ir.VoidType(), []), "llvm.x86.sse2.pause"
            builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), [])
        return context.get_dummy_value()

    return types.none(), generate


@intrinsic
def yield_core(typing_context):
    """Lets another thread have the core (there may be more threads than cores)."""
    name = "SwitchToThread" if sys.platform == "win32" else "sched_yield"

    def generate(context, builder, signature, arguments):
        if binding.address_of_symbol(name):  # else the thread goes on asking
            function_type = ir.FunctionType(INT32, [])
            builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), [])
        return context.get_dummy_value()

    return types.none(), generate


@intrinsic
def sample(typing_context, pixel, row_stride, along_x, along_y):
    """Weighted sum of 4x4 neighbouring pixels of an image with four channels, all four at once.

    `pixel` points to the first one, rows are `row_stride` numbers apart, `along_x` and `along_y`
    are four weights each. Returns the first three channels. It is written in vector instructions
    because LLVM finds none by itself: four pixels of a row are one vector.
    """

    def generate(context, builder, signature, arguments):
        line_pointer = ir.VectorType(FLOAT, 16).as_pointer()
        total = None
        for row in range(4):
            line_start = builder.gep(arguments[0], [builder.mul(arguments[1], INT64(row))])
            pointer = builder.bitcast(line_start, line_pointer)
            weight = _spread(builder, arguments[3], [row] * 16)
            line = builder.fmul(builder.load(pointer, align=4), weight, flags=("fast",))
            total = line if total is None else builder.fadd(total, line, flags=("fast",))
        weight = _spread(builder, arguments[2], [place // 4 for place in range(16)])
        total = builder.fmul(total, weight, flags=("fast",))
        for half in (8, 4):
            low, high = (
                _shuffled(builder, total, list(range(start, start + half))) for start in (0, half)
            )
            total = builder.fadd(low, high, flags=("fast",))
        channels = [builder.extract_element(total, INT64(channel)) for channel in range(3)]
        return context.make_tuple(builder, signature.return_type, channels)

    result = types.UniTuple(types.float32, 3)
    return result(pixel, types.int64, along_x, along_y), generate


def _shuffled(builder, vector, order):
    return builder.shuffle_vector(vector, vector, ir.VectorType(INT32, len(order))(order))


def _spread(builder, weights, order):
    """Vector of the numbers of the tuple `weights` at the places `order`."""
    vector = ir.VectorType(FLOAT, 4)(ir.Undefined)
    for place in range(4):
        weight = builder.extract_value(weights, place)
        vector = builder.insert_element(vector, weight, INT64(place))
    return _shuffled(builder, vector, order)
