"""What a variable of a random program may hold."""

from __future__ import annotations

import enum


class Kind(enum.Enum):
    """What a variable of a random program holds, for as long as it lives."""

    ROW = "row"  # float32 [1, 4]
    SCALAR = "scalar"  # float32 []
    MASK = "mask"  # bool [1, 4]
    TOKENS = "tokens"  # int64 [1, 4], from 0 to 3
    VECTOR = "vector"  # float32 [any]
    VIEW = "view"  # float32 [1, 2], memory that may be written
    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    TEXT = "text"
    INTS = "ints"
    FLOATS = "floats"
    ROWS = "rows"
    TABLE = "table"  # dict of str to float
    ROWTABLE = "rowtable"  # dict of str to row
    PAIR = "pair"  # (row, int)
    POINT = "point"  # namedtuple of a row and a float
    RECORD = "record"  # dataclass of a row, an int and a list of ints
    MAYBE = "maybe"  # a row or None
    DOUBLE = "double"  # float64 [1, 4]
    WHOLE = "whole"  # int64 []
    SLOTS = "slots"  # int64 [3], memory that may be written; its content is often known
    BATCH = "batch"  # float32 [any, 4]
    BEAMS = "beams"  # list of (float, row)
    OWNS = "owns"  # list of rows whose memory may be written
    QUEUE = "queue"  # deque of rows
    FUNC = "func"  # from a row to a row
    GROUPS = "groups"  # two lists of rows
    COUNTS = "counts"  # dict of int to int
    WORDS = "words"  # list of str
    MIXED = "mixed"  # a number or a tensor of one element
    METER = "meter"  # an object that adds up floats
