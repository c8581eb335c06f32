"""A two-stage detector: region proposals, and a head that classifies each of them.

Ren, He, Girshick, Sun: "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks", NeurIPS 2015.

Dynamic: how many proposals are left after small ones are dropped and overlapping ones suppressed, which classes have
any detection at all, and how many detections the image has, which may be none.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F


def box_area(boxes):
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def box_iou(boxes1, boxes2):
    lt = torch.max(boxes1[:, None, :2], boxes2[:, :2])
    rb = torch.min(boxes1[:, None, 2:], boxes2[:, 2:])
    wh = (rb - lt).clamp(min=0)
    inter = wh[:, :, 0] * wh[:, :, 1]
    return inter / (box_area(boxes1)[:, None] + box_area(boxes2) - inter)


def nms(boxes, scores, iou_threshold):
    """Indices of the boxes that no better box covers, best first."""
    order = scores.argsort(descending=True)
    keep = []
    while order.numel() > 0:
        i = order[0]
        keep.append(i)
        if order.numel() == 1:
            break
        iou = box_iou(boxes[i][None], boxes[order[1:]])[0]
        order = order[1:][iou <= iou_threshold]
    return torch.stack(keep) if keep else torch.empty(0, dtype=torch.long)


def decode_boxes(deltas, anchors):
    widths = anchors[:, 2] - anchors[:, 0]
    heights = anchors[:, 3] - anchors[:, 1]
    ctr_x = anchors[:, 0] + 0.5 * widths
    ctr_y = anchors[:, 1] + 0.5 * heights
    dx, dy, dw, dh = deltas.unbind(1)
    dw = torch.clamp(dw, max=math.log(4.0))
    dh = torch.clamp(dh, max=math.log(4.0))
    pred_ctr_x = dx * widths + ctr_x
    pred_ctr_y = dy * heights + ctr_y
    pred_w = torch.exp(dw) * widths
    pred_h = torch.exp(dh) * heights
    return torch.stack(
        [
            pred_ctr_x - 0.5 * pred_w,
            pred_ctr_y - 0.5 * pred_h,
            pred_ctr_x + 0.5 * pred_w,
            pred_ctr_y + 0.5 * pred_h,
        ],
        dim=1,
    )


def clip_boxes(boxes, size):
    height, width = size
    x = boxes[:, 0::2].clamp(min=0, max=width)
    y = boxes[:, 1::2].clamp(min=0, max=height)
    return torch.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], dim=1)


class RPN(nn.Module):
    """Proposals: the best anchors, moved by the network's corrections."""

    def __init__(self, channels, sizes=(8.0, 14.0), stride=4, pre_nms_top_n=12, post_nms_top_n=5):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.cls_logits = nn.Conv2d(channels, len(sizes), 1)
        self.bbox_pred = nn.Conv2d(channels, len(sizes) * 4, 1)
        self.sizes = sizes
        self.stride = stride
        self.pre_nms_top_n = pre_nms_top_n
        self.post_nms_top_n = post_nms_top_n
        self.min_size = 4.0
        self.nms_thresh = 0.4

    def anchors(self, height, width, device):
        half = torch.tensor(self.sizes, device=device) / 2
        base = torch.stack([-half, -half, half, half], dim=1)
        y = (torch.arange(height, device=device) + 0.5) * self.stride
        x = (torch.arange(width, device=device) + 0.5) * self.stride
        shift_y, shift_x = torch.meshgrid(y, x, indexing="ij")
        shifts = torch.stack([shift_x, shift_y, shift_x, shift_y], dim=-1).reshape(-1, 1, 4)
        return (shifts + base).reshape(-1, 4)

    def forward(self, features, image_size):
        t = F.relu(self.conv(features))
        objectness = self.cls_logits(t).permute(0, 2, 3, 1).flatten()
        deltas = self.bbox_pred(t).permute(0, 2, 3, 1).reshape(-1, 4)
        anchors = self.anchors(features.shape[-2], features.shape[-1], features.device)
        scores, top = objectness.sigmoid().topk(self.pre_nms_top_n)
        boxes = clip_boxes(decode_boxes(deltas[top], anchors[top]), image_size)
        big = (boxes[:, 2] - boxes[:, 0] >= self.min_size) & (boxes[:, 3] - boxes[:, 1] >= self.min_size)
        keep = torch.where(big & (scores > 0.5))[0]
        boxes, scores = boxes[keep], scores[keep]
        keep = nms(boxes, scores, self.nms_thresh)
        return boxes[keep[: self.post_nms_top_n]]


