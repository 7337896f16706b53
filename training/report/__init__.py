"""Self-contained HTML reports: one file each, nothing fetched, fit for a screen and for paper.

figures          curves and histograms as inline SVG
pictures         radiographs and Grad-CAM as data URIs
page             template -> HTML
evaluation_page  of one bundle
comparison_page  of two
"""
