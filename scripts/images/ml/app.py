import torch

model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 4))
print("ready", tuple(model(torch.ones(2, 64)).shape))
