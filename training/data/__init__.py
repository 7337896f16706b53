"""The radiographs to learn from: read, checked, and decoded once into memory-mapped planes.

class_folders  the Kaggle layout: train|val|test / NORMAL|PNEUMONIA / *.jpeg
dicom_folder   DICOM files with a CSV of labels, RSNA style
pool           either of them, whichever a folder turns out to be
remarks        what a person should know of a set: skipped files, duplicates, sizes
groups         patients from a CSV, where nothing else tells them
decoding       one file -> its plane, or the very tensor that a worker would make of it
planes         all files -> one cache
"""

from training.data.class_folders import BARE, DEVELOPMENT, TEST, read_radiographs, read_test
from training.data.decoding import load_tensor
from training.data.duplicates import Duplicates, find_duplicates
from training.data.found import Skipped
from training.data.names import patient_key_from_name
from training.data.planes import load_planes, load_pool
from training.data.pool import Layout, Pool, read_pool
from training.data.radiograph import CLASSES, Encoding, Radiograph, Tell, fingerprint
from training.data.remarks import Remark, remarks_on

__all__ = [
    "BARE",
    "CLASSES",
    "DEVELOPMENT",
    "TEST",
    "Duplicates",
    "Encoding",
    "Layout",
    "Pool",
    "Radiograph",
    "Remark",
    "Skipped",
    "Tell",
    "find_duplicates",
    "fingerprint",
    "load_planes",
    "load_pool",
    "load_tensor",
    "patient_key_from_name",
    "read_pool",
    "read_radiographs",
    "read_test",
    "remarks_on",
]
