"""DeeBERT (castorini): highway exits raised as an exception that carries the outputs."""

import torch
from torch import nn
import torch.nn.functional as F


def entropy(x):
    """x: torch.Tensor, logits BEFORE softmax"""
    exp_x = torch.exp(x)
    A = torch.sum(exp_x, dim=1)
    B = torch.sum(x * exp_x, dim=1)
    return torch.log(A) - B / A


class HighwayException(Exception):
    def __init__(self, message, exit_layer):
        self.message = message
        self.exit_layer = exit_layer  # start from 1!


class Embeddings(nn.Module):
    def __init__(self, vocab, d, max_len=32):
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab, d, padding_idx=0)
        self.position_embeddings = nn.Embedding(max_len, d)
        self.token_type_embeddings = nn.Embedding(2, d)
        self.LayerNorm = nn.LayerNorm(d, eps=1e-12)
        self.dropout = nn.Dropout(0.1)

    def forward(self, input_ids=None, token_type_ids=None, position_ids=None, inputs_embeds=None):
        if input_ids is not None:
            input_shape = input_ids.size()
        else:
            input_shape = inputs_embeds.size()[:-1]
        seq_length = input_shape[1]
        device = input_ids.device if input_ids is not None else inputs_embeds.device
        if position_ids is None:
            position_ids = torch.arange(seq_length, dtype=torch.long, device=device)
            position_ids = position_ids.unsqueeze(0).expand(input_shape)
        if token_type_ids is None:
            token_type_ids = torch.zeros(input_shape, dtype=torch.long, device=device)
        e = (
            self.word_embeddings(input_ids)
            + self.position_embeddings(position_ids)
            + self.token_type_embeddings(token_type_ids)
        )
        return self.dropout(self.LayerNorm(e))


class Layer(nn.Module):
    def __init__(self, d, h, output_attentions=False):
        super().__init__()
        self.h, self.dh = h, d // h
        self.query, self.key, self.value = nn.Linear(d, d), nn.Linear(d, d), nn.Linear(d, d)
        self.dense = nn.Linear(d, d)
        self.ln = nn.LayerNorm(d)
        self.inter, self.output = nn.Linear(d, 2 * d), nn.Linear(2 * d, d)
        self.ln2 = nn.LayerNorm(d)
        self.output_attentions = output_attentions

    def transpose_for_scores(self, x):
        new_x_shape = x.size()[:-1] + (self.h, self.dh)
        x = x.view(*new_x_shape)
        return x.permute(0, 2, 1, 3)

    def forward(self, hidden_states, attention_mask=None, head_mask=None):
        q = self.transpose_for_scores(self.query(hidden_states))
        k = self.transpose_for_scores(self.key(hidden_states))
        v = self.transpose_for_scores(self.value(hidden_states))
        s = torch.matmul(q, k.transpose(-1, -2)) / self.dh**0.5
        if attention_mask is not None:
            s = s + attention_mask
        p = nn.Softmax(dim=-1)(s)
        if head_mask is not None:
            p = p * head_mask
        c = torch.matmul(p, v).permute(0, 2, 1, 3).contiguous()
        c = c.view(*(c.size()[:-2] + (self.h * self.dh,)))
        a = self.ln(self.dense(c) + hidden_states)
        o = self.ln2(self.output(F.gelu(self.inter(a))) + a)
        outputs = (o, p) if self.output_attentions else (o,)
        return outputs


