"""MTCNN: faces found by a cascade of three small networks over an image pyramid.

Zhang, Zhang, Li, Qiao: "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks", IEEE
Signal Processing Letters 2016.

Dynamic: the first network scans every scale of the image, and each of the other two looks only at crops (of any size)
that its predecessor has let through; when none are left the answer is empty. Boxes are handled in numpy, as in the
implementations that are in use.
"""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class PNet(nn.Module):
    """Fully convolutional: a face score and a correction of the box for every cell of 12 x 12 pixels."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3),
            nn.PReLU(6),
            nn.MaxPool2d(2, 2, ceil_mode=True),
            nn.Conv2d(6, 8, 3),
            nn.PReLU(8),
            nn.Conv2d(8, 12, 3),
            nn.PReLU(12),
        )
        self.conv4_1 = nn.Conv2d(12, 2, 1)
        self.conv4_2 = nn.Conv2d(12, 4, 1)

    def forward(self, x):
        x = self.features(x)
        return self.conv4_2(x), F.softmax(self.conv4_1(x), dim=1)


class CropNet(nn.Module):
    """The networks of the second and the third stage, for crops of a fixed size."""

    def __init__(self, size, with_landmarks):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2), nn.PReLU(8), nn.Conv2d(8, 12, 3, stride=2), nn.PReLU(12), nn.Flatten()
        )
        side = ((size - 1) // 2 - 1) // 2
        self.fc = nn.Sequential(nn.Linear(12 * side * side, 24), nn.PReLU(24))
        self.prob = nn.Linear(24, 2)
        self.offsets = nn.Linear(24, 4)
        self.landmarks = nn.Linear(24, 10) if with_landmarks else None

    def forward(self, x):
        x = self.fc(self.features(x))
        prob = F.softmax(self.prob(x), dim=-1)
        if self.landmarks is not None:
            return self.landmarks(x), self.offsets(x), prob
        return self.offsets(x), prob


def nms(boxes, overlap_threshold=0.5, mode="union"):
    """Indices of the boxes (x1, y1, x2, y2, score) that no better box covers."""
    if len(boxes) == 0:
        return []
    pick = []
    x1, y1, x2, y2, score = (boxes[:, i] for i in range(5))
    area = (x2 - x1 + 1.0) * (y2 - y1 + 1.0)
    ids = np.argsort(score)
    while len(ids) > 0:
        last = len(ids) - 1
        i = ids[last]
        pick.append(i)
        ix1 = np.maximum(x1[i], x1[ids[:last]])
        iy1 = np.maximum(y1[i], y1[ids[:last]])
        ix2 = np.minimum(x2[i], x2[ids[:last]])
        iy2 = np.minimum(y2[i], y2[ids[:last]])
        w = np.maximum(0.0, ix2 - ix1 + 1.0)
        h = np.maximum(0.0, iy2 - iy1 + 1.0)
        inter = w * h
        if mode == "min":
            overlap = inter / np.minimum(area[i], area[ids[:last]])
        else:
            overlap = inter / (area[i] + area[ids[:last]] - inter)
        ids = np.delete(ids, np.concatenate([[last], np.where(overlap > overlap_threshold)[0]]))
    return pick


def convert_to_square(bboxes):
    square_bboxes = np.zeros_like(bboxes)
    x1, y1, x2, y2 = (bboxes[:, i] for i in range(4))
    h = y2 - y1 + 1.0
    w = x2 - x1 + 1.0
    max_side = np.maximum(h, w)
    square_bboxes[:, 0] = x1 + w * 0.5 - max_side * 0.5
    square_bboxes[:, 1] = y1 + h * 0.5 - max_side * 0.5
    square_bboxes[:, 2] = square_bboxes[:, 0] + max_side - 1.0
    square_bboxes[:, 3] = square_bboxes[:, 1] + max_side - 1.0
    return square_bboxes


def calibrate_box(bboxes, offsets):
    """Boxes moved and stretched by the network's corrections, which are relative to their sizes."""
    x1, y1, x2, y2 = (bboxes[:, i] for i in range(4))
    w = np.expand_dims(x2 - x1 + 1.0, 1)
    h = np.expand_dims(y2 - y1 + 1.0, 1)
    translation = np.hstack([w, h, w, h]) * offsets
    bboxes[:, 0:4] = bboxes[:, 0:4] + translation
    return bboxes


def generate_bboxes(probs, offsets, scale, threshold):
    """Boxes of the cells whose score is above the threshold, in pixels of the image."""
    stride = 2
    cell_size = 12
    inds = np.where(probs > threshold)
    if inds[0].size == 0:
        return np.array([])
    tx1, ty1, tx2, ty2 = (offsets[0, i, inds[0], inds[1]] for i in range(4))
    offsets = np.array([tx1, ty1, tx2, ty2])
    score = probs[inds[0], inds[1]]
    bounding_boxes = np.vstack(
        [
            np.round((stride * inds[1] + 1.0) / scale),
            np.round((stride * inds[0] + 1.0) / scale),
            np.round((stride * inds[1] + 1.0 + cell_size) / scale),
            np.round((stride * inds[0] + 1.0 + cell_size) / scale),
            score,
            offsets,
        ]
    )
    return bounding_boxes.T


