"""Networks: tensors in, tensors out."""

# The public modules; none is imported here, so that importing a package costs nothing.
__all__ = [
    "amir",
    "attention",
    "blocks",
    "convert",
    "cost",
    "ctan",
    "export",
    "fast",
    "layers",
    "memory",
    "multitask",
    "onnx_network",
    "precision",
    "resnet",
    "restormer",
    "slab",
    "tat",
    "unih3",
    "weights",
    "zoo",
]
