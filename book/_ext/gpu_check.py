"""What is claimed of GPUs, tried on one in ten minutes: a table of ratios, each measured in turn in one process.

    python book/_ext/gpu_check.py

A part that cannot be tried here (no compiler, too little memory) says so in its line, and the others go on. Where there
is no CUDA it says that, and ends with status 2.
"""

import subprocess
import sys
import time
from functools import partial
from statistics import median

import torch
from torch.utils.flop_counter import FlopCounterMode

from deit_edu.errors import DeiTEduError
from deit_edu.losses import DistillationObjective
from deit_edu.model import HeadLogits, create_model
from deit_edu.runs.bench import TimmStudent
from deit_edu.runs.machine import can_compile, compiled
from deit_edu.teachers import FrozenTeacher, create_teacher, fold_norms
from deit_edu.train import TrainConfig, World, in_precision, learn, make_optimizer

SHAPE, BATCH = dict(image_size=224, num_classes=1000), 128  # of DeiT-Ti, the smallest of the paper
ROUNDS, STEPS = 5, 10  # of a part: rounds that are timed, steps in each
AT_ONCE = 4  # runs on one card
COPIES = 20  # of a batch, to the card

# One of several runs on a card: the tiny student, said to begin by a line; prints its seconds.
RUN = """
import sys, tempfile, time
from deit_edu.runs import train
from deit_edu.runs.recipes import recipe
from deit_edu.train import TrainConfig
settings = recipe("tiny", role="student") | dict(epochs=2, warmup_epochs=1.0, device="cuda")
with tempfile.TemporaryDirectory() as folder:
    train(TrainConfig(**settings | dict(epochs=1, warmup_epochs=0.0)), folder + "/first", progress=False)
    print("ready", flush=True)
    sys.stdin.readline()
    begun = time.perf_counter()
    train(TrainConfig(**settings), folder + "/run", progress=False)
print(time.perf_counter() - begun, flush=True)
"""


def in_turn(contenders, device, rounds=ROUNDS, steps=STEPS):
    """Seconds of a step of each contender, round by round, after one round that is not counted.

    Args:
        contenders: {name: a function that takes one step}. device: a torch.device, which may answer before it is done.
    """
    wait = partial(torch.cuda.synchronize, device) if device.type == "cuda" else lambda: None
    seconds = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, step in contenders.items():
            wait()
            begun = time.perf_counter()
            for _ in range(steps):
                step()
            wait()
            if turn:
                seconds[name].append((time.perf_counter() - begun) / steps)
    return seconds


def row(what, wanted, slower, faster):
    """A line of the table: how many times as long the one takes as the other, in the middle and over the rounds."""
    ratios = [one / other for one, other in zip(slower, faster, strict=True)]
    return {"what": what, "wanted": wanted, "ratio": median(ratios), "low": min(ratios), "high": max(ratios)}


