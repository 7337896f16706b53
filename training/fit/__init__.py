"""Fine-tune a network: the loop, what it learns from, and the folder that a run leaves.

train          what `pneumo train` does
configuration  every value of a training, read from TOML
run_folder     RUN/run.json and the images and first weights of a run (checkpoint, pretrained)
loop           epochs and steps (optimisation, augmentation, activations, device)
progress       what a person sees meanwhile (tensorboard_log)
"""