class MTCNN(nn.Module):
    def __init__(self, min_face_size=15.0, thresholds=(0.6, 0.55, 0.55), nms_thresholds=(0.5, 0.5, 0.5)):
        super().__init__()
        self.min_face_size = min_face_size
        self.thresholds = thresholds
        self.nms_thresholds = nms_thresholds
        self.pnet = PNet()
        self.rnet = CropNet(16, with_landmarks=False)
        self.onet = CropNet(24, with_landmarks=True)

    def run_first_stage(self, image, scale):
        height, width = image.shape[2:]
        sw, sh = math.ceil(width * scale), math.ceil(height * scale)
        img = F.interpolate(image, size=(sh, sw), mode="bilinear", align_corners=False)
        offsets, probs = self.pnet(img)
        probs = probs.cpu().numpy()[0, 1, :, :]
        offsets = offsets.cpu().numpy()
        boxes = generate_bboxes(probs, offsets, scale, self.thresholds[0])
        if len(boxes) == 0:
            return None
        keep = nms(boxes[:, 0:5], overlap_threshold=0.5)
        return boxes[keep]

    def crop(self, image, boxes, size):
        """The parts of the image under the boxes, all brought to one size."""
        height, width = image.shape[2:]
        num_boxes = len(boxes)
        crops = np.zeros((num_boxes, 3, size, size), "float32")
        for i in range(num_boxes):
            x = min(max(int(boxes[i, 0]), 0), width - 2)
            y = min(max(int(boxes[i, 1]), 0), height - 2)
            ex = min(max(int(boxes[i, 2]) + 1, x + 2), width)
            ey = min(max(int(boxes[i, 3]) + 1, y + 2), height)
            crop = F.interpolate(image[:, :, y:ey, x:ex], size=(size, size), mode="bilinear", align_corners=False)
            crops[i] = crop[0].numpy()
        return torch.from_numpy(crops)

    def forward(self, image):
        """Boxes with scores, and five landmarks each."""
        height, width = image.shape[2:]
        min_length = min(height, width)
        min_detection_size = 12
        factor = 0.707
        scales = []
        m = min_detection_size / self.min_face_size
        min_length *= m
        factor_count = 0
        while min_length > min_detection_size:
            scales.append(m * factor**factor_count)
            min_length *= factor
            factor_count += 1

        # stage 1
        bounding_boxes = [self.run_first_stage(image, s) for s in scales]
        bounding_boxes = [boxes for boxes in bounding_boxes if boxes is not None]
        if len(bounding_boxes) == 0:
            return np.zeros((0, 5)), np.zeros((0, 10))
        bounding_boxes = np.vstack(bounding_boxes)
        keep = nms(bounding_boxes[:, 0:5], self.nms_thresholds[0])
        bounding_boxes = bounding_boxes[keep]
        bounding_boxes = calibrate_box(bounding_boxes[:, 0:5], bounding_boxes[:, 5:])
        square = convert_to_square(bounding_boxes)
        square[:, 4] = bounding_boxes[:, 4]

        # stage 2
        offsets, probs = self.rnet(self.crop(image, square, 16))
        offsets, probs = offsets.numpy(), probs.numpy()
        keep = np.where(probs[:, 1] > self.thresholds[1])[0]
        if len(keep) == 0:
            return np.zeros((0, 5)), np.zeros((0, 10))
        bounding_boxes = square[keep]
        bounding_boxes[:, 4] = probs[keep, 1].reshape((-1,))
        offsets = offsets[keep]
        keep = nms(bounding_boxes, self.nms_thresholds[1])
        bounding_boxes = calibrate_box(bounding_boxes[keep], offsets[keep])
        square = convert_to_square(bounding_boxes)
        square[:, 4] = bounding_boxes[:, 4]

        # stage 3
        landmarks, offsets, probs = self.onet(self.crop(image, square, 24))
        landmarks, offsets, probs = landmarks.numpy(), offsets.numpy(), probs.numpy()
        keep = np.where(probs[:, 1] > self.thresholds[2])[0]
        bounding_boxes = square[keep]
        bounding_boxes[:, 4] = probs[keep, 1]
        offsets, landmarks = offsets[keep], landmarks[keep]
        width = bounding_boxes[:, 2] - bounding_boxes[:, 0] + 1.0
        height = bounding_boxes[:, 3] - bounding_boxes[:, 1] + 1.0
        xmin, ymin = bounding_boxes[:, 0], bounding_boxes[:, 1]
        landmarks[:, 0:5] = np.expand_dims(xmin, 1) + np.expand_dims(width, 1) * landmarks[:, 0:5]
        landmarks[:, 5:10] = np.expand_dims(ymin, 1) + np.expand_dims(height, 1) * landmarks[:, 5:10]
        bounding_boxes = calibrate_box(bounding_boxes, offsets)
        keep = nms(bounding_boxes, self.nms_thresholds[2], mode="min")
        return bounding_boxes[keep], landmarks[keep]


def build(seed=52):
    """Random weights, the scores spread; with the seed 52 each stage lets none, one or several candidates through."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MTCNN()
        for part in (model.pnet.conv4_1, model.rnet.prob, model.onet.prob):
            nn.init.normal_(part.weight, std=0.5)
        nn.init.constant_(model.pnet.conv4_1.bias, 0.0)
        for part in (model.pnet.conv4_2, model.rnet.offsets, model.onet.offsets):
            nn.init.normal_(part.weight, std=0.02)
    return model.eval()


def example_inputs():
    return sample_inputs(0)


def sample_inputs(seed):
    """An image of 24 x 28 pixels: bright and dark spots on a ground that may be flat."""
    rng = torch.Generator().manual_seed(seed)
    image = 0.1 * torch.randn(1, 3, 24, 28, generator=rng)
    for _ in range(seed % 4):
        y, x = (int(torch.randint(0, high, (), generator=rng)) for high in (16, 20))
        image[:, :, y : y + 8, x : x + 8] += 2.0 * torch.randn(1, 3, 1, 1, generator=rng)
    return (image,)
