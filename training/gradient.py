"""FSRCNN's error on small patches and its gradient as one native function for CPUs, compiled as the network itself is
(fsrcnn/native/forward.py).

A training step by a framework is slow because of its memory traffic: each layer's output for the whole batch, and each
gradient, goes through memory that no cache holds. Here a thread takes one patch after the other through all layers and
back, in the same megabyte.

A patch is small: rows of 18 pixels would leave vectors half empty. So its rows lie end to end with REACH zeros between
them, vectors run across the ends of rows, and a tap of a kernel is one shift of the whole. What is computed between
the rows is masked. Gradients of weights are sums of products of two such planes, one of them shifted.
"""

import ctypes
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from llvmlite import ir
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from fsrcnn.geometry import DECONV_KERNEL, FEATURES_KERNEL, PHASES_KERNEL, Sizes, phases, phases_taps
from fsrcnn.native import packing
from fsrcnn.native.cache import digest
from fsrcnn.native.forward import Convolution, convolutions, emit_prelu, emit_sums, square
from fsrcnn.native.llvm import FLOAT_ALIGNMENT, Builder, Rows, machine_code, new_function, sums_of_lanes
from fsrcnn.native.target import Target
from fsrcnn.native.threads import in_threads
from training.threads import get_num_threads

KERNEL = max(FEATURES_KERNEL, PHASES_KERNEL)  # the largest of all layers
REACH = KERNEL // 2

POINTERS, INDICES = 5, 3  # numbers of the function's arguments


class PatchPlane(NamedTuple):
    """How a channel of a patch lies in memory: its rows end to end, see above. Sizes in pixels."""

    height: int
    width: int
    target: Target

    @property
    def pitch(self) -> int:
        return self.width + REACH

    @property
    def length(self) -> int:
        """Length of all rows, rounded up to a multiple of the vectors that are computed at a time."""
        return math.ceil(self.height * self.pitch / (4 * self.target.lanes)) * 4 * self.target.lanes

    @property
    def guard(self) -> int:
        """Number of zeros before and after every plane: at least REACH rows and REACH pixels."""
        return self.target.whole_vectors(REACH * self.pitch + REACH)

    @property
    def stride(self) -> int:
        """From one plane to the next."""
        return self.length + self.guard

    def shift(self, row: int, column: int) -> int:
        """Distance from a pixel to the one under this row and column of a KERNEL x KERNEL kernel centred on it."""
        return (row - REACH) * self.pitch + column - REACH

    def memory(self, planes: int) -> int:
        """Floats of several planes, with a guard before the first."""
        return self.guard + planes * self.stride

    def pixels(self, memory: Tensor) -> Tensor:
        """View of the patches in N x memory(planes): N x planes x height x width."""
        planes = memory[:, self.guard :].unflatten(1, (-1, self.stride))[..., : self.height * self.pitch]
        return planes.unflatten(2, (self.height, self.pitch))[..., : self.width]


class Products(NamedTuple):
    """The gradient of a layer's weights: for each left plane and each right one, which may be shifted, the sum of their
    products over all pixels.
    """

    lefts: int
    rights: list[int]  # where each begins, counted from some plane
    place: int  # of the sums in a thread's memory
    tile: tuple[int, int]  # how many lefts and rights are summed together

    @property
    def tiles(self) -> tuple[int, int]:
        return math.ceil(self.lefts / self.tile[0]), math.ceil(len(self.rights) / self.tile[1])

    @property
    def end(self) -> int:
        return self.place + math.prod(self.tiles) * math.prod(self.tile)

    def places(self) -> NDArray[np.int64]:
        """Where the sum of each left and right plane is: lefts x rights."""
        down, across = self.tiles
        numbers = np.arange(self.place, self.end, dtype=np.int64).reshape(down, across, *self.tile)
        return numbers.transpose(0, 2, 1, 3).reshape(down * self.tile[0], -1)[: self.lefts, : len(self.rights)]


