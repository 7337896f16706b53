"""Measure a network: predictions, metrics with intervals, shortcut probes, paired comparisons.

evaluation_set       the images of one part, and what a bundle predicts of them
predictions          logits image by image, and their calibration
metrics              every metric, of one set or of many resamples at once
threshold_metrics    the metrics at one threshold with counts and intervals (intervals)
evaluation           all of it for one bundle, with confounder_baseline and shortcut_probes
largest_errors       the errors that a person should look at first
comparison           two bundles on the same images (paired_tests)
perturbations        changes that no radiologist would be misled by
"""
