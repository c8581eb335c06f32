"""Text with run-time numbers in it."""

from __future__ import annotations

from tests.conformance.table import Base, Section

SECTION = Section("Text")


@SECTION.yes("f-string with run-time numbers, in a result or an error", "put together by the host")
class FormattedText(Base):
    def forward(self, x):
        if x.sum() > 2:
            raise ValueError(f"sum {x.sum().item():.2f} of {len(x)}")
        return f"{int(x.argmax())}"


@SECTION.yes("`str`, `repr`, `format`, `%`, `str.format`, `+`")
class Formats(Base):
    def forward(self, x):
        n, value = int(x.argmax()), x.max().item()
        return str(n) + repr(value), "%d: %.3f" % (n, value), "{:>5}|{v}".format(n, v=value), format(value, ".1e")


@SECTION.yes("f-string of lists and tuples of numbers")
class NestedText(Base):
    def forward(self, x):
        return f"{x[0, :2].tolist()} and {(int(x.argmax()), 'a')}"


@SECTION.yes("f-string in `getattr`, as a key of modules", "one branch for each candidate")
class TextAsName(Base):
    def __init__(self):
        super().__init__()
        self.expert_0, self.expert_1, self.expert_2, self.expert_3 = (self.layers[i % 3] for i in range(4))
        self.table = {f"block{i}": layer for i, layer in enumerate(self.layers)}

    def forward(self, x):
        x = getattr(self, f"expert_{int(x.argmax())}")(x)
        return self.table[f"block{x.sum() > 0:d}"](x)


@SECTION.yes(
    "characters of a run-time text: `upper`, `strip`, `startswith`, `in`, `len`, `==`, truth", "operations of the host"
)
class Characters(Base):
    def forward(self, x):
        text = f"{x.sum().item():.2f}"
        return text.upper(), text.startswith("-"), "." in text, len(text), text == "0.00", bool(text), text.strip("-")


@SECTION.yes("characters and words of a run-time text: `text[i]`, slices, iteration, `split`", "operations of the host")
class TakenText(Base):
    def forward(self, x):
        text = f"{x.sum().item():.2f} and {int(x.argmax())}"
        return text[0], text[-3:], [c for c in text if c.isdigit()], text.split(), len(text.split("."))


@SECTION.yes("a text that grows in a loop: `text += word`, kept on the model", "one run-time text")
class GrownText(Base):
    def __init__(self):
        super().__init__()
        self.said = ""

    def forward(self, x):
        text = ""
        while x.abs().max() > 0.2:
            text += ["a", "b", "c", "d"][x.argmax().item()]
            x = x * 0.5
        self.said = text
        return text, len(text)


@SECTION.yes("text chosen by data, methods of known text")
class ChosenText(Base):
    def forward(self, x):
        name = "left" if x.sum() > 0 else "right"
        return name.upper(), len(name), name[0], ", ".join([name, "x"]), name.split("f")


@SECTION.yes("text of a tensor: f-string, `str`, `repr`, `format`, `%`", "written by the host as torch writes it")
class TensorText(Base):
    def forward(self, x):
        assert x.sum() < 3, f"too much: {x > 0}"
        return f"{x > 0}", str((x > 0).sum(1)), "%s" % (x > 0).all(), f"{(x > 0).sum()}"


@SECTION.yes("`''.join(...)` of a list of run-time length", "joined by the host")
class JoinedCharacters(Base):
    def forward(self, x):
        words = []
        while x.abs().max() > 0.05:
            words.append("up" if x.sum() > 0 else "down")
            x = x * -0.5
        return " ".join(words), ",".join([str(word) for word in words])


@SECTION.yes("a run-time text looked up: `d.get(text)`, `[...].index(text)`, `.count`, `.remove`")
class LookedUpText(Base):
    def forward(self, x):
        text, names = f"e{int(x.argmax())}", ["e0", "e1", "e2", "e3", "e1"]
        found = {"e0": 1, "e2": 2}.get(text), {"e1": 1}.get(text, text), names.index(text), names.count(text)
        names.remove(text)
        return *found, names, ("e1", text).index(text), [text, "e1"].count("e1")


@SECTION.yes("a text of a list, of a text or of a dict by a run-time number", "a table in the host")
class TextTable(Base):
    def forward(self, x):
        place = x.argmax().item()
        return ["one", "two", "three", "four"][place].upper(), "abcd"[place]