class MemoryLayout:
    """Where everything is in a thread's memory, for one shape of network and of patch.

    First come planes: the mask (1 inside the patch), the LR patch (with a margin: one plane for each tap of the first
    convolution), for each convolution the outputs before and after PReLU, and the gradient of the SR patch (scale^2
    phases). The backward pass overwrites the outputs before PReLU with their gradients. Then come the gradients of the
    parameters: those of the weights and biases as `Products`, those of each slope and of the deconvolution's bias as a
    vector whose lanes are still to be summed. Last comes the error, as such a vector.
    """

    def __init__(self, sizes: Sizes, height: int, width: int, margin: bool, target: Target) -> None:
        """height, width: of the LR patch without its margin. margin: whether it has one, REACH pixels on each side, for
        the first convolution.
        """
        scale, d, *_ = sizes
        self.plane, self.scale, self.d = PatchPlane(height, width, target), scale, d
        self.forward = convolutions(sizes)
        if margin:  # a 1 x 1 convolution of what the taps see: its parameters have the same order
            self.forward[0] = Convolution(FEATURES_KERNEL**2, d, square(1), 0)
        first = 1 + self.forward[0].channels
        self.before = [first + 2 * sum(layer.outputs for layer in self.forward[:i]) for i in range(len(self.forward))]
        self.sr = self.before[-1] + 2 * d

        # Each turns the gradient of the next layer's output before PReLU into that of a layer's output.
        taps = [(phase * PHASES_KERNEL + row, column) for phase, row, column in gradient_taps(scale)]
        backward = [Convolution(1, d, taps, 0)]
        for layer in self.forward[:0:-1]:
            backward.append(Convolution(layer.outputs, layer.channels, layer.taps, backward[-1].end))
        self.backward = backward[::-1]

        self.sums = place = self.plane.memory(self.sr + scale**2)
        self.products = []
        for layer, before in zip(self.forward, self.before, strict=True):
            inputs = self._inputs(layer, before - layer.channels)
            self.products.append(Products(layer.outputs, inputs, place, target.tile))
            place = self.products[-1].end
        rights = [phase * self.plane.stride + self.plane.shift(*tap) for phase, *tap in gradient_taps(scale)]
        self.deconv_products = Products(d, rights, place, target.tile)
        self.slopes = self.deconv_products.end
        self.deconv_bias = self.slopes + target.lanes * sum(layer.outputs for layer in self.forward)
        self.error = self.deconv_bias + target.lanes
        self.memory = self.error + target.lanes
        self.order = Order(self, list(sizes.shapes().values()))

    def clear(self, memory: Tensor) -> None:
        """Readies a thread's memory for its first patch: the mask, zeros between the planes, and sums of zero."""
        planes, sums = memory.split([self.sums, self.memory - self.sums])
        planes[: self.plane.memory(1)] = 0
        self.plane.pixels(planes[None, : self.plane.memory(1)])[:] = 1
        planes[self.plane.guard :].view(-1, self.plane.stride)[:, self.plane.length :] = 0
        sums[:] = 0

    def _inputs(self, layer: Convolution, source: int) -> list[int]:
        """Where the input of each of a layer's weights begins, counted from the mask; last the bias's, the mask."""
        inset = REACH - layer.size // 2
        shifts = [self.plane.shift(row + inset, column + inset) for row, column in layer.taps]
        planes = range(source, source + layer.channels)
        return [plane * self.plane.stride + shift for plane in planes for shift in shifts] + [0]


