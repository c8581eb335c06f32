"""A decoding task in the style of speech models: logit filters, a decoder object, sum of log probs, sequences cut at eot."""

from dataclasses import dataclass, field
from typing import List, Optional
import torch
import torch.nn.functional as F
from torch import nn, Tensor


@dataclass(frozen=True)
class DecodingOptions:
    temperature: float = 0.0
    sample_len: Optional[int] = None
    suppress_blank: bool = True
    suppress_tokens: str = "-1"
    without_timestamps: bool = False
    length_penalty: Optional[float] = None


@dataclass(frozen=True)
class DecodingResult:
    tokens: List[int] = field(default_factory=list)
    avg_logprob: float = float("nan")
    no_speech_prob: float = float("nan")


class LogitFilter:
    def apply(self, logits: Tensor, tokens: Tensor) -> None:
        raise NotImplementedError


class SuppressBlank(LogitFilter):
    def __init__(self, eot, sample_begin):
        self.eot, self.sample_begin = eot, sample_begin

    def apply(self, logits, tokens):
        if tokens.shape[1] == self.sample_begin:
            logits[:, [0, self.eot]] = -float("inf")


class SuppressTokens(LogitFilter):
    def __init__(self, ids):
        self.ids = list(ids)

    def apply(self, logits, tokens):
        logits[:, self.ids] = -float("inf")


class TimestampRules(LogitFilter):
    def __init__(self, begin, sample_begin, eot):
        self.begin, self.sample_begin, self.eot = begin, sample_begin, eot

    def apply(self, logits, tokens):
        for k in range(tokens.shape[0]):
            seq = [t for t in tokens[k, self.sample_begin :].tolist()]
            last_was = len(seq) >= 1 and seq[-1] >= self.begin
            penultimate = len(seq) < 2 or seq[-2] >= self.begin
            if last_was:
                if penultimate:
                    logits[k, self.begin :] = -float("inf")
                else:
                    logits[k, : self.eot] = -float("inf")
        logprobs = F.log_softmax(logits.float(), dim=-1)
        for k in range(tokens.shape[0]):
            ts = logprobs[k, self.begin :].logsumexp(dim=-1)
            mx = logprobs[k, : self.begin].max()
            if ts > mx:
                logits[k, : self.begin] = -float("inf")


class GreedyDecoder:
    def __init__(self, temperature, eot):
        self.temperature, self.eot = temperature, eot

    def update(self, tokens, logits, sum_logprobs):
        if self.temperature == 0:
            next_tokens = logits.argmax(dim=-1)
        else:
            next_tokens = torch.distributions.Categorical(logits=logits / self.temperature).sample()
        logprobs = F.log_softmax(logits.float(), dim=-1)
        current = logprobs[torch.arange(logprobs.shape[0]), next_tokens]
        sum_logprobs += current * (tokens[:, -1] != self.eot)
        next_tokens[tokens[:, -1] == self.eot] = self.eot
        tokens = torch.cat([tokens, next_tokens[:, None]], dim=-1)
        completed = (tokens[:, -1] == self.eot).all()
        return tokens, completed

    def finalize(self, tokens, sum_logprobs):
        tokens = F.pad(tokens, (0, 1), value=self.eot)
        return tokens, sum_logprobs.tolist()


class Inference:
    def __init__(self, model):
        self.model = model
        self.kv = {}
        self.hooks = []

    def logits(self, tokens, audio):
        return self.model.decoder(tokens, audio)

    def cleanup_caching(self):
        for hook in self.hooks:
            hook.remove()
        self.kv = {}


class Decoder(nn.Module):
    def __init__(self, vocab, d, ctx):
        super().__init__()
        self.token = nn.Embedding(vocab, d)
        self.pos = nn.Parameter(torch.randn(ctx, d))
        self.q, self.k, self.v = nn.Linear(d, d), nn.Linear(d, d), nn.Linear(d, d)
        self.ln = nn.LayerNorm(d)
        self.register_buffer("mask", torch.empty(ctx, ctx).fill_(-float("inf")).triu_(1), persistent=False)

    def forward(self, x, xa):
        x = self.token(x) + self.pos[: x.shape[-1]]
        n = x.shape[1]
        qk = self.q(x) @ self.k(x).transpose(1, 2) + self.mask[:n, :n]
        x = x + F.softmax(qk, -1) @ self.v(x)
        x = x + F.softmax(self.q(x) @ xa.transpose(1, 2), -1) @ xa
        x = self.ln(x)
        return (x @ self.token.weight.t()).float()


class Whisper(nn.Module):
    def __init__(self, vocab=16, d=12, ctx=16):
        super().__init__()
        self.encoder = nn.Conv1d(5, d, 3, padding=1)
        self.decoder = Decoder(vocab, d, ctx)
        self.options = DecodingOptions()
        self.eot, self.sot, self.no_speech, self.ts = 9, 10, 11, 12
        self.ctx = ctx

    def forward(self, mel):
        audio = F.gelu(self.encoder(mel)).transpose(1, 2)
        options = self.options
        initial = (self.sot,)
        sample_len: int = options.sample_len or self.ctx // 2
        inference = Inference(self)
        filters = []
        if options.suppress_blank:
            filters.append(SuppressBlank(self.eot, len(initial)))
        if options.suppress_tokens:
            filters.append(SuppressTokens([self.sot, self.no_speech]))
        if not options.without_timestamps:
            filters.append(TimestampRules(self.ts, len(initial), self.eot))
        decoder = GreedyDecoder(options.temperature, self.eot)
        tokens = torch.tensor([list(initial)]).repeat(mel.shape[0], 1)
        sum_logprobs = torch.zeros(mel.shape[0])
        no_speech_probs = [float("nan")] * mel.shape[0]
        try:
            for i in range(sample_len):
                logits = inference.logits(tokens, audio)
                if i == 0:
                    probs = logits[:, 0].float().softmax(dim=-1)
                    no_speech_probs = probs[:, self.no_speech].tolist()
                logits = logits[:, -1]
                for f in filters:
                    f.apply(logits, tokens)
                tokens, completed = decoder.update(tokens, logits, sum_logprobs)
                if completed or tokens.shape[-1] > self.ctx:
                    break
        finally:
            inference.cleanup_caching()
        tokens, lps = decoder.finalize(tokens, sum_logprobs)
        tokens = [t[len(initial) : (t == self.eot).nonzero()[0, 0]] for t in tokens]
        lists = [t.tolist() for t in tokens]
        avg = [lp / (len(t) + 1) for t, lp in zip(lists, lps)]
        return [
            DecodingResult(tokens=t, avg_logprob=a, no_speech_prob=p) for t, a, p in zip(lists, avg, no_speech_probs)
        ]


def build():
    torch.manual_seed(8)
    m = Whisper().eval()
    m.decoder.token.weight.data *= 1.5
    return m


def sample_inputs(s):
    g = torch.Generator().manual_seed(s)
    return (torch.randn(1, 5, 7, generator=g) * 2,)
