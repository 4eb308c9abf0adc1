"""Shell. A lab without a kernel program: TCP as it is, of which is said what a program would have counted."""

from meshtrio.accelerate.lab import Lab, Lane


class Plain(Lab):
    """Connections that no program sees."""

    def __init__(self, right: Lane) -> None:
        super().__init__({})
        self.right = right

    def lane(self, sender: object) -> Lane:
        return self.right

    def enrol(self, sock: object) -> None:
        pass

    def _tune(self, slot: int, value: int) -> None:
        pass
