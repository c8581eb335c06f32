"""Writes in place, views, aliases."""

from __future__ import annotations

import torch
from torch.autograd import Variable

from tests.conformance.table import Base, Section

SECTION = Section("Memory: writes in place and views")


@SECTION.yes("write in place into a tensor made in the run", "the content gets a new name; every alias is rebound")
class InPlace(Base):
    def forward(self, x):
        y = x.clone()
        z = y
        if x.sum() > 0:
            y.mul_(2).add_(1)
        z += 1
        return y, z


@SECTION.yes("`torch.autograd.Variable(x)`", "another name of the same memory")
class OldVariable(Base):
    def forward(self, x):
        y = torch.autograd.Variable(x.data.new(1, 4).zero_())
        z = Variable(y, requires_grad=False)
        z += x
        return y if y.sum() > 0 else (Variable(x), isinstance(y, Variable))


@SECTION.yes("assignment to a part of a tensor (`y[:, 1] = 7.0`)")
class AssignPart(Base):
    def forward(self, x):
        y = x.clone()
        if x.sum() > 0:
            y[:, 1] = 7.0
        y[0, 2:] += x[0, :2]
        return y


@SECTION.yes("assignment by a mask or by indices (`y[y < 0] = 0`)")
class AssignMasked(Base):
    def forward(self, x):
        y = x.clone()
        y[y < 0] = 0
        if x.sum() > 0:
            y[:, torch.tensor([0, 2])] = 1.0
        return y


@SECTION.yes("assignment at a run-time index (`out[t] = y`)")
class AssignAt(Base):
    def forward(self, x):
        out = torch.zeros(4, 4)
        for t in range(3):
            out[t] = x[0] * t
            if x[0, t] > 1:
                break
        out[x.argmax()] = 5.0
        out[int(x.argmin())] += 1.0
        return out


@SECTION.yes("buffer of results filled in a loop on data")
class Filled(Base):
    def forward(self, x):
        out, step = torch.zeros(8, 4), 0
        while x.abs().max() > 0.25 and step < 8:
            x = x * 0.5
            out[step] = x[0]
            step += 1
        return out, step


@SECTION.yes("views inside one stretch of code (`view`, `transpose`, slices)")
class Views(Base):
    def forward(self, x):
        y = x.clone()
        y.view(2, 2).t()[0] += 1
        return y if y.sum() > 0 else y.transpose(0, 1)


@SECTION.yes("write through a view that was made before a decision", "the view is taken again where it is written")
class WriteThroughView(Base):
    def forward(self, x):
        y = x.clone()
        row = y[0]
        if x.sum() > 0:
            row.mul_(2)
        return y


@SECTION.yes("write in place into an input", "the caller sees it; two inputs share no memory then")
class InputWritten(Base):
    def forward(self, x):
        x.add_(1)
        return x


@SECTION.yes("shape changed in place (`squeeze_`, `unsqueeze_`, `t_`, `transpose_`, `resize_` to fewer elements)")
class Squeezed(Base):
    def forward(self, x):
        y = x.clone()
        z = [y]
        y.squeeze_(0)
        if x.sum() > 0:
            z[0].unsqueeze_(1)
        return y


@SECTION.refused("DY211", "shape of an input changed in place", "use the form that returns a tensor")
class SqueezedInput(Base):
    def forward(self, x):
        x.squeeze_(0)
        return x


@SECTION.yes("input returned, same tensor twice in a result")
class SameTensor(Base):
    def forward(self, x):
        y = x * 2
        return (x, y, y) if x.sum() > 0 else (y, x, x)


@SECTION.yes("`out=` arguments, `copy_`, `fill_`, `zero_`")
class CopyInto(Base):
    def forward(self, x):
        y = torch.empty(1, 4)
        y.copy_(x)
        if x.sum() > 0:
            y.fill_(1.0)
        torch.add(y, 1, out=y)
        return y
