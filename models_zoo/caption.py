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
            nn.Conv2d(3, 16, kernel_size=3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, kernel_size=3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 32, kernel_size=3, stride=2, padding=1),
            nn.BatchNorm2d(32),
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


# The digits 0 to 9 as 8x8 bitmaps, one byte a row.
GLYPHS = (0x3C666E7666663C00, 0x183818181818187E, 0x3C66060C1830607E, 0x3C66061C06663C00, 0x0C1C2C4C7E0C0C00)
GLYPHS += (0x7E607C0606663C00, 0x1C30607C66663C00, 0x7E06060C18183000, 0x3C66663C66663C00, 0x3C66663E060C3800)


def scribble(digit, rng):
    """An 8x8 picture of a digit as a hand might write it: bent, worn, pale, now and then noisy."""
    bitmap = torch.tensor([GLYPHS[digit] >> (63 - i) & 1 for i in range(64)]).float().view(1, 1, 8, 8)
    turn, slant, width, height, dx, dy = (torch.rand(6, generator=rng) - 0.5).tolist()
    row_x = [1.4 + 0.5 * width, 0.4 * slant + 0.2 * turn, 0.2 * dx]
    row_y = [-0.2 * turn, 1.0 + 0.4 * height, 0.2 * dy]
    grid = F.affine_grid(torch.tensor([[row_x, row_y]]), [1, 1, 8, 8], align_corners=False)
    ink, wear, noise = torch.rand(3, generator=rng).tolist()
    picture = F.grid_sample(bitmap, grid, align_corners=False)
    picture = picture * (1.6 - 0.5 * wear * torch.rand(1, 1, 8, 8, generator=rng))
    picture = picture + noise**8 * torch.rand(1, 1, 8, 8, generator=rng)
    return picture.clamp(max=1.0) * (0.5 + 0.5 * ink)


def sample_inputs(seed):
    """A grey 32x32 picture of up to four digits, each in its quarter."""
    rng = torch.Generator().manual_seed(seed)
    image = torch.zeros(1, 1, 32, 32)
    for quarter, digit in enumerate(torch.randint(0, 10, (seed % 5,), generator=rng).tolist()):
        top, left = quarter // 2 * 16, quarter % 2 * 16
        picture = F.interpolate(scribble(digit, rng), scale_factor=2, mode="bilinear", align_corners=False)
        image[:, :, top : top + 16, left : left + 16] = picture
    return (image.repeat(1, 3, 1, 1),)
