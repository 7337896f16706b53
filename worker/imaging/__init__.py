"""Everything between a DICOM file and the network's input. Pure: files and arrays, nothing else.

reading      a file -> its header, its dataset, the files of a folder by study
eligibility  a header -> may it be predicted, and if not, why not
pixels       a dataset -> one normalised frame, white where the body absorbs
preprocessing  a frame -> the tensor that training and serving share
"""

from worker.imaging.quiet import quiet_pydicom

quiet_pydicom()
