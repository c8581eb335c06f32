"""Show and Tell: a CNN encoder and an LSTM decoder that captions an image word by word.

Vinyals, Toshev, Bengio, Erhan: "Show and Tell: A Neural Image Caption Generator", CVPR 2015.

Dynamic: greedy decoding runs until the end token or the longest caption; the caption is a growing list of words, each
fed back as the next input.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

WEIGHTS = Path(__file__).parent / "weights" / "caption.safetensors"

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
# The words of our captions: "a three and an eight".
VOCABULARY = ["<pad>", "<bos>", "<eos>", "nothing", "a", "an", "and", *DIGITS]


class Encoder(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(3, 16, kernel_size=3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, kernel_size=3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, kernel_size=3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.fc = nn.Linear(32 * 16, features)

    def forward(self, image):
        return self.fc(self.conv(image).flatten(1))


class Captioner(nn.Module):
    bos = VOCABULARY.index("<bos>")
    eos = VOCABULARY.index("<eos>")

    def __init__(self, vocab_size=17, embed_size=32, hidden_size=64, max_len=10):
        super().__init__()
        self.max_len = max_len
        self.encoder = Encoder(hidden_size)
        self.embed = nn.Embedding(vocab_size, embed_size)
        self.init_h = nn.Linear(hidden_size, hidden_size)
        self.init_c = nn.Linear(hidden_size, hidden_size)
        self.cell = nn.LSTMCell(embed_size, hidden_size)
        self.out = nn.Linear(hidden_size, vocab_size)

    def init_hidden(self, features):
        return torch.tanh(self.init_h(features)), torch.tanh(self.init_c(features))

    def step(self, token, h, c):
        h, c = self.cell(self.embed(token), (h, c))
        return self.out(h), h, c

    def forward(self, image):
        h, c = self.init_hidden(self.encoder(image))
        token = torch.full((image.size(0),), self.bos, dtype=torch.long, device=image.device)
        words = []
        while len(words) < self.max_len:
            logits, h, c = self.step(token, h, c)
            token = logits.argmax(dim=1)
            word = token.item()
            if word == self.eos:
                break
            words.append(word)
        return words


def words_of(caption):
    """The text of a caption as the model returns it."""
    return " ".join(VOCABULARY[word] for word in caption)


def build(seed=0, max_len=10):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Captioner(max_len=max_len)
    if seed == 0 and WEIGHTS.exists():
        model.load_state_dict(load_file(WEIGHTS))
    return model.eval()


def example_inputs():
    return sample_inputs(0)


def sample_inputs(seed):
    """A grey 32x32 picture with up to four scribbles of random pen strokes, each in its quarter."""
    rng = torch.Generator().manual_seed(seed)
    image = torch.zeros(1, 1, 32, 32)
    for quarter in range(seed % 5):
        canvas = torch.zeros(1, 1, 8, 8)
        row, column = torch.randint(1, 7, (2,), generator=rng).tolist()
        for step in torch.randint(-1, 2, (24, 2), generator=rng).tolist():
            row, column = min(max(row + step[0], 0), 7), min(max(column + step[1], 1), 6)
            canvas[0, 0, row, column] += 0.5
        top, left = quarter // 2 * 16, quarter % 2 * 16
        scribble = F.interpolate(canvas.clamp(max=1.0), scale_factor=2, mode="bilinear", align_corners=False)
        image[:, :, top : top + 16, left : left + 16] = scribble
    return (image.repeat(1, 3, 1, 1),)
