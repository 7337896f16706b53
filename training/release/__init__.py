"""Make a bundle of a run: calibrate, choose the operating point, fit the guard, write, read back.

release                what `pneumo release` does
held_out_predictions   the logits that every choice is made by
calibration            temperature, bias and the operating point
reference_statistics   the wrong-image guard (non_chest_images), and histograms to notice drift by
model_card             MODEL_CARD.md
"""
