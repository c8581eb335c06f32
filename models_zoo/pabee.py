"""PABEE: patience-based early exit in a transformer encoder.

Zhou, Xu, Ge, McAuley, Xu, Wei: "BERT Loses Patience: Fast and Robust Inference with Early Exit", NeurIPS 2020.

Dynamic: every layer has a classifier; inference stops when `patience` classifiers in a row have agreed with the one
before. The patience counter and the previous prediction live in Python; how many layers ran is counted on the model,
over all calls.
"""

import torch
from torch import nn


class PabeeEncoder(nn.Module):
    def __init__(self, vocab_size, max_length, hidden_size, num_heads, num_layers):
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab_size, hidden_size)
        self.position_embeddings = nn.Embedding(max_length, hidden_size)
        self.norm = nn.LayerNorm(hidden_size)
        self.layers = nn.ModuleList(
            [
                nn.TransformerEncoderLayer(
                    hidden_size, num_heads, dim_feedforward=2 * hidden_size, activation="gelu", batch_first=True
                )
                for _ in range(num_layers)
            ]
        )

    def embed(self, input_ids):
        positions = torch.arange(input_ids.size(1), device=input_ids.device)
        return self.norm(self.word_embeddings(input_ids) + self.position_embeddings(positions))

    def adaptive_forward(self, hidden_states, current_layer, padding_mask):
        return self.layers[current_layer](hidden_states, src_key_padding_mask=padding_mask)


class PabeeForSequenceClassification(nn.Module):
    def __init__(
        self, vocab_size=512, max_length=32, hidden_size=64, num_heads=4, num_layers=6, num_labels=3, patience=2
    ):
        super().__init__()
        self.num_layers = num_layers
        self.patience = patience
        self.encoder = PabeeEncoder(vocab_size, max_length, hidden_size, num_heads, num_layers)
        self.pooler = nn.Sequential(nn.Linear(hidden_size, hidden_size), nn.Tanh())
        self.classifiers = nn.ModuleList([nn.Linear(hidden_size, num_labels) for _ in range(num_layers)])
        self.reset_stats()
        self.init_weights()

    def init_weights(self):
        for name, parameter in self.named_parameters():
            if "norm" not in name and parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.2)

    def reset_stats(self):
        self.inference_instances_num = 0
        self.inference_layers_num = 0

    def average_layers(self):
        """Layers run for one input, on average since the last `reset_stats`."""
        return self.inference_layers_num / self.inference_instances_num

    def forward(self, input_ids, attention_mask):
        padding_mask = attention_mask == 0
        hidden_states = self.encoder.embed(input_ids)

        patient_counter = 0
        patient_labels = None
        calculated_layer_num = 0
        for i in range(self.num_layers):
            calculated_layer_num += 1
            hidden_states = self.encoder.adaptive_forward(hidden_states, i, padding_mask)
            logits = self.classifiers[i](self.pooler(hidden_states[:, 0]))
            labels = logits.argmax(dim=1)
            if patient_labels is not None and torch.all(labels.eq(patient_labels)):
                patient_counter += 1
            else:
                patient_counter = 0
            patient_labels = labels
            if patient_counter == self.patience:
                break

        self.inference_layers_num += calculated_layer_num
        self.inference_instances_num += 1
        return logits


def build(seed=0, num_layers=6, patience=2):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = PabeeForSequenceClassification(num_layers=num_layers, patience=patience)
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