class Order:
    """Index tensors: where the function finds each parameter and leaves its gradient."""

    def __init__(self, layout: MemoryLayout, shapes: Sequence[tuple[int, ...]]) -> None:
        """shapes: of the parameters, which lie end to end."""
        ends = np.cumsum([math.prod(shape) for shape in shapes])
        *numbered, zero = np.split(np.arange(ends[-1] + 1, dtype=np.int64), ends)
        numbered = [numbers.reshape(shape) for numbers, shape in zip(numbered, shapes, strict=True)]
        weights, biases, slopes = numbered[:-2:3], numbered[1:-2:3], numbered[2:-2:3]
        phase, row, column = np.transpose(gradient_taps(layout.scale))
        deconv = phases(numbered[-2], layout.scale)[:, :, ::-1, ::-1][phase, :, row, column].T  # d x 81

        flipped = (weight.swapaxes(0, 1)[:, :, ::-1, ::-1] for weight in weights[1:])
        kernels = [*(kernel.reshape(*kernel.shape[:2], -1) for kernel in flipped), deconv[:, None]]
        backward = [
            piece.ravel()
            for kernel, slope in reversed(list(zip(kernels, slopes, strict=True)))
            for piece in packing.pack_convolution(kernel, zero.repeat(len(kernel)), slope, layout.plane.target)
        ]
        # Numbers of the parameters, after which comes a zero, in the order in which each pass reads them.
        self.forward = torch.from_numpy(packing.pack(numbered, layout.scale, layout.plane.target))
        self.backward = torch.from_numpy(np.concatenate(backward))

        # Numbers of the sums in a thread's memory, once the lanes of the slopes' and the bias's vectors are summed.
        gradients = np.empty(ends[-1], np.int64)
        for weight, bias, products in zip(weights, biases, layout.products, strict=True):
            places = products.places()
            gradients[weight.reshape(len(weight), -1)], gradients[bias] = places[:, :-1], places[:, -1]
        gradients[deconv] = layout.deconv_products.places()
        rest = np.concatenate([*slopes, numbered[-1]])
        gradients[rest] = layout.slopes + np.arange(len(rest))
        self.gradients = torch.from_numpy(gradients - layout.sums)


def gradient_taps(scale: int) -> list[tuple[int, int, int]]:
    """Phase of the SR patch, row and column of each of the 81 taps of the gradient of the deconvolution's input."""
    there = phases_taps(scale)[:, ::-1, ::-1] < DECONV_KERNEL**2
    return [(phase, row, column) for phase, row, column in np.argwhere(there).tolist()]


