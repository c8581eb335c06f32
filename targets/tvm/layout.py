"""Weights of convolutions in the order in which the rules read them; this is done once, when a library is opened.

conv2d(x, w, kernel_layout="OIHW")    ->    conv2d(x, permute_dims(w, [1, 2, 3, 0]), kernel_layout="IHWO")
"""

from __future__ import annotations

from typing import Any


def pack_weights(module: Any) -> Any:
    """The module, the channels of the result innermost in the weights of every convolution without groups."""
    from tvm import relax

    @relax.expr_functor.mutator
    class Packer(relax.PyExprMutator):  # type: ignore[misc]
        def visit_call_(self, call: Any) -> Any:
            call = super().visit_call_(call)
            if getattr(call.op, "name", "") != "relax.nn.conv2d":
                return call
            attrs = call.attrs
            if attrs.kernel_layout != "OIHW" or attrs.data_layout != "NCHW" or int(attrs.groups) != 1:
                return call
            data, weight = call.args
            packed = self.builder_.emit(relax.op.permute_dims(weight, [1, 2, 3, 0]))
            return relax.op.nn.conv2d(
                data,
                packed,
                strides=attrs.strides,
                padding=attrs.padding,
                dilation=attrs.dilation,
                groups=attrs.groups,
                data_layout="NCHW",
                kernel_layout="IHWO",
                out_layout=attrs.out_layout,
            )

    packer = Packer(module)
    module[module.get_global_var("main")] = packer.visit_expr(module["main"])
    return module