class Check:
    """The parts of the table, at one size on one device; each gives its lines.

    Args:
        device: a torch.device. shape: overrides of DeiTConfig. batch: images. measure: as `in_turn`.
    """

    def __init__(self, device, shape=SHAPE, batch=BATCH, measure=in_turn):
        self.device, self.shape = device, shape
        self.measure = partial(measure, device=device)
        C, H, K = shape.get("in_channels", 3), shape["image_size"], shape["num_classes"]
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randn(batch, C, H, H, generator=generator).to(device)
        self.targets = torch.rand(batch, K, generator=generator).softmax(dim=-1).to(device)
        self.teacher = FrozenTeacher(fold_norms(create_teacher("convnet", C, K, image_size=H))).to(device)

    def student(self):
        torch.manual_seed(0)
        return create_model("deit_tiny_patch16_224", distilled=True, **self.shape).to(self.device)

    def step(self, student, precision=torch.float32):
        """A function that takes one step of distillation: teacher, student, loss, gradients, optimiser."""
        world, objective = World(self.device, precision), DistillationObjective()
        optimizer = make_optimizer(student.train(), TrainConfig())

        def step():
            optimizer.zero_grad()
            loss = learn(student, self.teacher, objective, self.images, self.targets, world)
            optimizer.step()
            return loss

        return step

    def bfloat16(self):
        """A step in bfloat16 is faster, and its first loss is float32's to two digits."""
        steps = {name: self.step(self.student(), getattr(torch, name)) for name in ("float32", "bfloat16")}
        losses = {name: float(step()) for name, step in steps.items()}
        seconds = self.measure(steps)
        apart = abs(losses["bfloat16"] / losses["float32"] - 1)
        yield row("a step in float32, of one in bfloat16", "1.0 at least", seconds["float32"], seconds["bfloat16"])
        yield row("the first loss in bfloat16, of float32's", "0.98 to 1.02", [1 + apart], [1.0])

    def compile(self):
        """A compiled step is faster."""
        if not can_compile():
            raise DeiTEduError("torch.compile needs a C++ compiler and Python's headers")
        for precision in (torch.float32, torch.bfloat16):
            steps = {"plain": self.step(self.student(), precision)}
            steps["compiled"] = self.step(compiled(self.student()), precision)
            seconds = self.measure(steps)
            what = f"a step in {str(precision).removeprefix('torch.')}, of one compiled"
            yield row(what, "1.0 at least", seconds["plain"], seconds["compiled"])

    def pinned(self):
        """A batch of bytes comes faster to the card from memory that stays where it is."""
        pixels = torch.zeros(self.images.shape, dtype=torch.uint8)
        held = pixels.pin_memory() if self.device.type == "cuda" else pixels

        def copies(source):
            for _ in range(COPIES):
                source.to(self.device, non_blocking=True, copy=True)

        seconds = self.measure({"pageable": lambda: copies(pixels), "pinned": lambda: copies(held)})
        yield row("copying a batch to the card, of one from pinned memory", "1.0 at least", *seconds.values())

    def peers(self):
        """A training step and a forward pass against timm's and Hugging Face's DeiT of the same shape."""
        ours = self.student()
        peers = {"timm's": TimmStudent(ours.config).to(self.device)}
        peers["Hugging Face's"] = HuggingFaceStudent(ours.config).to(self.device)
        for precision in (torch.float32, torch.bfloat16):
            kind = str(precision).removeprefix("torch.")
            steps = {name: self.step(peer, precision) for name, peer in peers.items()}
            seconds = self.measure(steps | {"ours": self.step(ours, precision)})
            asked = self.measure({name: self.asked(one, precision) for name, one in {**peers, "ours": ours}.items()})
            for name in peers:
                yield row(f"{name} training step in {kind}, of ours", "1.0 at least", seconds[name], seconds["ours"])
                yield row(f"{name} forward pass in {kind}, of ours", "1.0 at least", asked[name], asked["ours"])

    def asked(self, model, precision):
        """A function that asks a network once; another library's as it is, without our names for its outputs."""
        world, model = World(self.device, precision), getattr(model, "model", model)

        @torch.no_grad()
        def ask():
            with in_precision(world):
                model.eval()(self.images)

        return ask

    def looking(self):
        """All attention maps cost little more than a forward pass."""
        model, world = self.student().eval(), World(self.device, torch.float32)
        some = self.images[: max(1, len(self.images) // 8)]  # all maps of a batch are large
        ask = {"maps": torch.no_grad()(lambda: model.attention_maps(some)),
               "pass": torch.no_grad()(lambda: model.forward_features(some))}  # fmt: skip
        with in_precision(world):
            seconds = self.measure(ask)
        yield row("all attention maps, of a forward pass", "1.25 at most", seconds["maps"], seconds["pass"])

    def distance(self):
        """Operations that the student's step has in products, a second, of what large products of that type reach."""
        N = 4096 if self.device.type == "cuda" else 256
        for precision in (torch.float32, torch.bfloat16):
            student, square = self.student(), torch.randn(N, N, device=self.device, dtype=precision)
            world = World(self.device, precision)

            def step(student=student, world=world):
                student.zero_grad()
                learn(student, None, DistillationObjective("none"), self.images, self.targets, world)

            with FlopCounterMode(display=False) as counted:
                step()
            seconds = self.measure({"step": step, "product": lambda square=square: square @ square})
            peak = [2 * N**3 / one for one in seconds["product"]]  # operations a second
            useful = [counted.get_total_flops() / one for one in seconds["step"]]
            what = f"operations a second in {str(precision).removeprefix('torch.')}, of large products'"
            yield row(what, "0.5 at least", useful, peak)

    def at_once(self, count=AT_ONCE, run=RUN):
        """Several small runs on one card do more together than one after the other."""
        alone, together = run_together(1, run), run_together(count, run)
        what = f"{count} tiny runs one after the other, of {count} at once"
        yield row(what, "1.0 at least", [count * alone], [together])

    PARTS = (bfloat16, compile, pinned, peers, looking, distance, at_once)

    def table(self, parts=PARTS):
        """All lines; of a part that cannot be tried, why."""
        for part in parts:
            try:
                yield from part(self)
            except (DeiTEduError, ImportError, RuntimeError) as error:
                yield {"what": part.__name__, "failed": str(error).split("\n")[0]}


class HuggingFaceStudent(torch.nn.Module):
    """Hugging Face's distilled DeiT of the same shape, its two outputs as HeadLogits."""

    def __init__(self, config):
        super().__init__()
        from transformers import DeiTConfig, DeiTForImageClassificationWithTeacher  # takes seconds

        D = config.embed_dim
        sizes = dict(image_size=config.image_size, patch_size=config.patch_size, num_channels=config.in_channels)
        sizes |= dict(hidden_size=D, num_hidden_layers=config.depth, num_attention_heads=config.num_heads)
        sizes |= dict(intermediate_size=int(D * config.mlp_ratio), num_labels=config.num_classes)
        self.model = DeiTForImageClassificationWithTeacher(DeiTConfig(**sizes))

    def forward(self, images):
        said = self.model(images)
        return HeadLogits(said.cls_logits, said.distillation_logits)


def run_together(count, run):
    """Seconds until so many processes have done what `run` says, begun at one moment."""
    begin = partial(subprocess.Popen, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    processes = [begin([sys.executable, "-W", "ignore", "-c", run]) for _ in range(count)]
    if [process.stdout.readline().strip() for process in processes] != ["ready"] * count:
        raise DeiTEduError("a run of several at once did not begin")
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    return max(float(process.communicate()[0]) for process in processes)


def line(one):
    """A line of the table as it is printed."""
    if "failed" in one:
        return f"{one['what']:62} could not be tried: {one['failed']}"
    return f"{one['what']:62} {one['ratio']:6.2f} ({one['low']:.2f} to {one['high']:.2f}), wanted {one['wanted']}"


def main():
    if not torch.cuda.is_available():
        print("error: no CUDA here: run it on a machine with an NVIDIA GPU and a torch made for it", file=sys.stderr)
        return 2
    device = torch.device("cuda")
    print(f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}, DeiT-Ti at {SHAPE}, batch {BATCH}")
    for one in Check(device).table():
        print(line(one), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
