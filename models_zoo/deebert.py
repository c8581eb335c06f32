"""DeeBERT: a BERT encoder with a highway exit after every layer.

Xin, Tang, Lee, Yu, Lin: "DeeBERT: Dynamic Early Exiting for Accelerating BERT Inference", ACL 2020.

Dynamic: each layer is followed by a highway (pooler and classifier). If the entropy of its logits is below the
threshold, the encoder raises `HighwayException`; the sequence classifier, two frames up, catches it and returns what
the exception carries.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Config:
    vocab_size: int = 512
    max_position: int = 32
    hidden_size: int = 64
    num_heads: int = 4
    intermediate_size: int = 128
    num_layers: int = 6
    num_labels: int = 3
    initializer_range: float = 0.2
    early_exit_entropy: float = 0.86


class HighwayException(Exception):  # noqa: N818 (the name its authors gave it)
    def __init__(self, message, exit_layer):
        super().__init__()
        self.message = message
        self.exit_layer = exit_layer  # counted from 1


def entropy(logits):
    """Entropy of softmax(logits), without computing the softmax."""
    exp_x = torch.exp(logits)
    a = exp_x.sum(dim=1)
    b = (logits * exp_x).sum(dim=1)
    return torch.log(a) - b / a


class Embeddings(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=0)
        self.position_embeddings = nn.Embedding(config.max_position, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size)

    def forward(self, input_ids):
        positions = torch.arange(input_ids.size(1), device=input_ids.device).unsqueeze(0)
        return self.norm(self.word_embeddings(input_ids) + self.position_embeddings(positions))


class SelfAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.num_heads = config.num_heads
        self.head_size = config.hidden_size // config.num_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def split_heads(self, x):
        batch, length, _ = x.shape
        return x.view(batch, length, self.num_heads, self.head_size).transpose(1, 2)

    def forward(self, hidden_states, attention_bias):
        query = self.split_heads(self.query(hidden_states))
        key = self.split_heads(self.key(hidden_states))
        value = self.split_heads(self.value(hidden_states))
        scores = query @ key.transpose(-1, -2) / math.sqrt(self.head_size)
        weights = F.softmax(scores + attention_bias, dim=-1)
        context = (weights @ value).transpose(1, 2).flatten(2)
        return self.dense(context)


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.attention = SelfAttention(config)
        self.attention_norm = nn.LayerNorm(config.hidden_size)
        self.intermediate = nn.Linear(config.hidden_size, config.intermediate_size)
        self.output = nn.Linear(config.intermediate_size, config.hidden_size)
        self.output_norm = nn.LayerNorm(config.hidden_size)

    def forward(self, hidden_states, attention_bias):
        hidden_states = self.attention_norm(hidden_states + self.attention(hidden_states, attention_bias))
        return self.output_norm(hidden_states + self.output(F.gelu(self.intermediate(hidden_states))))


class Pooler(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden_states):
        return torch.tanh(self.dense(hidden_states[:, 0]))


class Highway(nn.Module):
    """A head for one layer's output: pool the first token, classify."""

    def __init__(self, config):
        super().__init__()
        self.pooler = Pooler(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, hidden_states):
        return self.classifier(self.pooler(hidden_states))


class Encoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.layer = nn.ModuleList([Layer(config) for _ in range(config.num_layers)])
        self.highway = nn.ModuleList([Highway(config) for _ in range(config.num_layers - 1)])
        self.early_exit_entropy = [config.early_exit_entropy] * (config.num_layers - 1)

    def forward(self, hidden_states, attention_bias):
        highway_entropies = ()
        for i, layer in enumerate(self.layer):
            hidden_states = layer(hidden_states, attention_bias)
            if i < len(self.highway):
                highway_logits = self.highway[i](hidden_states)
                highway_entropy = entropy(highway_logits)
                highway_entropies = (*highway_entropies, highway_entropy)
                if highway_entropy < self.early_exit_entropy[i]:
                    raise HighwayException((highway_logits, highway_entropies), i + 1)
        return hidden_states, highway_entropies


class DeeBert(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.pooler = Pooler(config)

    def forward(self, input_ids, attention_mask):
        attention_bias = (1.0 - attention_mask[:, None, None, :].float()) * -10000.0
        hidden_states, highway_entropies = self.encoder(self.embeddings(input_ids), attention_bias)
        return self.pooler(hidden_states), highway_entropies


class DeeBertForSequenceClassification(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.num_layers = config.num_layers
        self.bert = DeeBert(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.initializer_range = config.initializer_range
        self.apply(self.init_weights)

    def init_weights(self, module):
        if isinstance(module, nn.Linear | nn.Embedding):
            module.weight.data.normal_(mean=0.0, std=self.initializer_range)
        if isinstance(module, nn.Linear):
            module.bias.data.zero_()

    def forward(self, input_ids, attention_mask):
        exit_layer = self.num_layers
        try:
            pooled, highway_entropies = self.bert(input_ids, attention_mask)
            logits = self.classifier(pooled)
        except HighwayException as e:
            logits, highway_entropies = e.message
            exit_layer = e.exit_layer
        return logits, highway_entropies, exit_layer


def build(seed=0, num_layers=6):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DeeBertForSequenceClassification(Config(num_layers=num_layers))
    return model.eval()


def example_inputs():
    return sample_inputs(0)


def sample_inputs(seed):
    """A sentence of random words, padded to 32 tokens: (input_ids, attention_mask)."""
    rng = torch.Generator().manual_seed(seed)
    length = int(torch.randint(4, 33, (1,), generator=rng))
    input_ids = torch.randint(2, 512, (1, 32), generator=rng)
    input_ids[:, 0] = 1  # [CLS]
    input_ids[:, length:] = 0  # [PAD]
    return input_ids, (input_ids != 0).long()