class RoIHead(nn.Module):
    def __init__(self, channels, num_classes, output_size=3):
        super().__init__()
        self.output_size = output_size
        self.fc = nn.Linear(channels * output_size**2, 32)
        self.cls_score = nn.Linear(32, num_classes)
        self.bbox_pred = nn.Linear(32, num_classes * 4)

    def forward(self, features, proposals, scale):
        pooled = []
        for box in proposals:
            x1, y1, x2, y2 = (box * scale).round().int().tolist()
            x2, y2 = max(x2, x1 + 1), max(y2, y1 + 1)
            region = features[:, :, y1:y2, x1:x2]
            pooled.append(F.adaptive_max_pool2d(region, self.output_size))
        x = F.relu(self.fc(torch.cat(pooled).flatten(start_dim=1)))
        return self.cls_score(x), self.bbox_pred(x)


class FasterRCNN(nn.Module):
    def __init__(self, num_classes=4, channels=16, score_thresh=0.4, nms_thresh=0.3, detections_per_img=4):
        super().__init__()
        self.num_classes = num_classes
        self.score_thresh = score_thresh
        self.nms_thresh = nms_thresh
        self.detections_per_img = detections_per_img
        self.backbone = nn.Sequential(
            nn.Conv2d(3, channels, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.rpn = RPN(channels)
        self.head = RoIHead(channels, num_classes)

    def postprocess(self, class_logits, box_regression, proposals, image_size):
        scores = F.softmax(class_logits, -1)
        all_boxes, all_scores, all_labels = [], [], []
        for label in range(1, self.num_classes):  # 0 is the background
            class_scores = scores[:, label]
            inds = torch.where(class_scores > self.score_thresh)[0]
            if inds.numel() == 0:
                continue
            boxes = decode_boxes(box_regression[inds, label * 4 : label * 4 + 4], proposals[inds])
            boxes = clip_boxes(boxes, image_size)
            keep = nms(boxes, class_scores[inds], self.nms_thresh)
            all_boxes.append(boxes[keep])
            all_scores.append(class_scores[inds][keep])
            all_labels.append(torch.full((len(keep),), label, dtype=torch.int64))
        if not all_boxes:
            return {
                "boxes": torch.empty(0, 4),
                "labels": torch.empty(0, dtype=torch.int64),
                "scores": torch.empty(0),
            }
        boxes, scores, labels = torch.cat(all_boxes), torch.cat(all_scores), torch.cat(all_labels)
        top = scores.argsort(descending=True)[: self.detections_per_img]
        return {"boxes": boxes[top], "labels": labels[top], "scores": scores[top]}

    def forward(self, images):
        image_size = images.shape[-2:]
        features = self.backbone(images)
        proposals = self.rpn(features, image_size)
        if len(proposals) == 0:
            return {
                "boxes": torch.empty(0, 4),
                "labels": torch.empty(0, dtype=torch.int64),
                "scores": torch.empty(0),
            }
        class_logits, box_regression = self.head(features, proposals, features.shape[-1] / images.shape[-1])
        return self.postprocess(class_logits, box_regression, proposals, image_size)


def build(seed=0):
    """Random weights, scaled so that images differ in proposals and detections."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 3)
        model = FasterRCNN()
        nn.init.normal_(model.rpn.cls_logits.weight, std=1.2)
        nn.init.constant_(model.rpn.cls_logits.bias, -0.05)
        nn.init.normal_(model.rpn.bbox_pred.weight, std=0.1)
        nn.init.normal_(model.head.cls_score.weight, std=0.8)
        nn.init.normal_(model.head.bbox_pred.weight, std=0.02)
        nn.init.normal_(model.head.fc.weight, std=0.3)
    return model.eval()


def example_inputs():
    return sample_inputs(0)


def sample_inputs(seed):
    """An image of 24 x 24 pixels with none to three spots on a ground that is nearly flat."""
    rng = torch.Generator().manual_seed(seed)
    image = 0.05 * torch.randn(1, 3, 24, 24, generator=rng)
    for _ in range(seed % 4):
        y, x = (int(torch.randint(0, 16, (), generator=rng)) for _ in range(2))
        image[:, :, y : y + 8, x : x + 8] += torch.randn(1, 3, 1, 1, generator=rng)
    return (image,)
