"""PABEE: patience-based early exit with regression and classification branches, statistics kept on the model."""

import logging
import torch
from torch import nn

logger = logging.getLogger(__name__)


class EncoderWithPabee(nn.Module):
    def __init__(self, d, n):
        super().__init__()
        self.layer = nn.ModuleList(
            [nn.TransformerEncoderLayer(d, 2, 2 * d, batch_first=True, dropout=0.1) for _ in range(n)]
        )

    def adaptive_forward(self, hidden_states, current_layer, attention_mask=None, head_mask=None):
        hidden_states = self.layer[current_layer](hidden_states)
        return hidden_states


class ModelWithPabee(nn.Module):
    def __init__(self, d, n, vocab):
        super().__init__()
        self.embeddings = nn.Embedding(vocab, d)
        self.encoder = EncoderWithPabee(d, n)
        self.pooler = nn.Sequential(nn.Linear(d, d), nn.Tanh())
        self.num_hidden_layers = n
        self.patience = 0
        self.inference_instances_num = 0
        self.inference_layers_num = 0
        self.regression_threshold = 0
        self.num_labels = 1

    def set_regression_threshold(self, threshold):
        self.regression_threshold = threshold

    def set_patience(self, patience):
        self.patience = patience

    def reset_stats(self):
        self.inference_instances_num = 0
        self.inference_layers_num = 0

    def log_stats(self):
        avg_inf_layers = self.inference_layers_num / self.inference_instances_num
        message = (
            f"*** Patience = {self.patience} Avg. Inference Layers = {avg_inf_layers:.2f} Speed Up ="
            f" {1 - avg_inf_layers / self.num_hidden_layers:.2f} ***"
        )
        print(message)

    def forward(self, input_ids, output_dropout=None, output_layers=None, regression=False):
        encoder_outputs = self.embeddings(input_ids)
        if self.training:
            res = []
            for i in range(self.num_hidden_layers):
                encoder_outputs = self.encoder.adaptive_forward(encoder_outputs, current_layer=i)
                pooled_output = self.pooler(encoder_outputs[:, 0])
                res.append(output_layers[i](output_dropout(pooled_output)))
        elif self.patience == 0:
            for i in range(self.num_hidden_layers):
                encoder_outputs = self.encoder.adaptive_forward(encoder_outputs, current_layer=i)
            pooled_output = self.pooler(encoder_outputs[:, 0])
            res = [output_layers[self.num_hidden_layers - 1](pooled_output)]
        else:
            patient_counter = 0
            patient_result = None
            calculated_layer_num = 0
            for i in range(self.num_hidden_layers):
                calculated_layer_num += 1
                encoder_outputs = self.encoder.adaptive_forward(encoder_outputs, current_layer=i)
                pooled_output = self.pooler(encoder_outputs[:, 0])
                logits = output_layers[i](pooled_output)
                if regression:
                    labels = logits.detach()
                    if patient_result is not None:
                        patient_labels = patient_result.detach()
                    if (patient_result is not None) and torch.abs(patient_result - labels) < self.regression_threshold:
                        patient_counter += 1
                    else:
                        patient_counter = 0
                else:
                    labels = logits.detach().argmax(dim=1)
                    if patient_result is not None:
                        patient_labels = patient_result.detach().argmax(dim=1)
                    if (patient_result is not None) and torch.all(labels.eq(patient_labels)):
                        patient_counter += 1
                    else:
                        patient_counter = 0
                patient_result = logits
                if patient_counter == self.patience:
                    break
            res = [patient_result]
            self.inference_layers_num += calculated_layer_num
            self.inference_instances_num += 1
        return res


class ForSequenceClassification(nn.Module):
    def __init__(self, num_labels, n=6):
        super().__init__()
        self.num_labels = num_labels
        self.bert = ModelWithPabee(16, n, 40)
        self.dropout = nn.Dropout(0.1)
        self.classifiers = nn.ModuleList([nn.Linear(16, num_labels) for _ in range(n)])

    def forward(self, input_ids=None, labels=None):
        logits = self.bert(
            input_ids=input_ids,
            output_dropout=self.dropout,
            output_layers=self.classifiers,
            regression=self.num_labels == 1,
        )
        outputs = (logits[-1],)
        if labels is not None:
            total_loss = None
            for ix, logits_item in enumerate(logits):
                loss = nn.functional.mse_loss(logits_item.view(-1), labels.view(-1))
                total_loss = loss if total_loss is None else total_loss + loss * (ix + 1)
            outputs = (total_loss,) + outputs
        logger.info("layers %d", self.bert.inference_layers_num)
        return outputs


class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.reg = ForSequenceClassification(1)
        self.cls = ForSequenceClassification(3)
        self.reg.bert.set_patience(2)
        self.reg.bert.set_regression_threshold(0.25)
        self.cls.bert.set_patience(2)

    def forward(self, input_ids):
        return self.reg(input_ids) + self.cls(input_ids)


def build():
    torch.manual_seed(0)
    return Both().eval()


def sample_inputs(seed):
    g = torch.Generator().manual_seed(seed)
    return (torch.randint(0, 40, (1, 7), generator=g),)
