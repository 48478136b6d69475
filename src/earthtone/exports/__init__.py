"""Trained towers for other programs: timm, torchvision, ONNX, torch.export, safetensors, the Hugging Face hub."""
