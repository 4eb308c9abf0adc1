"""What records.c gives: `pyrecords.Records` in C."""

from meshtrio.forward import pyrecords

class Records(pyrecords.Records): ...
