"""The radiographs to learn from: read, checked, split by patient, decoded into memory-mapped planes.

data_set        what the commands call: read, decode and split in one step
reading         the layout of a folder -> a pool of radiographs
class_folders   the Kaggle layout: train|val|test / NORMAL|PNEUMONIA / *.jpeg
dicom_folder    DICOM files with a CSV of labels, RSNA style (labels, tables, files_by_name)
patient_table   patients from a CSV, where nothing else names them
quality         what a person should know of a set: skipped files, duplicates, sizes
splits          which patients are trained on and which are held out; split_file keeps it in RUN/split.csv
decoding        one file -> its plane, or the very tensor that a worker would make of it
planes          all files -> one cache
"""