class Pooler(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.dense = nn.Linear(d, d)
        self.activation = nn.Tanh()

    def forward(self, hidden_states):
        return self.activation(self.dense(hidden_states[:, 0]))


class BertHighway(nn.Module):
    def __init__(self, d, n):
        super(BertHighway, self).__init__()
        self.pooler = Pooler(d)
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Linear(d, n)

    def forward(self, encoder_outputs):
        pooler_input = encoder_outputs[0]
        pooler_output = self.pooler(pooler_input)
        bmodel_output = (pooler_input, pooler_output) + encoder_outputs[1:]
        pooled_output = bmodel_output[1]
        pooled_output = self.dropout(pooled_output)
        logits = self.classifier(pooled_output)
        return logits, pooled_output


class DeeBertEncoder(nn.Module):
    def __init__(self, d, h, layers, n):
        super(DeeBertEncoder, self).__init__()
        self.output_attentions = True
        self.output_hidden_states = True
        self.layer = nn.ModuleList([Layer(d, h, True) for _ in range(layers)])
        self.highway = nn.ModuleList([BertHighway(d, n) for _ in range(layers)])
        self.early_exit_entropy = [-1 for _ in range(layers)]

    def set_early_exit_entropy(self, x):
        if (type(x) is float) or (type(x) is int):
            for i in range(len(self.early_exit_entropy)):
                self.early_exit_entropy[i] = x
        else:
            self.early_exit_entropy = x

    def forward(self, hidden_states, attention_mask=None, head_mask=None):
        all_hidden_states = ()
        all_attentions = ()
        all_highway_exits = ()
        for i, layer_module in enumerate(self.layer):
            if self.output_hidden_states:
                all_hidden_states = all_hidden_states + (hidden_states,)
            layer_outputs = layer_module(hidden_states, attention_mask, head_mask[i])
            hidden_states = layer_outputs[0]
            if self.output_attentions:
                all_attentions = all_attentions + (layer_outputs[1],)
            current_outputs = (hidden_states,)
            if self.output_hidden_states:
                current_outputs = current_outputs + (all_hidden_states,)
            if self.output_attentions:
                current_outputs = current_outputs + (all_attentions,)
            highway_exit = self.highway[i](current_outputs)
            if not self.training:
                highway_logits = highway_exit[0]
                highway_entropy = entropy(highway_logits)
                highway_exit = highway_exit + (highway_entropy,)
                all_highway_exits = all_highway_exits + (highway_exit,)
                if highway_entropy < self.early_exit_entropy[i]:
                    new_output = (highway_logits,) + current_outputs[1:] + (all_highway_exits,)
                    raise HighwayException(new_output, i + 1)
            else:
                all_highway_exits = all_highway_exits + (highway_exit,)
        if self.output_hidden_states:
            all_hidden_states = all_hidden_states + (hidden_states,)
        outputs = (hidden_states,)
        if self.output_hidden_states:
            outputs = outputs + (all_hidden_states,)
        if self.output_attentions:
            outputs = outputs + (all_attentions,)
        outputs = outputs + (all_highway_exits,)
        return outputs


class BertModel(nn.Module):
    def __init__(self, d, h, layers, n, vocab):
        super().__init__()
        self.embeddings = Embeddings(vocab, d)
        self.encoder = DeeBertEncoder(d, h, layers, n)
        self.pooler = Pooler(d)
        self.nl = layers

    def forward(self, input_ids=None, attention_mask=None, token_type_ids=None, head_mask=None):
        if input_ids is None:
            raise ValueError("You have to specify either input_ids or inputs_embeds")
        if attention_mask is None:
            attention_mask = torch.ones(input_ids.size(), device=input_ids.device)
        if attention_mask.dim() == 3:
            ext = attention_mask[:, None, :, :]
        elif attention_mask.dim() == 2:
            ext = attention_mask[:, None, None, :]
        ext = ext.to(dtype=next(self.parameters()).dtype)
        ext = (1.0 - ext) * -10000.0
        if head_mask is None:
            head_mask = [None] * self.nl
        embedding_output = self.embeddings(input_ids=input_ids, token_type_ids=token_type_ids)
        encoder_outputs = self.encoder(embedding_output, attention_mask=ext, head_mask=head_mask)
        sequence_output = encoder_outputs[0]
        pooled_output = self.pooler(sequence_output)
        return (
            sequence_output,
            pooled_output,
        ) + encoder_outputs[1:]


class DeeBertForSequenceClassification(nn.Module):
    def __init__(self, d=16, h=2, layers=4, n=3, vocab=50):
        super().__init__()
        self.num_labels = n
        self.num_layers = layers
        self.bert = BertModel(d, h, layers, n, vocab)
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Linear(d, n)

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        token_type_ids=None,
        labels=None,
        output_layer=-1,
        train_highway=False,
    ):
        exit_layer = self.num_layers
        try:
            outputs = self.bert(input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
            pooled_output = outputs[1]
            pooled_output = self.dropout(pooled_output)
            logits = self.classifier(pooled_output)
            outputs = (logits,) + outputs[2:]
        except HighwayException as e:
            outputs = e.message
            exit_layer = e.exit_layer
            logits = outputs[0]
        if not self.training:
            original_entropy = entropy(logits)
            highway_entropy = []
            highway_logits_all = []
        if labels is not None:
            raise NotImplementedError
        if not self.training:
            outputs = outputs + ((original_entropy, highway_entropy), exit_layer)
            if output_layer >= 0:
                outputs = (outputs[0],) + (highway_logits_all[output_layer],) + outputs[2:]
        return outputs


def build():
    torch.manual_seed(0)
    m = DeeBertForSequenceClassification().eval()
    for h in m.bert.encoder.highway:
        h.classifier.weight.data *= 6
    m.bert.encoder.set_early_exit_entropy(0.3)
    return m


def sample_inputs(seed):
    g = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, 50, (1, 8), generator=g)
    return (ids, torch.ones(1, 8, dtype=torch.long))
