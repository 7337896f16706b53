"""What `pneumo evaluate` and `pneumo compare` write and print.

evaluation_report  of one bundle on one part of a data set
comparison_report  of two bundles side by side
page               template -> one self-contained HTML file, nothing fetched, fit for paper too
curves             curves and histograms as inline SVG
pictures           radiographs and Grad-CAM as data URIs
metric_names       how metrics are named and written
"""