class PatchProgram:
    """Emits what the function does with one patch, layer by layer, in a thread's memory."""

    def __init__(self, b: Builder, layout: MemoryLayout, memory: ir.Value) -> None:
        self.b, self.layout, self.plane, self.memory = b, layout, layout.plane, memory
        self.mask, self.lr, self.sr = (self.plane_at(number) for number in (0, 1, layout.sr))
        self.features = self.plane_at(layout.sr - layout.d)  # the deconvolution's input
        self.lanes, self.zeros = b.lanes, b.constant(0.0)

    def plane_at(self, number: int) -> ir.Value:
        return self.b.at(self.memory, self.plane.guard + number * self.plane.stride)

    def along(self, vectors: int, body: Callable[[ir.Value], None]) -> None:
        """Emits body(x) for every `vectors` vectors of a plane's pixels."""
        self.b.loop(self.b.index(0), self.b.index(self.plane.length), vectors * self.lanes, body)

    def masked(self, vector: ir.Value, x: ir.Value, v: int) -> ir.Value:
        return self.b.fmul(vector, self.b.vector(self.b.at(self.mask, x, v * self.lanes)))

    def store(self, vector: ir.Value, address: ir.Value) -> None:
        self.b.store(vector, address, align=FLOAT_ALIGNMENT)

    def add_to(self, address: ir.Value, vector: ir.Value) -> None:
        self.store(self.b.fadd(vector, self.b.vector(address)), address)

    def rows(self, source: ir.Value, size: int, planes: int = 1) -> Rows:
        """The first pixel of each row that a kernel of this size reads at pixel 0 of `planes` planes."""
        inset = REACH - size // 2
        places = itertools.product(range(planes), range(size))
        shifts = [plane * self.plane.stride + self.plane.shift(inset + row, inset) for plane, row in places]
        return Rows([self.b.at(source, shift) for shift in shifts], self.b.index(self.plane.stride))

    def emit_forward(self, lr: ir.Value, weights: ir.Value) -> None:
        """Copies the LR patch into the memory and runs all layers before the deconvolution."""
        floats = self.layout.forward[0].channels * self.plane.stride
        for_each = functools.partial(self.b.loop, self.b.index(0), self.b.index(floats), self.lanes)
        for_each(lambda x: self.store(self.b.vector(self.b.at(lr, x)), self.b.at(self.lr, x)))
        for layer, before in zip(self.layout.forward, self.layout.before, strict=True):
            self._emit_layer(layer, self.plane_at(before - layer.channels), self.plane_at(before), weights)

    def _emit_layer(self, layer: Convolution, source: ir.Value, to: ir.Value, weights: ir.Value) -> None:
        """to: planes for the outputs before PReLU, followed by those for the outputs after it."""
        b, stride, vectors = self.b, self.plane.stride, layer.vectors(self.b.target)
        rows = self.rows(source, layer.size)

        def emit(x: ir.Value) -> None:
            def store(output: ir.Value, slope: ir.Value, sums: list[ir.Value]) -> None:
                for v, total in enumerate(sums):
                    place = b.at(to, b.mul(output, b.index(stride)), x, v * self.lanes)
                    self.store(total, place)
                    after = self.masked(emit_prelu(b, total, slope), x, v)
                    self.store(after, b.at(place, layer.outputs * stride))

            layer.emit(b, rows.moved(b, x), vectors, weights, store)

        self.along(vectors, emit)

    def emit_error(self, hr: ir.Value, squared: ir.Value, weights: ir.Value) -> None:
        """The deconvolution, the sum of its absolute or squared errors, and the gradient of the SR patch."""
        b, scale, d = self.b, self.layout.scale, self.layout.d
        block, vectors = b.target.blocking(scale**2, scale)
        rows, place, phase = self.rows(self.features, PHASES_KERNEL), self.layout.forward[-1].end, 0
        ones = b.constant(1.0)

        def emit(x: ir.Value) -> None:
            sums = emit_sums(b, rows.moved(b, x), d, taps, block, vectors, b.at(weights, place))
            for i, v in itertools.product(range(block), range(vectors)):
                pixels = b.add(x, b.index((phase + i) * self.plane.stride + v * self.lanes))
                target = b.vector(b.at(hr, pixels))
                known = b.fcmp_ordered("ord", target, target)
                error = b.select(known, b.fsub(sums[i][v], target), self.zeros)
                signs = (b.select(b.fcmp_ordered(sign, error, self.zeros), ones, self.zeros) for sign in "><")
                sign = b.fsub(*signs)
                gradient = b.select(squared, b.fadd(error, error), sign)
                self.store(gradient, b.at(self.sr, pixels))
                self.add_to(b.at(self.memory, self.layout.deconv_bias), gradient)
                self.add_to(b.at(self.memory, self.layout.error), b.fmul(error, b.select(squared, error, sign)))

        for taps in packing.deconvolution_taps(scale, b.target):
            self.along(vectors, emit)
            place += block + d * packing.weights_at(taps)
            phase += block

    def emit_backward(self, everything: ir.Value, weights: ir.Value) -> None:
        """Adds the gradients of all parameters, or of the deconvolution's alone, to those in the memory."""
        layout, slopes, later = self.layout, self.layout.deconv_bias, self.sr
        self._emit_products(layout.deconv_products, self.features, self.sr)
        with self.b.if_then(everything):
            for i in reversed(range(len(layout.forward))):
                layer, earlier = layout.backward[i], self.plane_at(layout.before[i])
                slopes -= layer.outputs * self.lanes
                self._emit_layer_backward(layer, later, earlier, slopes, weights)
                self._emit_products(layout.products[i], earlier, self.mask)
                later = earlier

    def _emit_layer_backward(
        self, layer: Convolution, source: ir.Value, before: ir.Value, slopes: int, weights: ir.Value
    ) -> None:
        """Overwrites a layer's outputs before PReLU with their gradients, from those of the next layer, and adds the
        gradients of its slopes to those in the memory.
        """
        b, stride, vectors = self.b, self.b.index(self.plane.stride), layer.vectors(self.b.target)
        deconv = layer is self.layout.backward[-1]
        shape = (PHASES_KERNEL, self.layout.scale**2) if deconv else (layer.size, 1)
        rows = self.rows(source, *shape)

        def emit(x: ir.Value) -> None:
            def store(output: ir.Value, slope: ir.Value, sums: list[ir.Value]) -> None:
                of_slope = self.zeros
                for v, total in enumerate(sums):
                    place = b.at(before, b.mul(output, stride), x, v * self.lanes)
                    gradient, sum_before = self.masked(total, x, v), b.vector(place)
                    positive = b.fcmp_ordered(">", sum_before, self.zeros)
                    of_slope = b.multiply_add(gradient, b.select(positive, self.zeros, sum_before), of_slope)
                    self.store(b.select(positive, gradient, b.fmul(gradient, slope)), place)
                self.add_to(b.at(self.memory, slopes, b.mul(output, b.index(self.lanes))), of_slope)

            layer.emit(b, rows.moved(b, x), vectors, weights, store)

        self.along(vectors, emit)

    def _emit_products(self, products: Products, left: ir.Value, right: ir.Value) -> None:
        """Adds the sums of the products to those in the memory, tile by tile."""
        b, (down, across), (lefts_of_tile, rights_of_tile) = self.b, products.tiles, products.tile
        table = [*products.rights, *products.rights[-1:] * (rights_of_tile * across - len(products.rights))]
        constant = ir.Constant(ir.ArrayType(b.target.index, len(table)), table)
        offsets = ir.GlobalVariable(b.module, constant.type, b.module.get_unique_name("offsets"))
        offsets.initializer, offsets.global_constant = constant, True

        def emit_tile(row: ir.Value, column: ir.Value) -> None:
            first_left = b.at(left, b.mul(row, b.index(lefts_of_tile * self.plane.stride)))
            lefts = [b.at(first_left, i * self.plane.stride) for i in range(lefts_of_tile)]
            first = b.mul(column, b.index(rights_of_tile))
            addresses = [b.gep(offsets, [b.index(0), b.add(first, b.index(i))]) for i in range(rights_of_tile)]
            rights = [b.at(right, b.load(address, typ=b.target.index)) for address in addresses]

            def add_products(x: ir.Value, *sums: ir.Value) -> list[ir.Value]:
                xs, ys = ([b.vector(b.at(address, x)) for address in side] for side in (lefts, rights))
                pairs = zip(itertools.product(xs, ys), sums, strict=True)
                return [b.multiply_add(x, y, total) for (x, y), total in pairs]

            start = [self.zeros] * math.prod(products.tile)
            sums = b.loop(b.index(0), b.index(self.plane.length), self.lanes, add_products, start)
            tile = b.add(b.mul(row, b.index(across)), column)
            place = b.at(self.memory, products.place, b.mul(tile, b.index(math.prod(products.tile))))
            for i in range(0, len(sums), self.lanes):
                self.add_to(b.at(place, i), sums_of_lanes(b, sums[i : i + self.lanes]))

        def emit_band(first: int, last: int) -> None:
            columns = b.index(first), b.index(last)
            b.loop(b.index(0), b.index(down), 1, lambda row: b.loop(*columns, 1, lambda x: emit_tile(row, x)))

        for column in range(0, across, b.target.band):
            emit_band(column, min(column + b.target.band, across))


