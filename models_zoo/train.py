"""Train the zoo's small networks on scikit-learn's digits: `python -m models_zoo.train skipnet shallow_deep`.

Deterministic for one version of torch and one kind of machine; minutes on two cores. Writes
`models_zoo/weights/NAME.safetensors`. What only training needs (soft gates, joint losses, teacher forcing) is here,
so that the model files hold inference alone.
"""

import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from models_zoo import branchynet, caption, shallow_deep, skipnet
from models_zoo.digits import digits_split

WEIGHTS = Path(__file__).parent / "weights"


def load_split(scale=4):
    """The digits as tensors: train images, train labels, test images, test labels."""
    return tuple(torch.from_numpy(array) for array in digits_split(scale))


def augment(images, rng):
    """The images of a batch, moved by up to three pixels and with another contrast each."""
    padded = F.pad(images, (3, 3, 3, 3))
    moved = []
    for image, (top, left) in zip(padded, torch.randint(0, 7, (len(images), 2), generator=rng).tolist(), strict=True):
        moved.append(image[:, top : top + 32, left : left + 32])
    contrast = 0.7 + 0.3 * torch.rand(len(images), 1, 1, 1, generator=rng)
    return torch.stack(moved) * contrast


def fit(model, batches, loss_of, *, steps, lr):
    """Train in place with AdamW and one cycle of the learning rate."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=lr, total_steps=steps)
    model.train()
    started = time.monotonic()
    for step in range(steps):
        optimizer.zero_grad()
        loss = loss_of(model, *next(batches), step / steps)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % max(steps // 10, 1) == 0:
            print(f"  step {step + 1}/{steps}  loss {loss.item():.4f}  {time.monotonic() - started:.0f} s", flush=True)
    model.eval()


def digit_batches(seed, batch_size=64):
    """Endless augmented batches of the train split."""
    images, labels, _, _ = load_split()
    rng = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(images), generator=rng)
        for chosen in order.split(batch_size)[:-1]:
            yield augment(images[chosen], rng), labels[chosen]


# ---------------------------------------------------------------- SkipNet

RUN_RATE = 0.6  # the share of inputs that a gate should let through its block


def soft_skipnet(model, x):
    """(logits, share of the batch that each gate lets through), gates hard forward and soft backward."""
    x = model.blocks[0](model.stem(x))
    rates = []
    for gate, block in zip(model.gates, model.blocks[1:], strict=True):
        soft = F.softmax(gate.scores(x), dim=1)[:, 1]
        mask = (soft > 0.5).float() + soft - soft.detach()
        rates.append(mask.mean())
        mask = mask.view(-1, 1, 1, 1)
        x = mask * block(x) + (1 - mask) * block.shortcut(x)
    return model.fc(F.adaptive_avg_pool2d(x, 1).flatten(1)), torch.stack(rates)


def skipnet_loss(model, x, y, progress):
    """Cross entropy and a price on gates that run too often or too rarely, phased in."""
    logits, rates = soft_skipnet(model, x)
    return F.cross_entropy(logits, y) + min(1.0, 2 * progress) * 2.0 * (rates - RUN_RATE).square().mean()


def train_skipnet():
    """A SkipNet whose gates are hard in the forward pass and soft in the backward pass (straight through)."""
    model = skipnet.SkipNet()
    fit(model, digit_batches(1), skipnet_loss, steps=22 * 15, lr=1e-2)
    return model


# ---------------------------------------------------------------- exits trained jointly


def shallow_deep_outputs(model, x):
    """The logits of every internal classifier and of the network's end."""
    outputs = []
    for i, layer in enumerate(model.layers):
        x = layer(x)
        if str(i) in model.classifiers:
            outputs.append(model.classifiers[str(i)](x))
    return [*outputs, model.end_layers(x)]


def joint_loss(outputs, y, smoothing=0.0):
    """The losses of all exits together; later exits weigh more."""
    losses = [F.cross_entropy(out, y, label_smoothing=smoothing) * (i + 1) for i, out in enumerate(outputs)]
    return torch.stack(losses).sum() / len(outputs)


