"""Fibers in gdb, of a process or of a core.

    (gdb) source aramid-gdb.py
    (gdb) aramid fibers          every fiber: id, name, what it does
    (gdb) aramid bt 1026         the stack of one
    (gdb) aramid bt              the stacks of all

Needs no debug information of the library, but the symbol aramid_debug_layout (which strip --strip-all takes from a static program). Frames are
found by their frame pointers (-fno-omit-frame-pointer) where a fiber is suspended; functions and lines are named as far as gdb knows them.
"""

import gdb

VERSION = 1
MOST_FRAMES = 64


class Memory:
    def __init__(self):
        self.inferior = gdb.selected_inferior()

    def word(self, address):
        return int.from_bytes(self.bytes(address, 8), "little")

    def byte(self, address):
        return self.bytes(address, 1)[0]

    def bytes(self, address, count):
        return self.inferior.read_memory(address, count).tobytes()

    def text(self, address, most=256):
        try:
            return gdb.Value(address).cast(gdb.lookup_type("char").pointer()).string(errors="replace", length=-1)
        except gdb.error:
            return self.bytes(address, most).split(b"\0")[0].decode(errors="replace")


class Layout:
    FIELDS = (
        "version", "newest", "older", "blocks", "block_bytes", "id", "name", "word", "state_mask", "parked", "life", "alive", "bound",
        "resume_point", "operation", "object", "bottom", "size_bytes", "saved_frame", "saved_return",
    )

    def __init__(self, memory):
        try:
            where = int(gdb.parse_and_eval("(long) &aramid_debug_layout"))
        except gdb.error:
            raise gdb.GdbError("aramid: this program has no symbol aramid_debug_layout: is it one of aramid's, and not stripped?")
        for index, name in enumerate(self.FIELDS):
            setattr(self, name, memory.word(where + 8 * index))
        if self.version not in (0, VERSION):
            raise gdb.GdbError(f"aramid: the program's layout is of version {self.version}, and this script of {VERSION}")


class Fiber:
    def __init__(self, memory, layout, block, threads):
        self.memory, self.layout = memory, layout
        self.id = memory.word(block + layout.id)
        self.name = memory.bytes(block + layout.name, 32).split(b"\0")[0].decode(errors="replace")
        self.stack = memory.word(block + layout.bound)
        self.resume_point = memory.word(block + layout.resume_point)
        self.thread = None  # on which it runs
        if self.stack:
            self.low = memory.word(self.stack + layout.bottom)
            self.high = self.low + memory.word(self.stack + layout.size_bytes)
            self.thread = next((number for number, sp in threads if self.low <= sp < self.high), None)
        self.waits_in = None
        if memory.word(block + layout.word) & layout.state_mask == layout.parked:
            operation = memory.word(block + layout.operation)
            self.waits_in = memory.text(operation) if operation else "a wait"
            self.object = memory.word(block + layout.object)

    def line(self):
        if not self.stack:
            does = "not started"
        elif self.thread is not None:
            does = f"running on thread {self.thread}"
        elif self.waits_in is not None:
            does = f"waiting in {self.waits_in}" + (f" ({self.object:#x})" if self.object else "")
        else:
            does = "ready"
        return f"fiber '{self.name}' ({self.id}), {does}" if self.name else f"fiber ({self.id}), {does}"

    def frames(self):
        """Where the frames of a suspended fiber return to, the innermost first."""
        if not self.stack or not self.low <= self.resume_point < self.high:
            return
        returns_to = self.memory.word(self.resume_point + self.layout.saved_return)
        if not returns_to:
            raise gdb.GdbError(f"aramid: fiber {self.id}: its stack is not in the core (gcore gives up at guard pages; the kernel does not)")
        yield returns_to
        frame = self.memory.word(self.resume_point + self.layout.saved_frame)
        low = self.low
        for _ in range(MOST_FRAMES):
            if frame % 8 or not low <= frame <= self.high - 16:
                return
            returns_to = self.memory.word(frame + 8)
            if not returns_to:
                return
            yield returns_to
            low, frame = frame + 8, self.memory.word(frame)

    def print_stack(self):
        if self.thread is not None:
            gdb.execute(f"thread apply {self.thread} -q backtrace")  # gdb has the registers, and unwinds without frame pointers
            return
        for number, address in enumerate(self.frames()):
            inside = address - 1
            block = None
            try:
                block = gdb.block_for_pc(inside)
            except gdb.error:
                pass
            while block is not None and block.function is None:
                block = block.superblock
            if block is not None:
                name = block.function.print_name
            else:
                symbol = gdb.execute(f"info symbol {inside:#x}", to_string=True).strip()
                name = symbol if not symbol.startswith("No symbol") else "??"
            place = gdb.find_pc_line(inside)
            where = f" at {place.symtab.filename}:{place.line}" if place.symtab is not None else ""
            print(f"  #{number:<3}{address:#018x} in {name}{where}")


def stack_pointers():
    """Number and stack pointer of each thread."""
    here = gdb.selected_thread()
    found = []
    for thread in gdb.selected_inferior().threads():
        thread.switch()
        found.append((thread.num, int(gdb.newest_frame().read_register("sp")) & (2**64 - 1)))
    if here is not None:
        here.switch()
    return found


def fibers():
    memory = Memory()
    layout = Layout(memory)
    if layout.version == 0:
        return []
    threads = stack_pointers()
    found = []
    slab = memory.word(layout.newest)
    while slab:
        for index in range(layout.blocks):
            block = slab + (index + 1) * layout.block_bytes
            if memory.byte(block + layout.life) & layout.alive:
                found.append(Fiber(memory, layout, block, threads))
        slab = memory.word(slab + layout.older)
    return sorted(found, key=lambda fiber: fiber.id)


class AramidCommand(gdb.Command):
    """Commands about aramid's fibers: aramid fibers, aramid bt [ID]."""

    def __init__(self):
        super().__init__("aramid", gdb.COMMAND_STACK, prefix=True)


class FibersCommand(gdb.Command):
    """Lists every fiber, and what it does."""

    def __init__(self):
        super().__init__("aramid fibers", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        found = fibers()
        print(f"{len(found)} fiber{'' if len(found) == 1 else 's'}")
        for fiber in found:
            print(fiber.line())


class BacktraceCommand(gdb.Command):
    """Prints the stack of the fiber with the given id, or of all."""

    def __init__(self):
        super().__init__("aramid bt", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        try:
            wanted = int(argument) if argument.strip() else None
        except ValueError:
            raise gdb.GdbError(f"aramid bt: '{argument}' is no fiber's id")
        found = [fiber for fiber in fibers() if wanted is None or fiber.id == wanted]
        if wanted is not None and not found:
            raise gdb.GdbError(f"aramid bt: there is no fiber {wanted}")
        for fiber in found:
            print(fiber.line())
            fiber.print_stack()


AramidCommand()
FibersCommand()
BacktraceCommand()