def emit_function(module: ir.Module, layout: MemoryLayout) -> None:
    """The function `run(lr, hr, weights, backward_weights, memory, squared, everything, count)`: adds the error and the
    gradient of `count` patches to those in a thread's memory. lr and hr: planes; hr as its phases, NaN beyond it.
    """
    b, arguments = new_function(module, "run", POINTERS, INDICES, layout.plane.target)
    (lr, hr, weights, backward_weights, memory, *flags, count), plane = arguments, layout.plane
    squared, everything = (b.icmp_signed("!=", flag, b.index(0)) for flag in flags)
    program = PatchProgram(b, layout, memory)

    def emit_patch(number: ir.Value) -> None:
        of_lr = b.index(plane.memory(layout.forward[0].channels))
        program.emit_forward(b.at(lr, b.mul(number, of_lr), plane.guard), weights)
        of_patch = b.at(hr, b.mul(number, b.index(plane.memory(layout.scale**2))), plane.guard)
        program.emit_error(of_patch, squared, weights)
        program.emit_backward(everything, backward_weights)

    b.loop(b.index(0), count, 1, emit_patch)
    b.ret_void()


@functools.cache
def compiled(
    sizes: Sizes, height: int, width: int, margin: bool, target: Target
) -> tuple[MemoryLayout, Callable[..., None]]:
    """The function for one shape of network and of patch, and its memory's layout; compiles for about two seconds."""
    layout = MemoryLayout(sizes, height, width, margin, target)
    types = [ctypes.c_void_p] * POINTERS + [ctypes.c_int64] * INDICES
    made_from = "gradient", digest([Path(__file__)]), sizes, height, width, margin
    return layout, machine_code(functools.partial(emit_function, layout=layout), made_from, types, target)