def shallow_deep_loss(model, x, y, progress):
    """All exits together. Smoothed labels keep the confidences around the threshold, where they tell images apart."""
    return joint_loss(shallow_deep_outputs(model, x), y, smoothing=0.11)


def train_shallow_deep():
    """The network and its internal classifiers, trained together."""
    model = shallow_deep.ShallowDeepVGG()
    fit(model, digit_batches(2), shallow_deep_loss, steps=22 * 30, lr=5e-3)
    return model


def branchynet_loss(model, x, y, progress):
    """The three exits of a BranchyNet together."""
    x = model.trunk1(x)
    first = model.branch1(x)
    x = model.trunk2(x)
    return joint_loss([first, model.branch2(x), model.trunk3(x)], y)


def train_branchynet():
    """The trunk and both side branches, trained together."""
    model = branchynet.BranchyAlexNet()
    fit(model, digit_batches(3), branchynet_loss, steps=22 * 30, lr=2e-3)
    return model


# ---------------------------------------------------------------- captions

QUARTERS = ((0, 0), (0, 16), (16, 0), (16, 16))


def caption_text(names):
    """What a picture of these digits is called."""
    return " and ".join(f"{'an' if name == 'eight' else 'a'} {name}" for name in names) or "nothing"


def caption_batches(seed, batch_size=128):
    """Endless pictures of zero to four digits and their captions as word numbers, `<eos>` last, padded."""
    images, labels, _, _ = load_split(scale=2)
    rng = torch.Generator().manual_seed(seed)
    longest = 12
    while True:
        pictures = torch.zeros(batch_size, 3, 32, 32)
        words = torch.zeros(batch_size, longest, dtype=torch.long)
        counts = torch.randint(0, 5, (batch_size,), generator=rng).tolist()
        for row, count in enumerate(counts):
            chosen = torch.randint(0, len(images), (count,), generator=rng)
            for image, (top, left) in zip(images[chosen], QUARTERS, strict=False):
                pictures[row, :, top : top + 16, left : left + 16] = image
            names = [caption.DIGITS[label] for label in labels[chosen].tolist()]
            text = [*caption_text(names).split(), "<eos>"]
            words[row, : len(text)] = torch.tensor([caption.VOCABULARY.index(word) for word in text])
        yield pictures, words


def caption_loss(model, pictures, words, progress):
    """Cross entropy of each next word, given the true words before it."""
    h, c = model.init_hidden(model.encoder(pictures))
    token = torch.full((len(pictures),), model.bos)
    losses = []
    for following in words.unbind(dim=1):
        logits, h, c = model.step(token, h, c)
        losses.append(F.cross_entropy(logits, following, ignore_index=0, reduction="sum"))
        token = following
    return torch.stack(losses).sum() / (words != 0).sum()


def train_caption():
    """The captioner, fed with the true words."""
    model = caption.Captioner()
    fit(model, caption_batches(4), caption_loss, steps=3500, lr=3e-3)
    return model


# ---------------------------------------------------------------- command line

TRAINERS = {
    "skipnet": train_skipnet,
    "shallow_deep": train_shallow_deep,
    "branchynet": train_branchynet,
    "caption": train_caption,
}


def main(names):
    """Train the named networks (all without a name) and write their weights."""
    unknown = [name for name in names if name not in TRAINERS]
    if unknown:
        raise SystemExit(f"nothing to train: {', '.join(unknown)}; choose from {', '.join(TRAINERS)}")
    # One thread: sums are then taken in one order, whatever the machine has.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    WEIGHTS.mkdir(exist_ok=True)
    for name in names or TRAINERS:
        print(f"{name}:")
        torch.manual_seed(0)
        model = TRAINERS[name]()
        state = {key: value.contiguous() for key, value in model.state_dict().items()}
        save_file(state, WEIGHTS / f"{name}.safetensors")


if __name__ == "__main__":
    main(sys.argv[1:])