def error_and_gradient(
    parameters: Tensor,
    lr: Tensor,
    hr: Tensor,
    sizes: Sizes,
    squared: bool,
    everything: bool,
    target: Target,
) -> tuple[Tensor, Tensor]:
    """The sum of an FSRCNN's absolute or squared errors, and its gradient: a vector, as the parameters are.

    parameters: of a network of these sizes, end to end. lr and hr: as for `error`. everything: whether to compute the
    gradient of the layers before the deconvolution too; otherwise it is zero there.
    """
    scale = sizes.upscale_factor
    number, (height, width) = len(lr), (math.ceil(length / scale) for length in hr.shape[2:])
    margin = lr.shape[2] > height
    layout, function = compiled(sizes, height, width, margin, target)
    plane, order, threads = layout.plane, layout.order, get_num_threads()
    lr_planes = lr.new_zeros(number, plane.memory(layout.forward[0].channels))
    plane.pixels(lr_planes)[:] = lr.unfold(2, height, 1).unfold(3, width, 1).flatten(1, 3)
    hr_planes = hr.new_full((number, plane.memory(scale**2)), math.nan)
    by_phase = plane.pixels(hr_planes).unflatten(1, (scale, scale))  # a pixel unshuffle, without an intermediate copy
    whole = F.pad(hr, (0, -hr.shape[3] % scale, 0, -hr.shape[2] % scale), value=math.nan)
    by_phase[:] = whole[:, 0].unflatten(2, (-1, scale)).unflatten(1, (-1, scale)).permute(0, 2, 4, 1, 3)
    with_zero = F.pad(parameters, (0, 1))
    weights = with_zero.index_select(0, order.forward), with_zero.index_select(0, order.backward)
    memory = lr.new_empty(threads, layout.memory)

    def run(thread: int) -> None:
        layout.clear(memory[thread])
        first, last = (number * i // threads for i in (thread, thread + 1))
        tensors = lr_planes[first:], hr_planes[first:], *weights, memory[thread]
        function(*(tensor.data_ptr() for tensor in tensors), squared, everything, last - first)

    in_threads(run, [(thread,) for thread in range(threads)], threads)
    total = memory[:, layout.sums :].sum(0)
    whole, of_lanes = total.split([layout.slopes - layout.sums, layout.memory - layout.slopes])
    of_lanes = of_lanes.view(-1, target.lanes).sum(1)
    return of_lanes[-1], torch.cat([whole, of_lanes]).index_select(0, order.gradients)


class _Error(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, parameters: Tensor, *others: Any) -> Tensor:
        error, gradient = error_and_gradient(parameters, *others)
        ctx.save_for_backward(gradient)
        return error

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.saved_tensors[0] * gradient, *[None] * 6


def error(lr: Tensor, hr: Tensor, sizes: Sizes, parameters: Sequence[Tensor], squared: bool, target: Target) -> Tensor:
    """The sum of an FSRCNN's absolute or squared errors, differentiable with respect to its parameters.

    lr: N x 1 x H x W; hr: N x 1 x scale*H x scale*W, or as `TrainingFSRCNN.error` says; parameters: of a network of
    these sizes, as its ``parameters()`` has them. All float32, on the CPU. target: one whose code this machine can run.
    """
    flat = torch.cat([each.flatten() for each in parameters])
    everything = any(each.requires_grad for each in parameters[:-2])  # the last two are the deconvolution's
    return _Error.apply(flat, lr, hr, sizes, squared, everything, target)
